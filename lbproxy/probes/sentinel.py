"""CONTROL. The address of the Redis master, by the majority of several sentinels.

:mod:`lbproxy.probes.redis` uses it.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from attrs import evolve, frozen
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.python.failure import Failure

from lbproxy.config.model import Address
from lbproxy.errors import ProxyError
from lbproxy.probes.base import Conversation, ProbeTarget, Unhealthy
from lbproxy.probes.resp import authenticate, command

__all__ = ["Sentinels"]

Master = tuple[str, int]


@frozen
class Sentinels:
    """``addresses``: IP literals of the sentinels. ``name``: their name for the master."""

    addresses: tuple[Address, ...]
    name: str
    user: str = ""

    async def master(self, target: ProbeTarget, password: str) -> Master:
        """Return the host and port that more than half of all sentinels name.

        It returns as soon as enough sentinels agree, without waiting for the others. Raises
        :class:`Unhealthy`.
        """
        poll = _Poll(len(self.addresses), self.name)
        running = [
            ensureDeferred(
                self._ask(evolve(target, address=address, tls=None, preamble=b""), password)
            )
            for address in self.addresses
        ]
        for one in running:
            one.addCallbacks(poll.answered, poll.failed)
        try:
            return await poll.decided
        finally:
            for one in running:
                one.cancel()

    async def _ask(self, target: ProbeTarget, password: str) -> Master | None:
        conversation = await Conversation.open(target)
        clean = False
        try:
            await authenticate(conversation, self.user, password)
            reply = await command(conversation, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.name)
            clean = True
        finally:
            conversation.close(clean=clean)
        if reply is None:
            return None
        match reply:
            case [str(host), str(port)] if port.isascii() and port.isdecimal() and len(port) < 6:
                return host.lower(), int(port)
        raise Unhealthy("sentinel gave no address")


class _Poll:
    """Counts votes. ``decided`` fires with the master once more than half of the sentinels name it,
    and fails once no majority is possible.
    """

    def __init__(self, voters: int, name: str) -> None:
        self.decided: Deferred[Master] = Deferred()
        self._name = name
        self._voters = voters
        self._left = voters
        self._votes: Counter[Master] = Counter()
        self._problem = ""

    @property
    def _needed(self) -> int:
        return self._voters // 2 + 1

    def answered(self, master: Master | None) -> None:
        """Count the answer of a sentinel: an address, or an unknown name."""
        if master is None:
            self._problem = f"sentinel does not know {self._name!r}"
        else:
            self._votes[master] += 1
        self._look()

    def failed(self, failure: Failure) -> None:
        """Count a sentinel that did not answer; other exceptions are raised."""
        if self.decided.called:
            return
        if failure.check(Unhealthy, ProxyError):
            self._problem = f"sentinel: {failure.getErrorMessage()}"
            self._look()
        else:
            self.decided.errback(failure)

    def _look(self) -> None:
        self._left -= 1
        if self.decided.called:
            return
        best = self._votes.most_common(1)
        if best and best[0][1] >= self._needed:
            self.decided.callback(best[0][0])
        elif (best[0][1] if best else 0) + self._left < self._needed:
            words = f"fewer than {self._needed} of {self._voters} sentinels agree on a master"
            why = f"{words}; {self._problem}" if self._problem else words
            self.decided.errback(Unhealthy(why))


def is_master(target: ProbeTarget, master: Master) -> bool:
    """Return whether the sentinels name ``target``, by its address or by its host name."""
    host, port = master
    return any(port == one.port and host == one.host.lower() for one in known_addresses(target))


def known_addresses(target: ProbeTarget) -> tuple[Any, ...]:
    """Return the addresses of the server, as written and as resolved."""
    return (*target.server.spec.target.sockets, *target.server.addresses)
