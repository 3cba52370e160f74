"""The descriptors of the test process."""

from __future__ import annotations

import gc
import os
from pathlib import Path

__all__ = ["descriptors", "open_below", "settled_descriptors"]


def descriptors() -> int:
    """Open descriptors of this process now."""
    return len(os.listdir("/proc/self/fd"))


def settled_descriptors() -> int:
    """Open descriptors without those that earlier tests left to the garbage collector.

    The collector may run at any moment and close sockets in the cycles of earlier tests, so a
    count that does not collect first may fall before the second count.  Threads and finalizers of
    earlier tests may still lower it: compare with ``<=``.
    """
    gc.collect()
    return descriptors()


def open_below(folder: Path) -> list[str]:
    """Return the paths of the open files below ``folder`` of this process, one for each descriptor.
    Files that other tests left to the garbage collector do not count.
    """
    links = [Path(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]
    names = [str(link.readlink()) for link in links if link.is_symlink()]
    return [name for name in names if name.startswith(str(folder))]
