"""DATA. Writes a large body to its file while it is received, so that it is never in memory."""

from __future__ import annotations

import os
from collections.abc import Callable
from hashlib import blake2b
from typing import Final
from zlib import crc32

from lbproxy.cache.codec import DamagedError
from lbproxy.proxy.features.caching.disk.files import FolderFiles, write_all
from lbproxy.proxy.features.caching.jobs import Jobs

__all__ = ["AHEAD", "Spool"]

AHEAD: Final = 2 * 1024 * 1024
"""Number of bytes that may wait for the disk before the server is paused."""


class Spool:
    """Writes pieces in threads, in order.

    ``wrote(offset, size, check)`` is called for each piece that is in the file, with the arguments
    of :meth:`read` for it. ``failed()`` is called once if the disk fails or is full; ``error`` is
    the reason. ``waiting``: number of bytes that are not in the file yet.
    """

    def __init__(
        self,
        files: FolderFiles,
        jobs: Jobs,
        wrote: Callable[[int, int, int], None],
        failed: Callable[[], None],
    ) -> None:
        self.name = files.new_name()
        self.waiting = 0
        self.size = 0
        self.error: BaseException | None = None
        self._files = files
        self._jobs = jobs
        self._wrote = wrote
        self._failed = failed
        self._fd = -1
        self._digest = blake2b(digest_size=32)
        self._pieces: list[bytes] = []
        self._busy = False
        self._over = False
        self._finish: Callable[[bytes], None] | None = None

    def write(self, data: bytes) -> None:
        """Add a piece."""
        self._pieces.append(data)
        self.waiting += len(data)
        self._go_on()

    def finish(self, done: Callable[[bytes], None]) -> None:
        """Call ``done(digest)`` when everything is written and the file has its final name."""
        self._finish = done
        self._go_on()

    def read(self, offset: int, size: int, check: int) -> bytes:
        """Return a piece that has been written, usually from the page cache.

        Raises OSError, or DamagedError if the file was changed.
        """
        data = os.pread(self._fd, size, offset)
        if len(data) != size or crc32(data) != check:
            raise DamagedError("the file was changed while it was written")
        return data

    def close(self) -> None:
        """Close the file after the last reader; an unfinished file is removed."""
        if self._over and self._fd < 0:
            return
        self._over = True
        self._pieces.clear()
        if not self._busy:
            self._close()

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        self._files.remove(self.name, "t")

    def _go_on(self) -> None:
        if self._busy or self._over:
            return
        if self._pieces:
            pieces, self._pieces = self._pieces, []
            self._busy = True
            self._jobs.run(lambda: self._write(pieces), lambda ok: self._written(pieces, ok))
        elif self._finish is not None:
            self._busy = True
            self._jobs.run(self._publish, self._published)

    def _write(self, pieces: list[bytes]) -> list[int]:
        """Write pieces, and return their checksums."""
        if self._fd < 0:
            self._fd = self._files.create(self.name)
        for piece in pieces:
            write_all(self._fd, piece)
            self._digest.update(piece)
        return [crc32(piece) for piece in pieces]

    def _publish(self) -> bool:
        self._files.publish(self.name, "b")
        return True

    def _written(self, pieces: list[bytes], result: list[int] | BaseException) -> None:
        self._busy = False
        if self._over:
            self._close()
            return
        if isinstance(result, BaseException):
            self._over = True
            self.error = result
            self._failed()
            return
        for piece, check in zip(pieces, result, strict=True):
            at, self.size = self.size, self.size + len(piece)
            self.waiting -= len(piece)
            self._wrote(at, len(piece), check)
        self._go_on()

    def _published(self, result: bool | BaseException) -> None:
        self._busy = False
        done, self._finish = self._finish, None
        if self._over:
            self._files.remove(self.name, "b")
            self._close()
            return
        if isinstance(result, BaseException):
            self._over = True
            self.error = result
            self._failed()
        elif done is not None:
            self._over = True
            done(self._digest.digest())
