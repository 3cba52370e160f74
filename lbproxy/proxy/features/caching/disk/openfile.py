"""DATA. A body in an open file, and the check that the file has not changed since verification."""

from __future__ import annotations

import os
from stat import ST_SIZE
from typing import Any, Final

from lbproxy.cache.codec import DamagedError
from lbproxy.cache.key import Key
from lbproxy.proxy.features.caching.disk.mapping import unmap, view_of

__all__ = ["LARGEST_READ", "READING", "OpenFile", "Stamp", "open_file", "stamp_of"]

LARGEST_READ: Final = 1024 * 1024
"""Maximum number of bytes that :meth:`OpenFile.view` reads."""

READING: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
"""Flags that open a file of the folder for reading; a FIFO delays nothing."""

_NOATIME: Final = getattr(os, "O_NOATIME", 0)

Stamp = tuple[int, int, int, int]
"""Inode, size, mtime and ctime (ns) of a file when its contents were verified."""

_buffer: Final = memoryview(bytearray(LARGEST_READ))
"""The last data read by any body; only the reactor thread uses it."""


def stamp_of(fd: int) -> tuple[Stamp, int]:
    """Return the stamp of an open file and its link count."""
    found = os.fstat(fd)
    return (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns), found.st_nlink


def _opened(path: str) -> int:
    """Open a file without updates of its access time, if this process owns it."""
    try:
        return os.open(path, READING | _NOATIME)
    except PermissionError:
        return os.open(path, READING)


def open_file(path: str, stamp: Any, flags: int) -> OpenFile:
    """Open a file that had ``stamp`` when it was verified, None if it was not verified.

    Raises OSError, or DamagedError if the file has another stamp.
    """
    fd = _opened(path)
    found = stamp_of(fd)[0]
    if stamp is not None and stamp != found:
        os.close(fd)
        raise DamagedError(f"{path} was changed")
    return OpenFile(path, fd, found, flags)


class OpenFile:
    """A verified file that is open for reading, such as a body.

    ``flags``: for reads that must not wait for a disk. ``used``: it was used since it was opened,
    or since :class:`~.openfiles.OpenFiles` looked for files to close. ``hit``: what hits of a
    record need (:class:`~.filehits.FileHit`), with its ``key`` and ``cost``; None if it is not
    kept. The file is closed when each of its users has called :meth:`close`; the first user is the
    caller that opened it.
    """

    __slots__ = (
        "_changed",
        "_modified",
        "_parts",
        "_size",
        "_users",
        "cost",
        "fd",
        "flags",
        "hit",
        "key",
        "path",
        "size",
        "stamp",
        "used",
    )

    def __init__(self, path: str, fd: int, stamp: Stamp, flags: int) -> None:
        self.path = path
        self.fd = fd
        self.stamp = stamp
        _, self.size, self._modified, self._changed = stamp
        self.flags = flags
        self.used = False
        self.hit: Any = None
        self.key: Key = ()
        self.cost = 0
        self._users = 1
        self._size = -1
        self._parts: tuple[memoryview, ...] = ()

    def share(self) -> OpenFile:
        """Add a user, and return this object."""
        self._users += 1
        return self

    def close(self) -> None:
        """Release the file. Each user calls it once."""
        self._users -= 1
        if not self._users:
            unmap(self)
            fd, self.fd = self.fd, -1
            os.close(fd)

    def read(self, at: int, size: int) -> bytes:
        """Return bytes of the body. This call blocks.

        Raises DamagedError if the file was changed since it was verified. A file that has lost its
        name has another ctime, and is still valid.
        """
        data = os.pread(self.fd, size, at)
        self._check(len(data) == size)
        return data

    def view(self, at: int, size: int) -> memoryview | None:
        """Return bytes of the body if all of them are in the page cache, else None.

        The result is valid until the next call. ``size``: at most :data:`LARGEST_READ`.
        """
        view = _buffer[:size]
        try:
            count = os.preadv(self.fd, (view,), at, self.flags)
        except OSError:
            return None
        if count != size:
            return None
        self._check(True)
        return view

    def mapped(self, at: int, size: int) -> memoryview | None:
        """Return bytes of the body in memory that is mapped to the file, None if that is not
        possible, or if some are not in the page cache. They are only to be sent (see
        :mod:`lbproxy.proxy.features.caching.disk.mapping`).

        Raises DamagedError if the file was changed since it was verified. It may also change until
        the bytes are sent, so a later check must follow.
        """
        view = view_of(self, at, size)
        if view is not None:
            self._check(True)
        return view

    def read_cached(self, at: int, size: int) -> bytes | None:
        """Return the same data as :meth:`view`, as bytes."""
        view = self.view(at, size)
        return None if view is None else bytes(view)

    def whole(self) -> bytes | None:
        """Return the contents, of at most :data:`LARGEST_READ` bytes, or None as :meth:`view` does.

        Raises DamagedError if the file was changed since it was verified, or has lost its name.
        """
        return self.part(0, self.size)

    def part(self, at: int, size: int) -> bytes | None:
        """Return a part of the contents; see :meth:`whole`."""
        data = self.unchecked(at, size)
        try:
            same = self.is_unchanged()
        except OSError:  # it has just been closed
            return None
        if not same:
            raise DamagedError(f"{self.path} was changed")
        return data

    def unchecked(self, at: int, size: int) -> bytes | None:
        """Return a part of what is in the file now: the caller must know what is to be there.

        ``size``: at most :data:`LARGEST_READ`. None as :meth:`view`, or if the file is shorter.
        """
        if size > LARGEST_READ:
            return None
        try:
            count = os.preadv(self.fd, self._buffers(size), at, self.flags)
        except OSError:
            return None
        return bytes(self._parts[0]) if count == size else None

    def _buffers(self, size: int) -> tuple[memoryview, ...]:
        """Return the buffers for a read of ``size`` bytes, which is mostly that of the last one."""
        if self._size != size:
            self._size = size
            self._parts = (_buffer[:size],)
        return self._parts

    def is_unchanged(self) -> bool:
        """Return whether the file is unchanged since verification, and still has its name.

        Its inode is known, and each change of its contents, times or names is one of its ctime."""
        found = os.fstat(self.fd)
        return found.st_ctime_ns == self._changed and found[ST_SIZE] == self.size

    def _check(self, complete: bool) -> None:
        found = os.fstat(self.fd)
        same = found.st_ctime_ns == self._changed
        if not same and not found.st_nlink:  # the loss of its name changed the ctime
            same = found.st_mtime_ns == self._modified
        if not same or not complete or found.st_size != self.size:
            raise DamagedError(f"{self.path} was changed while it was read")
