"""CONTROL. The log file of twistd, which two processes write during an upgrade."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path

__all__ = ["append_only"]

_DESCRIPTORS = Path("/proc/self/fd")


def append_only(path: str) -> int:
    """Make every open descriptor of the file at ``path`` append. Return their number.

    Twisted writes at the position that it remembers, and would overwrite lines of the other
    process.
    """
    found = 0
    wanted = os.path.realpath(path)
    with suppress(OSError):
        for entry in _DESCRIPTORS.iterdir():
            with suppress(OSError, ValueError):
                if str(entry.readlink()) == wanted:
                    fd = int(entry.name)
                    fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_APPEND)
                    found += 1
    return found
