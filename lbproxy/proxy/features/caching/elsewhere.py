"""DATA. Requests that wait for the fetch of another process.

The process that fetches holds a claim (:mod:`.disk.claims`) until the response is stored and
visible to all processes. The others check every :data:`POLL` seconds whether the claim has ended,
once for all requests of a key, and then answer from the store.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

from lbproxy.proxy.features.caching.counters import CacheCounters
from lbproxy.proxy.http.deferredstream import DeferredStream
from lbproxy.proxy.http.sink import Asking
from lbproxy.proxy.http.streams import SourceStream

__all__ = ["Awaiting", "Elsewhere"]

POLL: Final = 0.02

_MOST_A_SECOND: Final = 5000
"""Maximum number of key checks per second; with more keys, each is checked less often."""


class Elsewhere:
    """The waiting requests of one cache, by key. ``is_free(key)``: no other process fetches it."""

    def __init__(self, is_free: Callable[[bytes], bool]) -> None:
        self._is_free = is_free
        self._waiting: dict[bytes, dict[Awaiting, None]] = {}
        self._call: Any = None

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def count(self, key: bytes) -> int:
        """Return the number of requests that wait for ``key``."""
        return len(self._waiting.get(key, ()))

    def add(self, key: bytes, one: Awaiting, clock: Any) -> None:
        """Let ``one`` wait until ``key`` is free."""
        self._waiting.setdefault(key, {})[one] = None
        if self._call is None:
            self._call = clock.callLater(POLL, self._look, clock)

    def remove(self, key: bytes, one: Awaiting) -> None:
        """Remove ``one``, which no longer waits."""
        found = self._waiting.get(key)
        if found is not None:
            found.pop(one, None)
            if not found:
                del self._waiting[key]
        if not self._waiting and self._call is not None:
            self._call.cancel()
            self._call = None

    def _look(self, clock: Any) -> None:
        self._call = None
        for key in [key for key in self._waiting if self._is_free(key)]:
            for one in list(self._waiting.get(key, ())):
                one.freed()
        if self._waiting and self._call is None:
            delay = max(POLL, len(self._waiting) / _MOST_A_SECOND)
            self._call = clock.callLater(delay, self._look, clock)


class AwaitingSource(Protocol):
    """The methods of :class:`~lbproxy.proxy.features.caching.source.CacheSource` used here."""

    @property
    def wait(self) -> float: ...
    @property
    def counters(self) -> CacheCounters: ...

    def pass_by(self, sink: Asking) -> SourceStream:
        """Send the request to a server, bypassing the store."""


class Awaiting(DeferredStream):
    """The stream of one exchange; ``then`` answers it when the claim on ``key`` has ended.

    After ``wait`` of the section the request goes to a server, bypassing the store.
    """

    def __init__(
        self,
        serving: AwaitingSource,
        sink: Asking,
        place: tuple[Elsewhere, bytes],
        then: Callable[[Asking], SourceStream],
    ) -> None:
        super().__init__(sink)
        self._serving = serving
        self._room, self._key = place
        self._then = then
        frontend = sink.traffic.frontend
        self._now: Callable[[], float] = frontend.now
        self._since = self._now()
        self._timer = frontend.wheel.timer(self._expired)
        self._timer.set(serving.wait)
        self._room.add(self._key, self, frontend.wheel.clock)

    def freed(self) -> None:
        """Look into the store again, because the claim has ended."""
        if not self._over:
            self._hand_over(self._serving, lambda: self._then(self._sink))

    def _expired(self) -> None:
        if not self._over:
            self._hand_over(self._serving, lambda: self._serving.pass_by(self._sink))

    def _end(self) -> None:
        super()._end()
        self._timer.close()
        self._room.remove(self._key, self)
        self._serving.counters.waited += 1
        self._serving.counters.wait_seconds += self._now() - self._since
