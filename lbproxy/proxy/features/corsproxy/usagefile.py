"""DATA. The file that keeps the usage of keys and origins, shared by all processes.

A process writes its counts to the file at once, so they survive the process and ``kill -9``.
:mod:`~lbproxy.proxy.features.corsproxy.usagecells` has its layout. Without a writable file the
counts are kept in memory, and are lost when lbproxy ends.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from mmap import mmap
from pathlib import Path
from secrets import token_bytes
from time import sleep
from typing import Final

from attrs import evolve
from twisted.logger import Logger

from lbproxy.cors.quota import UsageTable
from lbproxy.limits.cells import Cells
from lbproxy.limits.window import SLICES
from lbproxy.proxy.features.corsproxy.usagecells import (
    HEADER,
    MARK_BYTES,
    FileCells,
    UsageMark,
)

__all__ = ["UsageFile", "open_usage"]

_log = Logger()

SUBJECTS: Final = 10_000
"""Maximum number of keys and origins in the file; beyond it, the least used one is dropped."""

_SECRET: Final = 32
_CELLS: Final = 3  # a subject has a cell of totals, and one for each rate quota
_SPINS: Final = 100
_NAPS: Final = 100
_NAP_S: Final = 0.0002
_OPEN: Final = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class UsageFile:
    """The usage file, opened at first use.

    ``path``: "" keeps the counts in memory. ``beside``: a new file gets the owner of this file.
    """

    def __init__(self, path: str, beside: str = "", subjects: int = SUBJECTS) -> None:
        self.path = path
        self._beside = beside
        self._size = Cells.size(subjects * _CELLS, SLICES)
        self._table: UsageTable | None = None
        self._cells: FileCells | None = None
        self._lock = -1
        self._stuck = False  # the lock was not free in time at the last attempt
        self.error = ""

    @property
    def table(self) -> UsageTable:
        """The counts."""
        if self._table is None:
            self._table = UsageTable(self._open())
        return self._table

    @contextmanager
    def locked(self) -> Iterator[UsageTable]:
        """Lock the counts while they are read and changed.

        A process holds the lock for microseconds. If it is stopped meanwhile, the others continue
        after about 20 milliseconds without waiting any longer. A count may be lost then.
        """
        table = self.table
        held = self._lock >= 0 and self._acquire()
        cells = self._cells
        try:
            if cells is not None and not cells.begin():
                table, cells = self._again()
            yield table
        finally:
            if cells is not None:
                cells.end()
            if held:
                fcntl.flock(self._lock, fcntl.LOCK_UN)

    def _acquire(self) -> bool:
        naps = 0 if self._stuck else _NAPS
        for attempt in range(_SPINS + naps):
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if attempt >= _SPINS:
                    sleep(_NAP_S)  # the holder was preempted for a moment
                continue
            except OSError:
                return False
            self._stuck = False
            return True
        self._stuck = True
        return False

    def _again(self) -> tuple[UsageTable, FileCells | None]:
        """Open the file again, because another process has replaced it."""
        assert self._cells is not None
        self._cells.detach()
        try:
            self._cells = _read(self._lock, self._size)
        except (OSError, ValueError):
            self._cells = None
            self._table = UsageTable(self._in_memory())
        else:
            self._table = UsageTable(self._cells)
            self._cells.begin()
        return self._table, self._cells

    def _open(self) -> Cells:
        if self.path:
            try:
                self._lock, cells = open_usage(self.path, self._size, self._beside)
            except (OSError, ValueError) as error:
                words = getattr(error, "strerror", None) or str(error)
                self.error = f"{self.path}: {words}"
                _log.warn("usage of keys is not kept over a restart: {text}", text=self.error)
            else:
                self._cells = cells
                return cells
        return self._in_memory()

    def _in_memory(self) -> Cells:
        return Cells(memoryview(mmap(-1, self._size)), SLICES, token_bytes(_SECRET))

    def close(self) -> None:
        """Close the file; counting continues in memory."""
        lock, self._lock = self._lock, -1
        if self._cells is not None:
            self._cells.detach()
        if lock >= 0:
            os.close(lock)


def open_usage(path: str, size: int = 0, beside: str = "") -> tuple[int, FileCells]:
    """Return the descriptor of the file and its counts. A new file gets ``size`` bytes.

    ``size`` 0: the file must exist. Raises OSError, or ValueError for a file of another format.
    """
    file = os.open(path, _OPEN if size else _OPEN & ~os.O_CREAT, 0o600)
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise ValueError("not a file")
        fcntl.flock(file, fcntl.LOCK_EX)  # other processes see a new file only when it is complete
        try:
            if not os.fstat(file).st_size and size:
                _create(file, size, beside)
            return file, _read(file, size)
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)
    except BaseException:
        os.close(file)
        raise


def _create(file: int, size: int, beside: str) -> None:
    """Reserve the space, so that no later write fails on a full disk."""
    try:
        UsageMark(token_bytes(_SECRET)).write(file, size)
    except OSError:
        os.ftruncate(file, 0)
        raise
    with suppress(OSError):
        known = Path(beside).stat()
        os.fchown(file, known.st_uid, known.st_gid)
        os.fchmod(file, 0o660)


def _read(file: int, size: int) -> FileCells:
    """Return the counts of a file. A truncated file is extended to ``size`` again; with ``size`` 0,
    it raises ValueError.
    """
    mark = UsageMark.read(os.pread(file, MARK_BYTES, 0))
    if mark is None:
        raise ValueError("not a file of usage; remove it, and lbproxy makes a new one")
    length = max(0, os.fstat(file).st_size - HEADER - MARK_BYTES)
    if UsageMark.read(os.pread(file, MARK_BYTES, HEADER + length)) != mark:
        if not size:
            raise ValueError("the file is truncated; lbproxy repairs it when it counts next")
        length, mark = size, evolve(mark, epoch=mark.epoch + 1)
        mark.write(file, size)
    return FileCells(file, length, mark)
