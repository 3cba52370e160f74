"""DATA. Warnings about caches that are larger than the machine."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from lbproxy.cache.policy import Disk
from lbproxy.config.units import dump

__all__ = ["file_system_size", "machine_memory", "size_warnings"]


def size_warnings(name: str, memory: int, disk: Disk | None) -> list[str]:
    """Return a warning for each size of ``[cache NAME]`` that this machine does not have.

    They are no errors: a configuration may be checked on another machine than that for which it is.
    """
    found = []
    most = machine_memory()
    if most is not None and memory > most:
        found.append(_text(name, "memory", memory, "the memory of this machine", most))
    most = None if disk is None else file_system_size(disk.folder)
    if disk is not None and most is not None and disk.size > most:
        found.append(_text(name, "disk", disk.size, f"the file system of {disk.folder}", most))
    return found


def _text(name: str, key: str, size: int, what: str, most: int) -> str:
    return f"cache {name}: {key!r} ({dump('size', size)}) is larger than {what} ({most >> 20}m)"


def machine_memory() -> int | None:
    """Return the memory of this machine in bytes, None if the system does not say."""
    try:
        pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return None
    return pages * size if pages > 0 and size > 0 else None


def file_system_size(folder: str) -> int | None:
    """Return the bytes of the file system of ``folder``, which need not exist; None if unknown."""
    path = Path(folder).absolute()
    for one in (path, *path.parents):
        with suppress(OSError):
            found = os.statvfs(one)
            return found.f_frsize * found.f_blocks or None
    return None
