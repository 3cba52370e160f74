"""DATA. Shared memory segments (System V) that libmodsecurity creates for its log files.

Version 3.0.9 creates one for each log file, with a key made from the file, and removes it only when
the process exits after it has freed the rules: a killed process leaves it behind. The system has a
limit of them (``kernel.shmmni``). A key has 16 bits of the file's number, so another file may have
the same: the library then attaches the segment of that file, or if that is too small, silently
writes no log.

A segment that is removed while a process has it attached exists until that process ends, whatever
ends it. Nobody finds it by its key any more.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

__all__ = ["is_key_free", "removed_at_end"]

_MAPS: Final = Path("/proc/self/maps")
_SEGMENTS: Final = Path("/proc/sysvipc/shm")
_PROJECT: Final = 1  # the library's second argument of ftok
_IPC_RMID: Final = 0


def is_key_free(path: str) -> bool:
    """Return whether no segment has the key of the file ``path``; True if that is unknown."""
    c: Any = ctypes.CDLL(None, use_errno=True)
    key = c.ftok(os.fsencode(path), _PROJECT)
    return key == -1 or (c.shmget(key, 0, 0) < 0 and ctypes.get_errno() == errno.ENOENT)


@contextmanager
def removed_at_end() -> Iterator[None]:
    """Let the segments that the body creates and attaches end with this process.

    Those of other processes stay, also if the body attached them.
    """
    before = _attached()
    try:
        yield
    finally:
        new = _attached() - before
        if new:
            c: Any = ctypes.CDLL(None)
            for number in new & _created_here(new):
                c.shmctl(number, _IPC_RMID, None)


def _attached() -> set[int]:
    """Return the numbers of the segments that this process has attached."""
    rows = (line.split(None, 5) for line in _lines(_MAPS))
    return {int(row[4]) for row in rows if len(row) == 6 and row[5].startswith("/SYSV")}


def _created_here(numbers: Iterable[int]) -> set[int]:
    """Return those of the segments ``numbers`` that this process has created."""
    wanted, own = set(map(str, numbers)), str(os.getpid())
    rows = (line.split() for line in _lines(_SEGMENTS))  # key, number, mode, size, creator, ...
    return {int(row[1]) for row in rows if len(row) > 4 and row[1] in wanted and row[4] == own}


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(errors="replace").splitlines()
    except OSError:
        return []
