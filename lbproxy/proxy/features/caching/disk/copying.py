"""DATA. The file that a compaction writes, until it replaces the journal."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from lbproxy.proxy.features.caching.disk.frames import frame, is_at, open_file, write_pieces

__all__ = ["JournalCopy"]

_PIECE: Final = 128 * 1024


class JournalCopy:
    """``head``: size of the header, which is written last. ``end``: size so far, in bytes.

    The process that writes the file holds a kernel lock on it. Raises OSError if it cannot be
    created, and BlockingIOError if another process is writing one.
    """

    def __init__(self, path: Path, head: int) -> None:
        self._path = path
        self.end = head
        self.records = 0
        self._pending: list[bytes] = []
        self._held = 0
        self.fd = open_file(path)
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not is_at(self.fd, path):
                raise BlockingIOError  # the file has just become the journal
            os.ftruncate(self.fd, 0)
        except BaseException:
            os.close(self.fd)
            raise

    def add(self, payload: bytes) -> None:
        """Add a record, which may be buffered."""
        self._pending.append(frame(payload))
        self._held += len(self._pending[-1])
        self.records += 1
        if self._held > _PIECE:
            self.flush()

    def flush(self) -> None:
        """Write the buffered records."""
        pending, self._pending, self._held = self._pending, [], 0
        self.end += write_pieces(self.fd, pending, self.end)

    def take_over(self, fd: int, at: int, end: int) -> int:
        """Copy a piece of the frames between ``at`` and ``end`` of another file; return its end."""
        data = os.pread(fd, min(end - at, _PIECE), at)
        self.end += write_pieces(self.fd, [data], self.end)
        return at + len(data)

    def finish(self, header: bytes) -> None:
        """Replace the journal. The caller owns ``fd`` from now on."""
        os.pwrite(self.fd, header, 0)
        self._path.rename(self._path.with_suffix(""))
        fcntl.flock(self.fd, fcntl.LOCK_UN)

    def abandon(self) -> None:
        """Remove the file."""
        with suppress(OSError):
            if is_at(self.fd, self._path):
                self._path.unlink()
        os.close(self.fd)
