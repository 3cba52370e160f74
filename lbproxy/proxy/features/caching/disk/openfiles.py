"""DATA. Records and bodies in files that are kept open, for hits that do not wait for the disk.

The file had the stamp of the entry when it was verified. Its stamp is compared after each read, so
a file that was changed, replaced or removed is not read, but verified again or discarded. A head
that is kept in memory with its record may be used without a read.
"""

from __future__ import annotations

from typing import Any, Final

from lbproxy.cache.codec import DamagedError
from lbproxy.cache.key import Key
from lbproxy.proxy.features.caching.disk.mapping import descriptors
from lbproxy.proxy.features.caching.disk.openfile import OpenFile, open_file

__all__ = ["LARGEST", "MOST", "MOST_KEPT", "OpenFiles"]

LARGEST: Final = 64 * 1024
"""Size in bytes of the largest body that is read at once."""

MOST = 4096
"""Maximum number of open files of one cache."""

_SHARE: Final = 16 * LARGEST
"""Bytes of the folder per open file: files that another process has removed occupy disk space
while they are open.
"""

MOST_KEPT = 16 * 1024 * 1024
"""Maximum bytes of prepared heads that are kept with the open files of one cache."""

_FEW: Final = 64

_TRIES: Final = 16
"""Maximum number of used files that are passed over to find one to close."""


class OpenCount:
    """Counts the open files of all caches: at most a quarter of the descriptors of the process, and
    1/16 more for mappings.
    """

    def __init__(self) -> None:
        self.count = 0

    def most(self) -> int:
        """Return the limit."""
        return descriptors(4)


_opened: Final = OpenCount()


class OpenFiles:
    """Open files of ``files`` (:class:`~lbproxy.proxy.features.caching.disk.files.FolderFiles`) in
    a folder of ``limit`` bytes. Beyond the most that may be open, and while three quarters of the
    descriptors are in use, one that was not used lately is closed for each that is opened.

    A cache that a reload removes ends without a call: its files are closed with this object.
    """

    def __init__(self, files: Any, limit: int) -> None:
        self._files = files
        self._open: dict[int, OpenFile] = {}
        self._most = self._most_of_all = 1
        self._kept = 0
        self._known: dict[Key, Any] = {}
        self.resize(limit)

    def __len__(self) -> int:
        return len(self._open)

    def resize(self, limit: int) -> None:
        """Follow a new ``limit`` of the folder."""
        self._most = min(MOST, max(_FEW, limit // _SHARE))
        self._most_of_all = _opened.most()
        while len(self._open) > self._most:
            self.close(next(iter(self._open)))

    def share(self, name: int, stamp: Any) -> OpenFile:
        """Return the open body in the file ``name``, which the caller closes.

        Raises OSError if the file cannot be opened, and DamagedError if its stamp is not ``stamp``.
        """
        body = self._get(name, stamp, "b")
        if not body.is_unchanged():
            self.close(name)
            raise DamagedError("the file was changed")
        return body.share()

    def _get(self, name: int, stamp: Any, kind: str) -> OpenFile:
        file = self._open.get(name)
        if file is not None:
            if file.stamp == stamp:
                file.used = True
                return file
            self.close(name)
        opened = open_file(self._files.path_of(name, kind), stamp, self._files.flags)
        self._add(name, opened)
        return opened

    def _add(self, name: int, opened: OpenFile) -> None:
        most = self._most_of_all
        if self._open and (
            len(self._open) >= self._most or _opened.count >= most or opened.fd >= 3 * most
        ):
            self._close_one()
        self._open[name] = opened
        _opened.count += 1

    def _close_one(self) -> None:
        """Close the oldest file that was not used lately; of many used ones, the oldest."""
        for _ in range(_TRIES):
            name = next(iter(self._open))
            file = self._open[name]
            if not file.used:
                break
            file.used = False
            del self._open[name]
            self._open[name] = file
        self.close(next(iter(self._open)))

    def read(self, name: int, stamp: Any) -> bytes | None:
        """Return the contents of the body in the file ``name``; None if not all of it is in the
        page cache.

        Raises OSError or DamagedError like :meth:`share`.
        """
        file = self._get(name, stamp, "b")
        try:
            return file.whole()
        except DamagedError:
            self.close(name)
            raise

    def open_record(self, name: int, stamp: Any) -> OpenFile:
        """Return the open record in the file ``name``; None for ``stamp``: it need not have been
        verified. Raises OSError or DamagedError.
        """
        if stamp is None:
            self.close(name)
        return self._get(name, stamp, "r")

    def known(self, key: Key) -> Any:
        """Return the hit of ``key`` that was kept last; see :meth:`keep`."""
        return self._known.get(key)

    def kept(self, name: int) -> Any:
        """Return the hit that is kept with the open record ``name``, or None."""
        file = self._open.get(name)
        if file is None or file.hit is None:
            return None
        file.used = True
        return file.hit

    def keep(self, name: int, hit: Any, key: Key, cost: int) -> None:
        """Keep a :class:`~.filehits.FileHit` of ``cost`` bytes until its record is closed, if there
        is room.
        """
        file = self._open[name]
        if file.hit is None and self._kept + cost <= MOST_KEPT:
            file.hit, file.key, file.cost = hit, key, cost
            self._kept += cost
            self._known[key] = hit

    def close(self, name: int) -> None:
        """Close a file, or let its readers do it. Has no effect if it is not open."""
        file = self._open.pop(name, None)
        if file is None:
            return
        _opened.count -= 1
        if file.hit is not None:
            self._kept -= file.cost
            if self._known.get(file.key) is file.hit:
                del self._known[file.key]
            file.hit = None
        file.close()

    def close_all(self) -> None:
        """Close all files."""
        while self._open:
            self.close(next(iter(self._open)))

    def __del__(self) -> None:
        self.close_all()
