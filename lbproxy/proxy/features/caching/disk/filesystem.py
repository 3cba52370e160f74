"""DATA. Support of a folder's file system for reads that never wait for a disk."""

from __future__ import annotations

import errno
import os
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

__all__ = ["INLINE", "read_rules"]

INLINE: Final = 32 * 1024
"""Size in bytes of the largest body that is part of its record. For a larger body, memory may keep
only the head, because reading its file at each hit costs less than reading and verifying a record.
"""

_MOUNTS: Final = Path("/proc/self/mountinfo")
_IN_MEMORY: Final = frozenset({"tmpfs", "ramfs"})


def read_rules(folder: Path) -> tuple[int, int]:
    """Return the flags of ``preadv`` for reads that must not wait, and the size in bytes of the
    largest body that is part of its record.

    On Linux, support of RWF_NOWAIT depends on the file system. tmpfs may lack it, and does not need
    it because its files are in memory. Elsewhere each read would need a thread, so bodies stay in
    their records, which are loaded into memory as a whole.
    """
    if _has_nowait(folder):
        return os.RWF_NOWAIT, INLINE
    if _is_memory(folder):
        return 0, INLINE
    return os.RWF_NOWAIT, sys.maxsize


def _has_nowait(folder: Path) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            os.preadv(file.fileno(), [bytearray(1)], 0, os.RWF_NOWAIT)
    except OSError as error:
        return error.errno != errno.EOPNOTSUPP
    return True


def _is_memory(folder: Path) -> bool:
    with suppress(OSError):
        device = folder.stat().st_dev
        number = f"{os.major(device)}:{os.minor(device)}"
        for line in _MOUNTS.read_text(errors="replace").splitlines():
            fields = line.split()
            if fields[2:3] == [number]:
                return fields[fields.index("-") + 1] in _IN_MEMORY
    return False
