"""CONTROL. Rotation of log files by size or by time.

The files are ``access.log``, ``access.log.1``, ``access.log.2`` ...

:class:`lbproxy.logs.sink.LogSink` uses it before it writes. Several processes may write the same
file. The first one that finds it due renames it, under a lock on the file itself; the others notice
that the path leads to another file and open that.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress

__all__ = ["Rotation"]


class Rotation:
    """The rotation of the file at ``path``.

    ``size`` in bytes and ``every`` in seconds (counted from midnight UTC, 1 January 1970), 0 for
    never. ``keep``: number of old files.
    """

    def __init__(self, path: str, size: int, every: float, keep: int) -> None:
        self._path = path
        self._size = size
        self._every = every
        self._keep = keep
        self._period = 0  # the period that the file belongs to

    def opened(self, fd: int, now: float) -> None:
        """Start with the file ``fd``. Content from before the current period makes it due."""
        if self._every:
            found = os.fstat(fd)
            self._period = int((found.st_mtime if found.st_size else now) // self._every)

    def due(self, fd: int, now: float) -> bool:
        """Return whether the file behind ``fd`` must be rotated."""
        if self._every and int(now // self._every) != self._period:
            return True
        return bool(self._size) and os.fstat(fd).st_size >= self._size

    def rotate(self, fd: int) -> None:
        """Rename the file, unless another program did. On an OSError the file stays; try again
        later.
        """
        found = os.fstat(fd)
        if not found.st_size and self._same(found):
            return  # an empty file is not rotated
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return  # another process is rotating it
        try:
            if self._same(found):
                self._shift()
        finally:
            fcntl.flock(fd, fcntl.LOCK_UN)

    def _same(self, found: os.stat_result) -> bool:
        """Return whether the path still leads to the file."""
        try:
            there = os.stat(self._path)  # noqa: PTH116
        except FileNotFoundError:
            return False
        return (there.st_dev, there.st_ino) == (found.st_dev, found.st_ino)

    def _shift(self) -> None:
        if not self._keep:
            os.unlink(self._path)  # noqa: PTH108
            return
        names = [self._path, *(f"{self._path}.{n}" for n in range(1, self._keep + 1))]
        last = next((n for n, name in enumerate(names) if n and not os.path.exists(name)), None)  # noqa: PTH110
        for n in range(last if last is not None else self._keep, 0, -1):
            os.replace(names[n - 1], names[n])  # noqa: PTH105
        with suppress(OSError):  # files from an earlier configuration
            for n in range(self._keep + 1, self._keep + 10_000):
                os.unlink(f"{self._path}.{n}")  # noqa: PTH108
