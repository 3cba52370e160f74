"""CONTROL. The delay of the reactor: the longest time that an event waited for its turn."""

from __future__ import annotations

from collections import deque
from typing import Any

__all__ = ["Lag"]

EVERY = 0.5
"""Seconds between two measurements."""

_KEEP = 120  # measurements in a minute


class Lag:
    """Measures the delay of a periodic timer. ``reactor``: IReactorTime."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._call: Any = None
        self._due = 0.0
        self._seen: deque[float] = deque(maxlen=_KEEP)

    def start(self) -> None:
        """Start measuring."""
        if self._call is None:
            self._set()

    def stop(self) -> None:
        """Stop measuring."""
        call, self._call = self._call, None
        if call is not None:
            call.cancel()

    @property
    def last(self) -> float:
        """Delay at the last measurement, in seconds."""
        return self._seen[-1] if self._seen else 0.0

    @property
    def worst(self) -> float:
        """Maximum delay within the last minute, in seconds."""
        return max(self._seen, default=0.0)

    def _set(self) -> None:
        self._due = self._reactor.seconds() + EVERY
        self._call = self._reactor.callLater(EVERY, self._fired)

    def _fired(self) -> None:
        self._seen.append(max(0.0, self._reactor.seconds() - self._due))
        self._set()
