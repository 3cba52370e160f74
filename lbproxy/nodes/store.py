"""CONTROL. The shared store as a service of one process with ``[shared]``."""

from __future__ import annotations

from random import Random
from secrets import token_hex
from typing import Any

from twisted.application.service import Service
from twisted.logger import Logger

from lbproxy.limits.nodes import NodeCounts
from lbproxy.limits.places import NodePlaces
from lbproxy.model import SharedSpec
from lbproxy.net.dialler import Dialler
from lbproxy.net.redis import RedisClient
from lbproxy.nodes.backing import RedisBacking
from lbproxy.nodes.exchange import CountExchange
from lbproxy.nodes.topics import StreamTopics
from lbproxy.sharing.contracts import Replicated
from lbproxy.sharing.local import LocalReplicated
from lbproxy.tls.clientcontext import ClientContextFactory
from lbproxy.tls.parameters import TLSParameters

__all__ = ["SharedStore"]

_log = Logger()


class SharedStore(Service):
    """The shared store; see :class:`lbproxy.sharing.contracts.Nodes`.

    ``replicated``: that of this process. The process that owns the node's state, which is the
    master or the only one, also exchanges the messages of kept topics. ``machine``: the same in all
    processes that share a :class:`~lbproxy.sharing.contracts.Shared`. ``elsewhere``: in the master,
    the :meth:`totals` of all workers. ``processes_down``: number of workers that cannot reach the
    store.
    """

    name = "shared store"

    def __init__(
        self,
        spec: SharedSpec,
        reactor: Any,
        dialler: Dialler,
        random: Random,
        replicated: Replicated,
        machine: str = "",
    ) -> None:
        self.spec = spec
        self.node = token_hex(8)
        self._means = reactor, dialler, random
        self.client = self.connect()
        self.counts = NodeCounts()
        self.places = NodePlaces()
        now, wall = dialler.wheel.now, dialler.wheel.wall
        self.exchange = CountExchange(
            self.client,
            self.counts,
            self.places,
            reactor,
            now,
            spec.prefix,
            (machine or self.node, self.node),
        )
        self.topics: StreamTopics | None = None
        self.elsewhere: dict[str, float] = {}
        self.processes_down = 0
        if isinstance(replicated, LocalReplicated):
            self.topics = StreamTopics(
                self.client, replicated, reactor, spec.prefix, self.node, wall
            )
            replicated.remote = self.topics
            replicated.backing = RedisBacking(self.client, spec.prefix, self.node)
        self.client.watchers.append(self._turned)

    def connect(self) -> RedisClient:
        """See Nodes."""
        return RedisClient(self.spec, *self._means, self._tls)

    @property
    def up(self) -> bool:
        """See Nodes. True if it is connected and exchanges do not fail."""
        return self.client.up and not self.exchange.error

    @property
    def error(self) -> str:
        """Why the store does not respond, "" if it does."""
        return self.client.error or self.exchange.error

    def startService(self) -> None:
        """Connect."""
        super().startService()  # type: ignore[no-untyped-call]
        self.client.start()
        self.exchange.start()
        if self.topics is not None:
            self.topics.start()

    def stopService(self) -> None:
        """Disconnect."""
        super().stopService()  # type: ignore[no-untyped-call]
        if self.topics is not None:
            self.topics.stop()
        self.exchange.stop()
        self.client.stop()

    def facts(self) -> dict[str, Any]:
        """Return the facts about the store that are shown."""
        totals = {key: one + self.elsewhere.get(key, 0) for key, one in self.totals().items()}
        return {
            "place": str(self.client.place),
            "up": self.up,
            "error": self.error,
            "processes_down": self.processes_down,
            **totals,
            "messages": 0 if self.topics is None else self.topics.received,
        }

    def totals(self) -> dict[str, float]:
        """Return the counters of this process."""
        counts, tally = self.client.counts, self.exchange.tally
        return {
            "commands": counts.commands,
            "failures": counts.failures,
            "connects": counts.connects,
            "seconds": round(counts.seconds, 6),
            "keys_sent": tally.sent,
            "keys_lost": tally.lost + tally.wrong + self.counts.dropped + self.places.dropped,
        }

    def _turned(self, up: bool) -> None:
        place = str(self.client.place)
        if not self.running:
            return
        if up:
            _log.info("shared store {place} is up", place=place)
        else:
            _log.warn("shared store {place} is down: {error}", place=place, error=self.client.error)

    def _tls(self, host: str) -> TLSParameters:
        factory = ClientContextFactory(host, ca=self.spec.ca, alpn=())
        return TLSParameters(factory, server_side=False)
