"""DATA. The memory that this process may use: that of the machine, or a limit of control groups."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

__all__ = ["group_memory", "machine_memory"]

_PROC: Final = Path("/proc/self")
_ESCAPED: Final = re.compile(r"\\([0-7]{3})")


def machine_memory() -> int | None:
    """Return the memory of this machine in bytes, None if the system does not say."""
    try:
        pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return None
    return pages * size if pages > 0 and size > 0 else None


def group_memory(proc: Path = _PROC) -> int | None:
    """Return the lowest memory limit of the control groups of this process and their parents, in
    bytes; None without a limit.

    ``proc``: the folder with ``cgroup`` and ``mountinfo``. Both versions of control groups are
    read: ``memory.max``, and ``memory.limit_in_bytes`` of version 1.
    """
    try:
        own = (proc / "cgroup").read_text(errors="replace")
        mounts = (proc / "mountinfo").read_text(errors="replace")
    except OSError:
        return None
    found = []
    for file, group, top in _hierarchies(own, mounts):
        for folder in (group, *group.parents):
            limit = _limit(folder / file)
            if limit is not None:
                found.append(limit)
            if folder == top:
                break
    return min(found, default=None)


def _hierarchies(own: str, mounts: str) -> Iterator[tuple[str, Path, Path]]:
    """Yield the name of the file of a limit, the folder of the own group, and the mounted folder.

    In a container the mounted folder may be that of the own group, or of a parent, which then is
    the root of the mount.
    """
    groups: dict[str, str] = {}
    for line in own.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            groups["memory.max"] = path
        elif "memory" in controllers.split(","):
            groups["memory.limit_in_bytes"] = path
    for line in mounts.splitlines():
        left, _, right = line.partition(" - ")
        fields, kinds = left.split(), right.split()
        if len(fields) < 5 or len(kinds) < 3:
            continue
        name = ""
        if kinds[0] == "cgroup2":
            name = "memory.max"
        elif kinds[0] == "cgroup" and "memory" in kinds[2].split(","):
            name = "memory.limit_in_bytes"
        if name in groups:
            top = Path(_unescaped(fields[4]))
            group, root = PurePosixPath(groups[name]), PurePosixPath(_unescaped(fields[3]))
            inside = group.is_relative_to(root) and ".." not in group.parts
            yield name, top / group.relative_to(root) if inside else top, top


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(lambda found: chr(int(found[1], 8)), text)


def _limit(file: Path) -> int | None:
    """Return the limit in ``file``; None for ``max``, and if it cannot be read."""
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None
