"""DATA. Log messages limited to one per second and kind, so that no client can flood the log."""

from __future__ import annotations

from time import monotonic
from typing import Any

from twisted.logger import Logger
from twisted.python.failure import Failure

__all__ = ["Quiet"]

_KINDS = 256


class Quiet:
    """Wraps a logger. Events of one ``kind`` within a second of the last are counted, not written.

    The next message of the kind reports their number. A kind therefore contains the subject (a
    frontend, a server) as well as the event. At most 256 kinds are stored.
    """

    def __init__(self, log: Logger, every: float = 1.0) -> None:
        self._log = log
        self._every = every
        self._seen: dict[str, tuple[float, int]] = {}

    def _due(self, kind: str) -> int:
        """Return the number of suppressed messages since the last one; -1 to suppress this one
        too.
        """
        now = monotonic()
        last, held = self._seen.get(kind, (0.0, 0))
        if last and now - last < self._every:
            self._seen[kind] = (last, held + 1)
            return -1
        self._seen.pop(kind, None)
        if len(self._seen) >= _KINDS:
            del self._seen[next(iter(self._seen))]  # its last message is the oldest
        self._seen[kind] = (now, 0)
        return held

    def warn(self, kind: str, text: str, /, **facts: Any) -> None:
        """Log a warning. ``text`` is a twisted.logger format."""
        held = self._due(kind)
        if held >= 0:
            more = f" ({held} more of these not shown)" if held else ""
            self._log.warn(text + more, **facts)

    def failure(self, kind: str, text: str, failure: Failure, /, **facts: Any) -> None:
        """Log an error with its traceback, for bugs and failing extensions."""
        held = self._due(kind)
        if held >= 0:
            more = f" ({held} more of these not shown)" if held else ""
            self._log.failure(text + more, failure=failure, **facts)
