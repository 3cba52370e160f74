"""DATA. Warnings about caches that are larger than the machine."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from attrs import frozen

from lbproxy.config.units import dump
from lbproxy.proxy.features.caching.memorylimits import group_memory, machine_memory

__all__ = ["CacheSize", "size_warnings"]

SHARED: Final = "/dev/shm"
"""The file system in memory where workers share the responses of caches without ``disk``."""


@frozen
class CacheSize:
    """The sizes of ``[cache NAME]`` in bytes.

    All workers together use ``memory``. ``folder``: of its disk, "" without one.
    """

    name: str
    memory: int
    folder: str = ""
    disk: int = 0


def size_warnings(caches: Sequence[CacheSize], workers: int = 1) -> list[str]:
    """Return a warning for each size that this machine does not have, for one cache or for several
    together. ``workers``: their number, 0 for that of the CPUs.

    They are no errors: a configuration may be checked on another machine than that for which it is.
    """
    return [*_of_memory(caches), *_of_shared_memory(caches, workers), *_of_disks(caches)]


def _of_memory(caches: Sequence[CacheSize]) -> list[str]:
    most, where = machine_memory(), "the memory of this machine"
    limit = group_memory()
    if limit is not None and (most is None or limit < most):
        most, where = limit, "the memory limit of the control group"
    return _too_large("memory", [(one.name, one.memory) for one in caches], where, most)


def _of_shared_memory(caches: Sequence[CacheSize], workers: int) -> list[str]:
    """Several workers keep half of the memory of a cache without a disk in files."""
    shared = [(one.name, one.memory // 2) for one in caches if not one.folder]
    if (
        (workers or len(os.sched_getaffinity(0))) == 1
        or not shared
        or not os.access(SHARED, os.W_OK)
    ):
        return []
    most = _file_system(SHARED)[1]
    return _too_large("memory", shared, f"the file system of {SHARED}", most, "half of ")


def _of_disks(caches: Sequence[CacheSize]) -> list[str]:
    systems: dict[int, tuple[int | None, list[CacheSize]]] = {}
    for one in caches:
        if one.folder:
            number, most = _file_system(one.folder)
            systems.setdefault(number, (most, []))[1].append(one)
    found = []
    for most, ones in systems.values():
        sizes = [(one.name, one.disk) for one in ones]
        found += _too_large("disk", sizes, f"the file system of {ones[0].folder}", most)
    return found


def _too_large(
    key: str, sizes: Iterable[tuple[str, int]], where: str, most: int | None, part: str = ""
) -> list[str]:
    """Return the warnings for the caches that exceed ``most`` each, else for their sum."""
    sizes = list(sizes)
    if most is None:
        return []
    end = f"larger than {where} ({most >> 20}m)"
    found = [
        f"cache {name}: {part}{key!r} ({dump('size', size)}) is {end}"
        for name, size in sizes
        if size > most
    ]
    total = sum(size for _, size in sizes)
    if not found and total > most:
        names = ", ".join(name for name, _ in sizes)
        found.append(f"caches {names}: {part}{key!r} of all ({dump('size', total)}) is {end}")
    return found


def _file_system(folder: str) -> tuple[int, int | None]:
    """Return the number and the bytes of the file system of ``folder``, which need not exist; None
    if unknown.
    """
    path = Path(folder).absolute()
    for one in (path, *path.parents):
        try:
            found = os.statvfs(one)
            return one.stat().st_dev, found.f_frsize * found.f_blocks or None
        except OSError:
            continue
    return 0, None
