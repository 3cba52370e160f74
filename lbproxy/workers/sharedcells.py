"""CONTROL. The memory of :class:`~lbproxy.limits.cells.Cells` that workers share.

The master creates it and passes the descriptor on. A worker that is restarted finds the usage of
all keys. Only written pages take memory.
"""

from __future__ import annotations

import mmap
import os

from lbproxy.limits.cells import Cells, cell_bytes

__all__ = ["SharedCells"]


class SharedCells:
    """Shared memory for limits. ``fd`` belongs to the caller of :meth:`create`; :meth:`close`
    closes it.
    """

    def __init__(self, fd: int, memory: mmap.mmap, extra: int) -> None:
        self.fd = fd
        self.extra = extra
        self._memory = memory

    @classmethod
    def create(cls, extra: int) -> SharedCells:
        """Return new memory of zeros, whose descriptor can be passed on."""
        fd = os.memfd_create("lbproxy-limits", os.MFD_CLOEXEC)
        os.ftruncate(fd, cell_bytes(extra))
        return cls(fd, mmap.mmap(fd, cell_bytes(extra)), extra)

    @classmethod
    def map(cls, fd: int, extra: int) -> SharedCells:
        """Return the memory behind a descriptor, which is then closed."""
        memory = mmap.mmap(fd, cell_bytes(extra))
        os.close(fd)
        return cls(-1, memory, extra)

    def table(self, secret: bytes) -> Cells:
        """Return the table in the memory. All processes need the same ``secret``."""
        return Cells(memoryview(self._memory), self.extra, secret)

    def close(self) -> None:
        """Close the descriptor. The memory is freed with the last table."""
        os.close(self.fd)
