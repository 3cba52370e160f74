"""CONTROL. The delay of the reactor: the longest time that an event waited for its turn."""

from __future__ import annotations

from collections import deque
from typing import Any

__all__ = ["Lag"]

EVERY = 0.5
"""Seconds between two measurements."""

_KEEP = 120  # measurements: a minute


class Lag:
    """Sets a timer again and again, and sees how late it comes.  ``reactor``: IReactorTime."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._call: Any = None
        self._due = 0.0
        self._seen: deque[float] = deque(maxlen=_KEEP)

    def start(self) -> None:
        """Measure from now on."""
        if self._call is None:
            self._set()

    def stop(self) -> None:
        """Stop measuring."""
        call, self._call = self._call, None
        if call is not None:
            call.cancel()

    @property
    def last(self) -> float:
        """Seconds, at the last measurement."""
        return self._seen[-1] if self._seen else 0.0

    @property
    def worst(self) -> float:
        """Seconds, the most of the last minute."""
        return max(self._seen, default=0.0)

    def _set(self) -> None:
        self._due = self._reactor.seconds() + EVERY
        self._call = self._reactor.callLater(EVERY, self._fired)

    def _fired(self) -> None:
        self._seen.append(max(0.0, self._reactor.seconds() - self._due))
        self._set()
