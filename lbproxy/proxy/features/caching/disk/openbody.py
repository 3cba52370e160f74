"""DATA. A body in an open file, and the check that the file is the one that was verified."""

from __future__ import annotations

import os
from typing import Any, Final

from lbproxy.cache.codec import DamagedError

__all__ = ["LARGEST_READ", "OpenBody", "Stamp", "stamp_of"]

LARGEST_READ: Final = 1024 * 1024
"""Bytes that :meth:`OpenBody.view` reads at most."""

Stamp = tuple[int, int, int, int]
"""Inode, size, mtime and ctime (ns) of a file when its contents were verified."""

_buffer: Final = memoryview(bytearray(LARGEST_READ))
"""What was read last, by any body: used in the thread of the reactor alone."""


def stamp_of(fd: int) -> tuple[Stamp, int]:
    """Return the stamp of an open file and the number of its names."""
    found = os.fstat(fd)
    return (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns), found.st_nlink


class OpenBody:
    """A verified body that is open for reading.

    ``flags``: of reads that must not wait for a disk. The file is closed when each of its users
    has called :meth:`close`; the first user is the one that opened it.
    """

    __slots__ = ("_users", "fd", "flags", "size", "stamp")

    def __init__(self, fd: int, size: int, stamp: Any, flags: int) -> None:
        self.fd = fd
        self.size = size
        self.stamp = stamp
        self.flags = flags
        self._users = 1

    def share(self) -> OpenBody:
        """Return this for one more user."""
        self._users += 1
        return self

    def close(self) -> None:
        """Let go of the file.  Each user calls it once."""
        self._users -= 1
        if not self._users:
            fd, self.fd = self.fd, -1
            os.close(fd)

    def read(self, at: int, size: int) -> bytes:
        """Return bytes of the body; blocks.

        DamagedError if the file was changed since it was verified. A file that has lost its name
        has another ctime, and is still good."""
        data = os.pread(self.fd, size, at)
        self._check(len(data) == size)
        return data

    def view(self, at: int, size: int) -> memoryview | None:
        """The same if the kernel has all of it in memory, else None; valid until the next call.

        ``size``: at most :data:`LARGEST_READ`."""
        view = _buffer[:size]
        try:
            count = os.preadv(self.fd, (view,), at, self.flags)
        except OSError:
            return None
        if count != size:
            return None
        self._check(True)
        return view

    def read_cached(self, at: int, size: int) -> bytes | None:
        """The same as bytes."""
        view = self.view(at, size)
        return None if view is None else bytes(view)

    def whole(self) -> bytes | None:
        """Return the body, of at most :data:`LARGEST_READ` bytes, or None as :meth:`view` does.

        DamagedError if the file was changed since it was verified, or has lost its name."""
        size = self.size
        view = _buffer[:size]
        try:
            count = os.preadv(self.fd, (view,), 0, self.flags)
        except OSError:
            return None
        stamp, links = stamp_of(self.fd)
        if stamp != self.stamp or not links:
            raise DamagedError("the file was changed")
        return bytes(view) if count == size else None

    def is_unchanged(self) -> bool:
        """Return whether the file is the one that was verified, and has its name."""
        stamp, links = stamp_of(self.fd)
        return links > 0 and bool(stamp == self.stamp)

    def _check(self, complete: bool) -> None:
        stamp, links = stamp_of(self.fd)
        same = stamp == self.stamp if links else stamp[:3] == self.stamp[:3]
        if not same or not complete:
            raise DamagedError("the file was changed while it was read")
