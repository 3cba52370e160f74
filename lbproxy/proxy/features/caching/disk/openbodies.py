"""DATA. Bodies in files that are kept open, for hits that need not wait for the disk.

A body of at most :data:`LARGEST` bytes is read in one call, if the kernel has it in memory. The
file was verified when it had the stamp of the entry. Its stamp is compared after each read, so a
file that was changed, replaced or removed gives nothing, and is verified again or given up.
"""

from __future__ import annotations

import os
from resource import RLIM_INFINITY, RLIMIT_NOFILE, getrlimit
from typing import Final

from lbproxy.cache.codec import DamagedError
from lbproxy.proxy.features.caching.disk.files import FolderFiles, OpenBody, Stamp, stamp_of

__all__ = ["LARGEST", "MOST", "OpenBodies"]

LARGEST: Final = 64 * 1024
"""Bytes of the largest body that is read at once."""

MOST: Final = 256
"""Files that are kept open, if that is no more than a 16th of the process's descriptors."""


class OpenBodies:
    """Open files of ``files``.  Beyond :data:`MOST` the one used longest ago is closed.

    A cache that a reload removes ends without a call: its files are closed with this object.
    """

    def __init__(self, files: FolderFiles) -> None:
        self._files = files
        limit = getrlimit(RLIMIT_NOFILE)[0]
        self._most = MOST if limit == RLIM_INFINITY else min(MOST, max(1, limit // 16))
        self._open: dict[int, OpenBody] = {}
        self._buffer = memoryview(bytearray(LARGEST))

    def __len__(self) -> int:
        return len(self._open)

    def read(self, name: int, size: int, stamp: Stamp) -> bytes | None:
        """Return the body in the file ``name``; None if the kernel does not have all of it.

        OSError if the file cannot be opened; DamagedError if it has another stamp."""
        body = self._open.pop(name, None)
        if body is None:
            body = self._files.open_body(name, stamp, None)
            if len(self._open) >= self._most:
                self.close(next(iter(self._open)))
        self._open[name] = body
        buffer = self._buffer[:size]
        try:
            count = os.preadv(body.fd, (buffer,), 0, body.flags)
        except OSError:
            return None
        found, links = stamp_of(body.fd)
        if found != stamp or not links:
            self.close(name)
            raise DamagedError("the file was changed")
        return bytes(buffer) if count == size else None

    def close(self, name: int) -> None:
        """Close a file; harmless if it is not open."""
        body = self._open.pop(name, None)
        if body is not None:
            body.close()

    def close_all(self) -> None:
        """Close all files."""
        while self._open:
            self._open.popitem()[1].close()

    def __del__(self) -> None:
        self.close_all()
