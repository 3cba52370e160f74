"""A filter file that fills the table of limits: ``filters = filledcells.py:FilledCells``.

A frontend without traffic names the filter, and the frontend that is counted runs nothing of it.
"""

from __future__ import annotations

import os
import struct
import time
from typing import Any

from lbproxy.http.filter import Filter
from lbproxy.limits.cells import WAYS
from lbproxy.sharing.local import LocalShared

__all__ = ["FilledCells"]

_HALF = WAYS // 2


class FilledCells(Filter):
    """Does nothing; the file that defines it does."""

    name = "filled-cells"


def _filling(make: Any) -> Any:
    def cells_filled(self: LocalShared, extra: int) -> Any:
        known = extra in self._cells
        cells = make(self, extra)
        if not known and not extra:
            _fill(cells)
        return cells

    return cells_filled


def _fill(cells: Any) -> None:
    """Let half of the cells of each set belong to other keys: a million for an hour."""
    until = [time.monotonic() + 3600.0] * _HALF + [0.0] * (WAYS - _HALF)
    for at in range(0, cells.cells * 2, 2 * WAYS):
        cells._names[at : at + WAYS] = memoryview(os.urandom(8 * _HALF) + bytes(8 * _HALF)).cast(
            "Q"
        )
        cells.words[at + WAYS : at + 2 * WAYS] = (
            memoryview(struct.pack("8d", *until)).cast("B").cast("d")
        )


LocalShared.cells = _filling(LocalShared.cells)  # type: ignore[method-assign]
