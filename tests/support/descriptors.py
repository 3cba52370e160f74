"""The descriptors of the test process."""

from __future__ import annotations

import gc
import os

__all__ = ["descriptors", "settled_descriptors"]


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
