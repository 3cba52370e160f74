"""DATA. Memory of the cache that is freed at the pace of clients, and the limit for slow clients.

A stored body stays in memory while it is sent to a client, even after it is evicted or purged. Such
bodies count (:attr:`lbproxy.cache.memory.Memory.detached`), so ``memory`` bounds them, too. A
:class:`Hold` represents one client, or all readers of one fetch. While memory suffices, clients may
read at any speed. If a new body finds no room, holds that are older than ``timeout_server`` are cut
off, the oldest first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, Protocol

from lbproxy.cache.memory import Entry, Memory
from lbproxy.errors import Kind, ProxyError
from lbproxy.http.message import ResponseHead
from lbproxy.proxy.http.bodystream import BodyStream
from lbproxy.proxy.http.sink import Asking

if TYPE_CHECKING:
    from lbproxy.proxy.http.traffic import HTTPTraffic

__all__ = ["TOO_SLOW", "Hold", "Holder", "Holds", "StoredBody", "patience_of"]

TOO_SLOW: Final = "holds memory that the cache needs"
"""Detail in the access log for a client that is cut off."""

_PATIENCE_S: Final = 60.0


def patience_of(traffic: HTTPTraffic) -> float:
    """Return the number of seconds for which a slow client may hold memory or delay others."""
    backend = traffic.backend  # a CORS proxy has no backend
    return _PATIENCE_S if backend is None else backend.terms.timeout_server


class Hold:
    """See the module. ``until``: time from which it may be cut off, on the clock ``now``."""

    __slots__ = ("cut", "now", "until")

    def __init__(self, traffic: HTTPTraffic, cut: Callable[[], None]) -> None:
        self.now: Callable[[], float] = traffic.frontend.now
        self.until = self.now() + patience_of(traffic)
        self.cut = cut


class Holds:
    """The holds of one cache, the oldest first."""

    def __init__(self) -> None:
        self._all: dict[Hold, None] = {}

    def __len__(self) -> int:
        return len(self._all)

    def add(self, hold: Hold) -> None:
        """Add a hold that begins."""
        self._all[hold] = None

    def remove(self, hold: Hold) -> None:
        """Remove a hold that ends. A second call has no effect."""
        self._all.pop(hold, None)

    def cut_oldest(self) -> bool:
        """Cut off the oldest hold whose time is over; return False if there is none."""
        oldest = next(iter(self._all), None)
        if oldest is None or oldest.now() < oldest.until:
            return False
        del self._all[oldest]
        oldest.cut()
        return True


class Holder(Protocol):
    """The attributes of a :class:`~lbproxy.proxy.features.caching.cache.Cache` that holds use."""

    memory: Memory
    holds: Holds


class StoredBody:
    """A stored body on its way to one client, as the stream of its exchange."""

    def __init__(
        self, holder: Holder, entry: Entry, head: ResponseHead, body: Iterator[bytes], sink: Asking
    ) -> None:
        self._holder = holder
        self._entry = entry
        self._hold = Hold(sink.traffic, self._cut)
        self._stream = BodyStream(head, self._held(body), sink)

    def start(self) -> BodyStream:
        """Send the head and the first piece; return the stream."""
        self._stream.start()
        return self._stream

    def _held(self, body: Iterator[bytes]) -> Iterator[bytes]:
        """Yield the pieces of ``body``. The body is held until its end, or until it is closed."""
        holder, hold = self._holder, self._hold
        reading = holder.memory.begin_reading(self._entry)
        holder.holds.add(hold)
        try:
            yield from body
        finally:
            holder.holds.remove(hold)
            holder.memory.end_reading(reading)
            hold.cut = _nothing  # avoid a cycle

    def _cut(self) -> None:
        self._stream.fail(ProxyError(Kind.CLIENT_STALLED, TOO_SLOW))


def _nothing() -> None:
    """Do nothing, because the hold is over."""
