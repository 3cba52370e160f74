"""DATA. The file that keeps the usage of keys and origins, mapped by all processes.

What a process has counted is in the file at once, so it survives the process, also ``kill -9``.
The file is a header of :data:`HEADER` bytes and the memory of :class:`~lbproxy.limits.cells.Cells`.
Without a writable file the counts are in memory, and end with lbproxy.
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
from typing import Final

from twisted.logger import Logger

from lbproxy.cors.quota import UsageTable
from lbproxy.limits.cells import Cells
from lbproxy.limits.window import SLICES

__all__ = ["HEADER", "UsageFile", "open_usage"]

_log = Logger()

HEADER: Final = 4096
SUBJECTS: Final = 10_000
"""Keys and origins whose usage the file has room for; beyond them, the least used is forgotten."""

_MAGIC: Final = b"lbproxy usage 1\n"
_SECRET: Final = 32
_CELLS: Final = 3  # a subject has a cell of totals, and one for each quota of a rate
_TRIES: Final = 200
_OPEN: Final = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class UsageFile:
    """``path``: "" keeps the counts in memory.  ``beside``: the file whose owner a new one gets.

    It is opened when it is used first.
    """

    def __init__(self, path: str, beside: str = "", subjects: int = SUBJECTS) -> None:
        self.path = path
        self._beside = beside
        self._size = Cells.size(subjects * _CELLS, SLICES)
        self._table: UsageTable | None = None
        self._lock = -1
        self.error = ""

    @property
    def table(self) -> UsageTable:
        """The counts."""
        if self._table is None:
            self._table = UsageTable(self._open())
        return self._table

    @contextmanager
    def locked(self) -> Iterator[UsageTable]:
        """Hold the counts while they are read and changed.

        A process that holds them holds them for microseconds.  If it is stopped in them, the others
        go on after some attempts: then a count may be lost, and nobody waits.
        """
        table = self.table
        held = self._lock >= 0 and self._acquire()
        try:
            yield table
        finally:
            if held:
                fcntl.flock(self._lock, fcntl.LOCK_UN)

    def _acquire(self) -> bool:
        for _ in range(_TRIES):
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            except OSError:
                return False
            return True
        return False

    def _open(self) -> Cells:
        if self.path:
            try:
                self._lock, cells = open_usage(self.path, self._size, self._beside)
            except (OSError, ValueError) as error:
                words = getattr(error, "strerror", None) or str(error)
                self.error = f"{self.path}: {words}"
                _log.warn("usage of keys is not kept over a restart: {text}", text=self.error)
            else:
                return cells
        return Cells(memoryview(mmap(-1, self._size)), SLICES, token_bytes(_SECRET))

    def close(self) -> None:
        """Close the file; counting goes on in memory that is still mapped."""
        lock, self._lock = self._lock, -1
        if lock >= 0:
            os.close(lock)


def open_usage(path: str, size: int = 0, beside: str = "") -> tuple[int, Cells]:
    """Return the descriptor of the file and its counts; a new file has ``size`` bytes of them.

    ``size`` 0: the file must exist.  OSError, or ValueError for a file that is something else.
    """
    file = os.open(path, _OPEN if size else _OPEN & ~os.O_CREAT, 0o600)
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise ValueError("not a file")
        fcntl.flock(file, fcntl.LOCK_EX)  # a new file is complete for those who come later
        try:
            if not os.fstat(file).st_size and size:
                _create(file, size, beside)
            return file, _mapped(file)
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)
    except BaseException:
        os.close(file)
        raise


def _create(file: int, size: int, beside: str) -> None:
    """Reserve the space, so that no write to the memory meets a full disk."""
    try:
        os.posix_fallocate(file, 0, HEADER + size)
    except OSError:
        os.ftruncate(file, 0)
        raise
    os.pwrite(file, _MAGIC + token_bytes(_SECRET), 0)
    with suppress(OSError):
        known = Path(beside).stat()
        os.fchown(file, known.st_uid, known.st_gid)
        os.fchmod(file, 0o660)


def _mapped(file: int) -> Cells:
    head = os.pread(file, len(_MAGIC) + _SECRET, 0)
    if not head.startswith(_MAGIC):
        raise ValueError("not a file of usage; remove it, and lbproxy makes a new one")
    memory = memoryview(mmap(file, os.fstat(file).st_size))
    return Cells(memory[HEADER:], SLICES, head[len(_MAGIC) :])
