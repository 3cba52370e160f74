"""DATA. The cells of a usage file, read and written by rows.

The file is not mapped, because a process that touches a mapped page beyond the end of its file is
killed (SIGBUS), so truncating the file would kill all processes. Each process keeps a copy of the
rows that it has used. A row is read before it is used and written before the lock is released, so a
process that holds the lock sees the counts of all.

The file ends with a :class:`UsageMark`. A file without it has been truncated. The process that
detects this writes its own copy, with the next ``epoch``. The others then add counts that are
higher or newer in their copies.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable
from contextlib import suppress
from mmap import mmap
from typing import Final

from attrs import evolve, frozen
from twisted.logger import Logger

from lbproxy.limits.cells import WAYS, Cells
from lbproxy.limits.window import SLICES

__all__ = ["HEADER", "MARK_BYTES", "FileCells", "UsageMark"]

_log = Logger()

HEADER: Final = 4096
"""Bytes before the rows."""

_MAGIC: Final = b"lbproxy usage 1\n"
_LAYOUT: Final = struct.Struct("<16s32sQ")

MARK_BYTES: Final = _LAYOUT.size


@frozen
class UsageMark:
    """The first and the last bytes of the file. ``secret``: of the cells, 32 bytes.

    ``epoch``: number of repairs of the file.
    """

    secret: bytes
    epoch: int = 0

    @classmethod
    def read(cls, data: bytes) -> UsageMark | None:
        """Return the mark at the beginning of ``data``, None if there is none."""
        if len(data) < MARK_BYTES:
            return None
        magic, secret, epoch = _LAYOUT.unpack_from(data)
        return cls(secret, epoch) if magic == _MAGIC else None

    def dump(self) -> bytes:
        """Return the bytes of the mark."""
        return _LAYOUT.pack(_MAGIC, self.secret, self.epoch)

    def write(self, file: int, size: int) -> None:
        """Reserve space for a table of ``size`` bytes and write both marks. Raises OSError."""
        os.posix_fallocate(file, 0, HEADER + size + MARK_BYTES)
        os.pwrite(file, self.dump(), 0)
        os.pwrite(file, self.dump(), HEADER + size)


class FileCells(Cells):
    """The cells in ``file``, a descriptor that stays open. ``size``: size of the table in bytes.

    Use them between :meth:`begin` and :meth:`end`, with the file locked. Only reading needs
    neither.
    """

    def __init__(self, file: int, size: int, mark: UsageMark) -> None:
        self._memory = memoryview(mmap(-1, size))  # unused pages take no memory
        super().__init__(self._memory, SLICES, mark.secret)
        self._file = file
        self._size = size
        self._mark = mark
        self._mark_bytes = mark.dump()
        self._row_bytes = size // self._count
        self._holding = False
        self._seen: set[int] = set()  # rows with a copy
        self._current: set[int] = set()  # rows that no other process can have changed
        self._changed: set[int] = set()

    def begin(self) -> bool:
        """Start using the cells; return False if the file must be opened again, because another
        process has replaced it.
        """
        self._holding = True
        if self._file < 0:
            return True
        try:
            found = os.pread(self._file, MARK_BYTES, HEADER + self._size)
        except OSError as error:
            self._lose(error)
            return True
        return found == self._mark_bytes or self._mend(UsageMark.read(found))

    def end(self) -> None:
        """Write the changes."""
        self._holding = False
        changed, self._changed = self._changed, set()
        self._current.clear()
        self._write(changed)

    def detach(self) -> None:
        """Stop using the file; the cells then belong to this process only."""
        self._file = -1

    def find(self, ident: int) -> int:
        """See :class:`Cells`."""
        self._load(ident & self._mask)
        return super().find(ident)

    def place(self, ident: int, now: float) -> int:
        """See :class:`Cells`."""
        self._changed.add(ident & self._mask)
        return super().place(ident, now)

    def forget(self, ident: int) -> bool:
        """See :class:`Cells`."""
        self._changed.add(ident & self._mask)
        return super().forget(ident)

    # -- rows -----------------------------------------------------------------------------------

    def _bytes_of(self, number: int) -> memoryview:
        start = number * self._row_bytes
        return self._memory[start : start + self._row_bytes]

    def _load(self, number: int) -> None:
        """Read a row. Values that are missing in the file stay unchanged."""
        if number in self._current:
            return
        self._seen.add(number)
        if self._holding:
            self._current.add(number)
        if self._file < 0:
            return
        row, at = self._bytes_of(number), HEADER + number * self._row_bytes
        with suppress(OSError):
            if self._holding:
                os.preadv(self._file, [row], at)
                return
            found = os.pread(self._file, self._row_bytes, at)
            if os.pread(self._file, MARK_BYTES, HEADER + self._size) == self._mark_bytes:
                row[: len(found)] = found  # otherwise the row may be a hole

    def _write(self, numbers: Iterable[int]) -> None:
        if self._file < 0:
            return
        try:
            for number in numbers:
                os.pwrite(self._file, self._bytes_of(number), HEADER + number * self._row_bytes)
        except OSError as error:
            self._lose(error)

    # -- repairs --------------------------------------------------------------------------------

    def _mend(self, found: UsageMark | None) -> bool:
        """Handle an unexpected mark."""
        mine = self._mark
        if found is not None and found.secret == mine.secret:
            self._adopt(found)
            self._merge()
        elif found is not None and found.epoch > mine.epoch:
            return False
        else:
            _log.warn("the usage file was truncated; it has the counts of this process again")
            self._adopt(evolve(mine, epoch=mine.epoch + 1))
            try:
                # the mark is written first: if the file is truncated again, it is missing again
                self._mark.write(self._file, self._size)
            except OSError as error:
                self._lose(error)
            self._write(self._seen)
            self._current |= self._seen  # a file that is truncated again has holes
        return True

    def _adopt(self, mark: UsageMark) -> None:
        self._mark, self._mark_bytes = mark, mark.dump()

    def _merge(self) -> None:
        """Add newer counts of this process to a file that another process has repaired."""
        for number in tuple(self._seen):
            kept = bytes(self._bytes_of(number))
            self._load(number)
            if self._bytes_of(number) != kept:
                self._merge_row(number, memoryview(kept))
                self._changed.add(number)

    def _merge_row(self, number: int, kept: memoryview) -> None:
        """Merge ``kept`` into a row: for each key, the counts that reach further in time."""
        base = number * self._row
        idents, words = kept.cast("Q"), kept.cast("d")
        for way in range(WAYS):
            if not idents[way]:
                continue
            at = Cells.find(self, idents[way])
            same = at >= 0
            if not same:
                untils = self.words[base + WAYS : base + 2 * WAYS].tolist()
                at = base + WAYS + untils.index(min(untils))
            if words[way + WAYS] < self.words[at]:
                continue
            further = words[way + WAYS] > self.words[at] or not same
            self._names[at - WAYS] = idents[way]
            for step in range(1 + self.extra):
                value = words[way + (1 + step) * WAYS]
                place = at + step * WAYS
                self.words[place] = value if further else max(value, self.words[place])

    def _lose(self, error: OSError) -> None:
        """Continue in memory after an error."""
        self._file = -1
        words = error.strerror
        _log.warn("usage of keys is not kept over a restart any more: {text}", text=words)
