"""DATA. The journal of a folder: stored and dropped responses and purges, in one order for all
processes.

A process appends under a kernel lock (``flock``), which ends with the process, and reads without a
lock. The size of the file is the version of the folder's contents: a process that has read to the
end knows the result of every completed call. A look-up therefore needs only one ``lseek`` to see
the purges of other processes at once.

- A frame consists of length, its complement, CRC-32 and payload. The next writer removes an
  incomplete frame at the end, which a killed process has left. Other damage empties the journal:
  the contents of the folder are lost, but no purge is.
- An emptied journal also loses its name, and the next record starts a new file. If the old file
  grew again, a process that has read part of it would mistake the new records for its continuation.
- A journal that cannot grow for a purge is emptied, so that the purge takes effect.
- :meth:`Journal.compaction` writes a new file in place of the old one. Its header has the identity
  of the old file and a position in it, so a process that has read that far goes on after the copy.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from lbproxy.cache.codec import DamagedError
from lbproxy.proxy.features.caching.disk.copying import JournalCopy
from lbproxy.proxy.features.caching.disk.frames import FRAME, frame, frames, is_at, open_file

__all__ = ["NAME", "Journal"]

NAME: Final = "index"
"""Name of the journal in its folder."""

_LOCK: Final = "lock"
_MAGIC: Final = b"LBIDX\x00\x04\n"
_HEADER: Final = struct.Struct(">8sQQQ")  # magic; old file's inode and position; end of copy
_READ: Final = 4 * 1024 * 1024
_STEP_BYTES: Final = 16 * 1024
_STEP_RECORDS: Final = 100
_MOVED: Final = b"M"
"""Payload of the frame after which the file may have been replaced."""


class Journal:
    """The journal in the existing ``folder``.

    :meth:`load` or :meth:`sync` reads its records. ``apply(payload)`` is called for each record,
    including those of this process; it raises DamagedError for an invalid record.
    ``reset(damaged)`` is called when the contents are lost, or start again.
    """

    def __init__(
        self, folder: Path, apply: Callable[[bytes], None], reset: Callable[[bool], None]
    ) -> None:
        self._path = folder / NAME
        self._apply = apply
        self._reset = reset
        self._fd = self._lock = -1
        self._position = 0
        self._moved = False  # the file may have been replaced
        self._held = False
        self._started = 0  # number of times that the file was replaced or emptied
        self.records = 0
        """Number of records in the file that have been applied."""
        self._lock = open_file(folder / _LOCK)
        try:
            with self._locked():
                self._find()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the files."""
        for fd in (self._fd, self._lock):
            if fd >= 0:
                os.close(fd)
        self._fd = self._lock = -1

    def __del__(self) -> None:
        self.close()  # a reload has dropped the cache

    @property
    def size(self) -> int:
        """Number of bytes that have been read."""
        return self._position

    def sync(self) -> None:
        """Apply new records; this takes one system call if there are none."""
        if os.lseek(self._fd, 0, os.SEEK_END) != self._position or self._moved:
            self._read()

    def append(self, payloads: Callable[[], Iterable[bytes]]) -> None:
        """Append the records of ``payloads()``, called once all earlier records are applied.

        Raises OSError if they cannot be written; then none is."""
        with self._locked():
            self._catch_up()
            self._write(payloads())
        self._read()

    def append_surely(self, payload: bytes) -> None:
        """Append a record; empty the journal if that is the only way."""
        try:
            self.append(lambda: [payload])
        except OSError:
            self._empty()
            self._read()

    def flush(self) -> None:
        """Write appended records to the disk. This blocks, and is called in a thread."""
        with suppress(OSError):
            os.fdatasync(self._fd)

    def load(self) -> Iterator[None]:
        """Apply the records of the file, in steps of a millisecond. Raises OSError."""
        more = True
        while more:
            if self._moved:
                self._follow()
            more = self._read_some(_STEP_BYTES)
            if more:
                yield

    def compaction(self, payloads: Callable[[], Iterable[bytes]]) -> Iterator[None]:
        """Replace the file, in steps of a millisecond, by one with the current contents
        (``payloads()``) and the records appended meanwhile.

        Nothing changes if another process is doing the same. A process that appends during the last
        step waits for its end. Raises OSError."""
        with suppress(BlockingIOError):
            copy = JournalCopy(self._path.with_name(NAME + ".new"), _HEADER.size)
            try:
                complete = yield from self._copied(copy, payloads)
            except BaseException:
                copy.abandon()
                raise
            if not complete:
                copy.abandon()

    def _copied(
        self, copy: JournalCopy, payloads: Callable[[], Iterable[bytes]]
    ) -> Generator[None, None, bool]:
        """Write ``copy`` and switch to it; return False if the file was replaced or emptied."""
        self.sync()
        started, at, records = self._started, self._position, self.records
        if not at:
            return False  # the file has no contents
        for number, payload in enumerate(payloads(), 1):
            copy.add(payload)
            if not number % _STEP_RECORDS:
                yield
        copy.flush()
        self.sync()
        while started == self._started and self._position - at > _STEP_BYTES:
            at = copy.take_over(self._fd, at, self._position)
            yield
            self.sync()
        with self._locked():
            self._catch_up()
            if started != self._started:
                return False
            while at < self._position:
                at = copy.take_over(self._fd, at, self._position)
            self._write([_MOVED])
            stands = os.fstat(self._fd).st_ino, os.lseek(self._fd, 0, os.SEEK_END)
            copy.finish(_HEADER.pack(_MAGIC, *stands, copy.end))
            self._take(copy.fd, copy.end)
            self.records += copy.records - records
        return True

    # -- reading --------------------------------------------------------------------------------

    def _read(self) -> None:
        more = True
        while more:
            if self._moved:
                self._follow()
            more = self._read_some()

    def _read_some(self, most: int = _READ) -> bool:
        """Apply up to ``most`` bytes of the file; return whether more may follow."""
        size = os.lseek(self._fd, 0, os.SEEK_END)
        if size < self._position:
            self._moved = True  # the file was emptied, and has lost its name
            self._start(size)
            return True
        if self._position == 0 and size >= _HEADER.size:
            self._start(size, empty=True)
            return True
        data = os.pread(self._fd, min(size - self._position, most), self._position)
        read = 0
        for payload in frames(data):
            if payload is None or not self._applied(payload):
                self._damaged()
                return True
            read += FRAME.size + len(payload)
            self._position += FRAME.size + len(payload)
            if payload == _MOVED:
                self._moved = True
                return True
        if not read and most < _READ and self._position + most < size:
            return self._read_some()  # a large frame
        return read > 0 and self._position < size

    def _applied(self, payload: bytes) -> bool:
        """Apply a record; return False if it is invalid."""
        if payload == _MOVED:
            return True
        try:
            self._apply(payload)
        except DamagedError:
            return False
        self.records += 1
        return True

    def _start(self, size: int, empty: bool = False) -> None:
        """Start at the beginning of the file. ``empty``: nothing is lost, as it was empty."""
        self._started += 1
        if not empty:
            self._reset(False)
        self.records = self._position = 0
        if size < _HEADER.size:
            return
        if os.pread(self._fd, 8, 0) != _MAGIC:
            self._damaged()
        else:
            self._position = _HEADER.size

    def _damaged(self) -> None:
        """Discard the contents, because the file is damaged.

        Without the lock, the damage may be an incomplete frame that a writer is about to remove, so
        the file is read again first."""
        if not self._held:
            with self._locked():
                self._read()
            return
        self._empty()
        self._position = 0
        self._moved = True
        self._started += 1
        self.records = 0
        self._reset(True)

    def _empty(self) -> None:
        """Discard the contents in all processes. Raises OSError."""
        with self._locked():
            if is_at(self._fd, self._path):
                with suppress(OSError):
                    self._path.unlink()
            os.ftruncate(self._fd, 0)

    def _follow(self) -> None:
        """Switch to the file that has replaced ours, if it exists already."""
        if not is_at(self._fd, self._path) and self._path.exists():
            self._switch()

    def _switch(self) -> None:
        """Switch to the file that now has the name, and continue after our records if its header
        matches.

        Otherwise another program has removed our file. It is emptied, so that other processes
        notice, too.
        """
        was = (os.fstat(self._fd).st_ino, self._position) if self._fd >= 0 else (0, 0)
        if self._fd >= 0 and not self._path.exists():
            self._give_up()
        fd = open_file(self._path)
        head = os.pread(fd, _HEADER.size, 0)
        if len(head) == _HEADER.size:
            magic, inode, position, end = _HEADER.unpack(head)
            if magic == _MAGIC and (inode, position) == was:
                self._take(fd, end)
                self.records = 0
                return
        self._give_up()
        self._take(fd, 0)
        self._start(os.lseek(fd, 0, os.SEEK_END))

    def _give_up(self) -> None:
        """Empty the open file, which has lost its name."""
        if self._fd >= 0:
            with suppress(OSError):
                os.ftruncate(self._fd, 0)

    def _take(self, fd: int, position: int) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._position, self._moved = fd, position, False
        self._started += 1

    # -- writing --------------------------------------------------------------------------------

    @contextmanager
    def _locked(self) -> Iterator[None]:
        if self._held:
            yield
            return
        self._acquire()
        self._held = True
        try:
            yield
        finally:
            self._held = False
            fcntl.flock(self._lock, fcntl.LOCK_UN)

    def _acquire(self) -> None:
        """Lock the file that other processes lock; the open file may have been removed."""
        path = self._path.with_name(_LOCK)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        try:
            while not is_at(self._lock, path):
                other = open_file(path)
                os.close(self._lock)
                self._lock = other
                fcntl.flock(self._lock, fcntl.LOCK_EX)
        except BaseException:
            fcntl.flock(self._lock, fcntl.LOCK_UN)
            raise

    def _catch_up(self) -> None:
        """Under the lock, apply everything up to the end of the file that has the name."""
        self._read()  # a replaced file leads to the next one
        self._find()
        self._read()

    def _find(self) -> None:
        """Open the file of that name, even if it has been replaced or removed."""
        if self._fd < 0 or not is_at(self._fd, self._path):
            self._switch()

    def _write(self, payloads: Iterable[bytes]) -> None:
        """Append under the lock, after removing an incomplete frame of a killed process."""
        if os.lseek(self._fd, 0, os.SEEK_END) != self._position:
            os.ftruncate(self._fd, self._position)
        start = self._position
        data = b"".join(map(frame, payloads))
        if not start:
            data = _HEADER.pack(_MAGIC, 0, 0, 0) + data
        try:
            if os.pwrite(self._fd, data, start) != len(data):
                raise OSError("the disk is full")
        except OSError:
            os.ftruncate(self._fd, start)
            raise
