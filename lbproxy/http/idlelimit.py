"""PURE. An estimate of the time after which a server closes idle connections.

A server may close an idle connection at the moment when the next request is sent on it. If that
request cannot be replayed, its client gets an error. lbproxy therefore stops using connections
shortly before their server closes them. The rules:

1. ``Keep-Alive: timeout=N`` of a response gives the time. The latest one counts.
2. Otherwise two closes by the server after about the same idle time give it, if they happened at
   different moments. (A server that stops closes all at once, after any idle time.)
3. A time that was only observed is forgotten after ``MEMORY_S``, because nothing can contradict it
   while connections are closed earlier.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["MEMORY_S", "IdleLimit"]

MEMORY_S: Final = 600.0
"""Seconds for which an observation is valid."""

_TIMEOUT: Final = re.compile(rb"(?i)(?:^|[\s,;])timeout\s*=\s*\"?(\d{1,9})")
_SHORTEST: Final = 0.2  # seconds; a shorter idle time does not indicate a timeout
_APART: Final = 1.0  # minimum number of seconds between two observations
_LIKE: Final = 0.1  # relative difference of idle times with the same timeout
_NOISE: Final = 0.15  # their absolute difference in seconds, because timers are coarse
_MARGIN: Final = 1.0  # safety margin in seconds, at most a fifth of the timeout


class IdleLimit:
    """The estimate for one server. All times are seconds of one monotonic clock."""

    __slots__ = ("_announced", "_header", "_learned", "_seen", "_seen_at")

    def __init__(self) -> None:
        self._announced = 0.0
        self._header: bytes | None = None
        self._learned = 0.0
        self._seen = 0.0
        self._seen_at = 0.0

    def announced(self, header: bytes) -> bool:
        """Process the value of a ``Keep-Alive`` field. Return whether it differs from the last
        one.
        """
        if header == self._header:
            return False
        self._header = header
        found = _TIMEOUT.search(header)
        self._announced = float(found[1]) if found is not None else 0.0
        return True

    def closed(self, idle: float, now: float) -> None:
        """Process a close by the server after ``idle`` seconds."""
        if idle < _SHORTEST:
            return
        alike = abs(idle - self._seen) <= max(_NOISE, _LIKE * self._seen)
        if self._seen and alike and now - self._seen_at < MEMORY_S:
            if now - self._seen_at < _APART:
                return
            self._learned = min(idle, self._seen)
        self._seen, self._seen_at = idle, now

    def forget(self) -> None:
        """Drop the observations."""
        self._learned = self._seen = 0.0

    def rest(self, most: float) -> float:
        """Return the idle time after which a connection must be closed, at most ``most``."""
        limit = self._announced or self._learned
        if not limit:
            return most
        return min(most, limit - min(_MARGIN, limit / 5))
