"""CONTROL. Several access logs of one frontend."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["SeveralLogs", "parts_of"]

Write = Callable[[Any], None]
"""Writes one record."""


class SeveralLogs:
    """Writes each record to all of ``parts``, even if one of them fails."""

    def __init__(self, parts: tuple[Write, ...]) -> None:
        self.parts = parts

    def __call__(self, record: Any) -> None:
        """Write one record. Raises the first error of a part, after the others have written."""
        failed: BaseException | None = None
        for write in self.parts:
            try:
                write(record)
            except BaseException as error:
                failed = failed or error
        if failed is not None:
            raise failed


def parts_of(write: Write | None) -> tuple[Write, ...]:
    """Return the logs behind ``write``."""
    if write is None:
        return ()
    return write.parts if isinstance(write, SeveralLogs) else (write,)
