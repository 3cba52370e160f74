"""DATA. ``min_body_rate`` and ``min_read_rate`` of a frontend.

Once a second the feature checks every client. A second counts against a client if lbproxy waited
for the client both at the beginning and at the end of that second:

- for a body: it is incomplete, and lbproxy is reading;
- for reading: lbproxy holds bytes that the system does not accept.

After :data:`WINDOW_S` such seconds, the bytes transferred in them are compared with the rate. The
window starts again if lbproxy does not wait for the client in between. A slow server, a queue or an
idle session therefore never counts against a client.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Self

from attrs import define

from lbproxy.errors import Kind, ProxyError
from lbproxy.proxy.feature import Feature, Given, counted
from lbproxy.proxy.features.conduct import SLOW_BODY
from lbproxy.proxy.features.pacing.spec import PacingDeclaration
from lbproxy.proxy.features.pacing.taken import taken_bytes
from lbproxy.proxy.guarding import guard
from lbproxy.proxy.unsent import unsent_bytes

if TYPE_CHECKING:
    from lbproxy.proxy.frontend import Frontend

__all__ = ["SLICE", "WINDOW_S", "Pacing"]

EVERY_S: Final = 1.0
WINDOW_S: Final = 5.0
"""Seconds over which a rate is averaged."""

SLICE: Final = 1000
"""Number of clients checked in one turn of the reactor."""


@define(eq=False)
class PacingCounters:
    """Counters of the minimum rates of a frontend."""

    slow_bodies: int = counted("Requests refused because their body came too slowly.")
    slow_reads: int = counted("Connections closed because their client read too slowly.")


class _Pace:
    """The progress of one client. ``total``: the last value of its growing byte count."""

    __slots__ = ("at", "moved", "total", "waited")

    def __init__(self, total: int, at: float) -> None:
        self.total = total
        self.at = at
        self.waited = 0.0
        self.moved = 0

    def too_slow(self, total: int, at: float, rate: float) -> bool:
        """Add the time since the last call; return whether a window was below ``rate``."""
        self.total = min(self.total, total)  # a new request starts at 0
        self.waited += at - self.at
        self.moved += total - self.total
        self.total, self.at = total, at
        if self.waited < WINDOW_S:
            return False
        slow = self.moved < rate * self.waited
        self.waited, self.moved = 0.0, 0
        return slow


_Paces = dict[Any, _Pace]


class Pacing(PacingDeclaration, Feature["Frontend"]):
    """See the module."""

    name = "pacing"
    keys = ("min_body_rate", "min_read_rate")
    Counters = PacingCounters

    def __init__(self, given: Given) -> None:
        self._wheel = given.network.wheel
        self._timer = self._wheel.timer(self._look)
        self._bodies: _Paces = {}
        self._reads: _Paces = {}
        self._owner: Frontend | None = None
        self._slice: Any = None

    @classmethod
    def prepare(cls, spec: Any, old: Self | None, given: Given) -> Self | None:
        """See :class:`Feature`."""
        if not spec.min_body_rate and not spec.min_read_rate:
            return None
        return cls(given) if old is None else old

    def attach(self, owner: Frontend) -> None:
        """See :class:`Feature`."""
        self._owner = owner
        spec: Any = owner.spec
        self._body_rate: float = spec.min_body_rate
        self._read_rate: float = spec.min_read_rate

    def refit(self, owner: Frontend) -> None:
        """See :class:`Feature`."""
        self.attach(owner)

    def start(self) -> None:
        """See :class:`Feature`."""
        if self._slice is None and not self._timer.armed:
            self._timer.set(EVERY_S)

    def close(self) -> None:
        """See :class:`Feature`."""
        self._timer.close()
        call, self._slice = self._slice, None
        if call is not None:
            call.cancel()
        self._bodies, self._reads = {}, {}
        self._owner = None

    def _look(self) -> None:
        """Check all clients, some in each turn of the reactor."""
        owner = self._owner
        if owner is not None:
            before = self._bodies, self._reads
            self._bodies, self._reads = {}, {}
            self._go_on(iter(list(owner.clients)), *before)

    def _go_on(self, clients: Iterator[Any], bodies: _Paces, reads: _Paces) -> None:
        self._slice = None
        now = self._wheel.now()
        count = 0
        for client in islice(clients, SLICE):
            count += 1
            guard(self._look_at, client, bodies, reads, now)
        if count == SLICE:
            self._slice = self._wheel.clock.callLater(0, self._go_on, clients, bodies, reads)
        else:
            self._timer.set(EVERY_S)

    def _look_at(self, client: Any, bodies: _Paces, reads: _Paces, now: float) -> None:
        if self._body_rate:
            self._look_at_body(client, bodies, now)
        if self._read_rate:
            self._look_at_reading(client, reads, now)

    def _look_at_body(self, client: Any, before: _Paces, now: float) -> None:
        total = getattr(client, "body_bytes", -1)
        if total < 0:
            return
        pace = before.get(client) or _Pace(total, now)
        if not pace.too_slow(total, now, self._body_rate):
            self._bodies[client] = pace
            return
        self.counters.slow_bodies += 1
        client.refuse_body(ProxyError(Kind.CLIENT_SLOW, SLOW_BODY))

    def _look_at_reading(self, client: Any, before: _Paces, now: float) -> None:
        transport = getattr(client, "transport", None)
        if transport is None or unsent_bytes(transport) <= 0:
            return
        total = taken_bytes(transport)
        pace = before.get(client) or _Pace(total, now)
        if not pace.too_slow(total, now, self._read_rate):
            self._reads[client] = pace
            return
        self.counters.slow_reads += 1
        client.kill(ProxyError(Kind.CLIENT_SLOW, "reads more slowly than min_read_rate"))
