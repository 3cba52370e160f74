"""DATA. Operators' log lines at most once a second per kind, so that no client can flood
the log.
"""

from __future__ import annotations

from time import monotonic
from typing import Any

from twisted.logger import Logger
from twisted.python.failure import Failure

__all__ = ["Quiet"]

_KINDS = 256


class Quiet:
    """Wraps a logger; events of one ``kind`` within a second of the last are counted, not written.

    The next line of the kind reports their number.  A kind therefore names the subject (a frontend,
    a server) besides what happened.  At most 256 kinds are remembered.
    """

    def __init__(self, log: Logger, every: float = 1.0) -> None:
        self._log = log
        self._every = every
        self._seen: dict[str, tuple[float, int]] = {}

    def _due(self, kind: str) -> int:
        """How many were suppressed since the last line; -1 to stay silent now."""
        now = monotonic()
        last, held = self._seen.get(kind, (0.0, 0))
        if last and now - last < self._every:
            self._seen[kind] = (last, held + 1)
            return -1
        self._seen.pop(kind, None)
        if len(self._seen) >= _KINDS:
            del self._seen[next(iter(self._seen))]  # its last line is the oldest
        self._seen[kind] = (now, 0)
        return held

    def warn(self, kind: str, text: str, /, **facts: Any) -> None:
        """One warning; ``text`` is a twisted.logger format."""
        held = self._due(kind)
        if held >= 0:
            more = f" ({held} more of these not shown)" if held else ""
            self._log.warn(text + more, **facts)

    def failure(self, kind: str, text: str, failure: Failure, /, **facts: Any) -> None:
        """One error with its traceback, for bugs and failing extensions."""
        held = self._due(kind)
        if held >= 0:
            more = f" ({held} more of these not shown)" if held else ""
            self._log.failure(text + more, failure=failure, **facts)
