"""CONTROL. Exchanges the use of limits, tracks and bans, and the places of ``concurrent`` limits,
with the other nodes.

Every :data:`EVERY` seconds the recorded use is sent to the store, which returns the use of all
nodes (:mod:`lbproxy.limits.nodes`, :mod:`lbproxy.limits.places`). One exchange runs at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from attrs import define
from twisted.logger import Logger
from twisted.python.failure import Failure

from lbproxy.limits.nodes import NodeCounts, Noted
from lbproxy.limits.places import LEASE, NodePlaces
from lbproxy.net.redis import RedisClient
from lbproxy.nodes.scripts import BUCKETS, PLACES, WINDOWS, WRONG
from lbproxy.nodes.turns import StoreTurns
from lbproxy.proxy.ratelog import Quiet

__all__ = ["EVERY", "FAILING", "CountExchange", "ExchangeTally"]

_quiet = Quiet(Logger())

EVERY = 0.1
"""Seconds from the end of an exchange to the start of the next."""

FAILING = 1.0
"""Seconds of failed exchanges after which the store counts as down."""


@define
class ExchangeTally:
    """Counters of the exchanges of this process: keys sent, keys whose use was not sent to other
    nodes, and keys with another kind of value in the store.
    """

    sent: int = 0
    lost: int = 0
    wrong: int = 0


class CountExchange:
    """Exchanges counts. ``now``: the clock of the tables. ``prefix``: of the keys in the store.
    ``holder``: the names of this node and of this process, which hold places.

    ``error``: why exchanges fail while the store is connected, "" if they do not: the store is full
    or slow, or the login lacks permissions.
    """

    def __init__(
        self,
        client: RedisClient,
        counts: NodeCounts,
        places: NodePlaces,
        reactor: Any,
        now: Callable[[], float],
        prefix: str,
        holder: tuple[str, str],
    ) -> None:
        self.counts = counts
        self.places = places
        self.tally = ExchangeTally()
        self.error = ""
        self._since = -1.0  # start of the failures; below 0 without failures
        self._client = client
        self._reactor = reactor
        self._now = now
        self._prefix = prefix
        self._holder = holder
        self._turns = StoreTurns(reactor, EVERY, "limits", self._turn, self._failed)

    def start(self) -> None:
        """Start the exchanges."""
        self._turns.start()

    def stop(self) -> None:
        """Stop the exchanges. Unsent use stays unknown to the others."""
        self._turns.stop()

    def _turn(self) -> Coroutine[Any, Any, None] | None:
        up = self._client.up
        if len(self.counts) and not up:
            self.tally.lost += len(self.counts)
            self.counts.clear()
        if len(self.places):
            if up:
                self.places.renew(self._now())
            else:
                self.places.lose()
        if up and (len(self.counts) or self.places.due):
            return self._exchange()
        return self._probe() if up and self._since >= 0 else None

    def _failed(self, failure: Failure) -> None:
        self._fails(failure.getErrorMessage())

    def _fails(self, why: str) -> None:
        now = self._reactor.seconds()
        if self._since < 0:
            self._since = now
        if now - self._since >= FAILING:
            self.error = why
            self.places.lose()

    def _works(self) -> None:
        self._since, self.error = -1.0, ""

    async def _probe(self) -> None:
        """Check whether exchanges work again while no exchange is due."""
        await self._client.run(BUCKETS, [f"{self._prefix}:bucket:probe"], ["0.001"])
        self._works()

    async def _exchange(self) -> None:
        """Send all recorded use, batch by batch."""
        if self.places.due:
            await self._hold()
        left = len(self.counts)
        while left > 0:
            buckets, windows = self.counts.take("bucket"), self.counts.take("window")
            if not buckets and not windows:
                return
            left -= len(buckets) + len(windows)
            self.tally.lost += len(buckets) + len(windows)  # until they have arrived
            if buckets:
                await self._buckets(buckets)
            if windows:
                await self._windows(windows)

    async def _hold(self) -> None:
        """Send the places that this process holds, batch by batch, and store those of other
        nodes.
        """
        left = self.places.due
        while left > 0:
            sent = self.places.take()
            left -= len(sent)
            keys = [f"{self._prefix}:places:{one.digest}" for _, one in sent]
            words = (*self._holder, repr(LEASE), *(str(one.own) for _, one in sent))
            try:
                found = await self._client.run(PLACES, keys, words)
            except BaseException:
                self.places.again(sent)
                raise
            self._works()
            self._good(found)
            self.places.settle(sent, found)

    async def _buckets(self, sent: Sequence[Noted]) -> None:
        seconds = [f"{one.amount * one.counter.unit:.9f}" for one in sent]
        found = await self._client.run(BUCKETS, self._keys(sent), seconds)
        self._arrived(sent)
        good = self._good(found)
        debts = [found[at] / 1e6 for at in good]
        self.counts.settle_buckets([sent[at] for at in good], debts, self._now())

    async def _windows(self, sent: Sequence[Noted]) -> None:
        words: list[str] = []
        for one in sent:
            words += (repr(one.counter.unit), f"{one.amount:.6f}", str(int(one.forget)))
        found = await self._client.run(WINDOWS, self._keys(sent), words)
        self._arrived(sent)
        good = self._good(found)
        rows = [
            dict(zip(row[::2], map(float, row[1::2]), strict=True))
            for row in (found[at] for at in good)
        ]
        self.counts.settle_windows([sent[at] for at in good], rows, self._now())

    def _good(self, found: Sequence[Any]) -> list[int]:
        """Return the indices of the keys that the store accepted."""
        good = [at for at, one in enumerate(found) if one != WRONG]
        wrong = len(found) - len(good)
        if wrong:
            self.tally.wrong += wrong
            _quiet.warn(
                "shared keys",
                "shared store: {count} keys below {prefix}: have another kind of value than counts;"
                " their limits apply at each node separately",
                count=wrong,
                prefix=self._prefix,
            )
        return good

    def _arrived(self, sent: Sequence[Noted]) -> None:
        self.tally.sent += len(sent)
        self.tally.lost -= len(sent)
        self._works()

    def _keys(self, sent: Sequence[Noted]) -> list[str]:
        return [f"{self._prefix}:{one.counter.kind}:{one.counter.digest(one.key)}" for one in sent]
