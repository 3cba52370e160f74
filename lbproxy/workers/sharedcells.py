"""CONTROL. The memory of :class:`~lbproxy.limits.cells.Cells` that workers share.

The master creates it and passes the descriptor on; a worker that starts again finds what keys have
used.  Only pages that are written take memory.
"""

from __future__ import annotations

import mmap
import os

from lbproxy.limits.cells import Cells, cell_bytes

__all__ = ["SharedCells"]


class SharedCells:
    """``fd`` belongs to the caller of :meth:`create`; :meth:`close` ends it."""

    def __init__(self, fd: int, memory: mmap.mmap, extra: int) -> None:
        self.fd = fd
        self.extra = extra
        self._memory = memory

    @classmethod
    def create(cls, extra: int) -> SharedCells:
        """New memory, all zero; its descriptor can be passed on."""
        fd = os.memfd_create("lbproxy-limits", os.MFD_CLOEXEC)
        os.ftruncate(fd, cell_bytes(extra))
        return cls(fd, mmap.mmap(fd, cell_bytes(extra)), extra)

    @classmethod
    def map(cls, fd: int, extra: int) -> SharedCells:
        """The memory behind a descriptor, which is closed."""
        memory = mmap.mmap(fd, cell_bytes(extra))
        os.close(fd)
        return cls(-1, memory, extra)

    def table(self, secret: bytes) -> Cells:
        """The table in it.  All processes need the same ``secret``."""
        return Cells(memoryview(self._memory), self.extra, secret)

    def close(self) -> None:
        """Close the descriptor; the memory goes with the last table."""
        os.close(self.fd)
