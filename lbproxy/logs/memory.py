"""CONTROL. An access log in memory, for tests: nothing is opened or written."""

from __future__ import annotations

from collections import deque
from typing import Any

from lbproxy.logs.sink import LogSink
from lbproxy.model import LogSpec

__all__ = ["KEEP", "MemorySink"]

KEEP = 10_000
"""Number of lines kept. The oldest are dropped first."""


class MemorySink(LogSink):
    """Keeps the last :data:`KEEP` lines, regardless of the log's path."""

    def __init__(self, spec: LogSpec, reactor: Any) -> None:
        super().__init__(spec, reactor)
        self._kept: deque[str] = deque(maxlen=KEEP)

    @property
    def lines(self) -> list[str]:
        """Return the lines so far, without their line feeds."""
        self.flush()
        return list(self._kept)

    def _open(self) -> bool:
        self._fd = 0  # descriptor of no file; not used
        self._plain = False
        return True

    def _close(self) -> None:
        self._fd = -1

    def _send(self, data: bytes) -> int:
        self._kept.extend(data.decode(errors="replace").splitlines())
        return len(data)

    def reopen(self) -> None:
        """Do nothing, because no file was renamed."""
