"""DATA. The files of stored responses: written, and verified.

A response is a *record* (:mod:`lbproxy.cache.codec`), which includes a small body. A larger body is
a separate file, so that refreshing a head does not copy it. Neither file changes after the journal
names it; a killed process may leave others. Names are random numbers in 256 sub-folders:
``ab/ab12...cd.r`` and ``.b``. The name of a body that is being written ends in ``.t``, and its
writer holds a kernel lock on it, because that may take long.

All functions block. They run in threads, except for reads from the page cache.
"""

from __future__ import annotations

import fcntl
import os
import stat
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Final

from attrs import evolve

from lbproxy.cache.codec import DamagedError, StoredRecord, dump_record, load_record
from lbproxy.proxy.features.caching.disk.filesystem import read_rules
from lbproxy.proxy.features.caching.disk.openfile import READING, Stamp, stamp_of

__all__ = ["BLOCK", "FolderFiles", "on_disk"]

BLOCK: Final = 4096
"""Size in bytes of a file-system block, the unit in which the size of a file is counted."""

_NEW: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW

PIECE: Final = 1024 * 1024
"""Number of bytes that are read at a time to verify a body."""


def on_disk(size: int) -> int:
    """Return the disk space in bytes of a file of ``size`` bytes."""
    return -(-size // BLOCK) * BLOCK


class FolderFiles:
    """The files below the existing ``root``.

    ``flags`` and ``inline``: those of
    :func:`~lbproxy.proxy.features.caching.disk.filesystem.read_rules`.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._root = str(root)
        self.flags, self.inline = read_rules(root)

    def new_name(self) -> int:
        """Return an unused name."""
        return int.from_bytes(os.urandom(8), "big")

    def path(self, name: int, kind: str) -> Path:
        """Return the path of a record (``r``), a body (``b``) or a file being written (``t``)."""
        return Path(self.path_of(name, kind))

    def path_of(self, name: int, kind: str) -> str:
        """Return the same path as a string."""
        text = f"{name:016x}"
        return f"{self._root}/{text[:2]}/{text}.{kind}"

    def create(self, name: int) -> int:
        """Create a file to write, and return its descriptor. Raises OSError."""
        fd = self._open_new(name, "t")
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # a sweep of another process has locked it
            os.close(fd)
            raise
        return fd

    def _open_new(self, name: int, kind: str) -> int:
        path = self.path_of(name, kind)
        try:
            return os.open(path, _NEW, 0o600)
        except FileNotFoundError:
            self.path(name, kind).parent.mkdir(mode=0o700, exist_ok=True)
            return os.open(path, _NEW, 0o600)

    def publish(self, name: int, kind: str) -> None:
        """Rename a complete file to its final name."""
        self.path(name, "t").rename(self.path(name, kind))

    def write_record(self, name: int, record: StoredRecord) -> int:
        """Write a record, and return its size. Raises OSError; no file is left then.

        It has its final name at once: nobody reads it before the journal names it."""
        data = dump_record(record)
        fd = self._open_new(name, "r")
        try:
            write_all(fd, data)
            return len(data)
        except BaseException:
            self.remove(name, "r")
            raise
        finally:
            os.close(fd)

    def write_apart(self, name: int, body: int, record: StoredRecord) -> int:
        """Write a record, and its body to the file ``body``. Return the size of the record. Raises
        OSError, with no file left.
        """
        assert record.body is not None
        fd = self.create(body)
        try:
            write_all(fd, record.body)
            self.publish(body, "b")
        except BaseException:
            self.remove(body, "t")
            raise
        finally:
            os.close(fd)
        try:
            return self.write_record(name, evolve(record, body=None))
        except BaseException:
            self.remove(body, "b")
            raise

    def read_record(self, name: int) -> tuple[StoredRecord, Stamp]:
        """Return a verified record and the stamp of its file. Raises OSError or DamagedError."""
        fd = os.open(self.path_of(name, "r"), READING)
        with open(fd, "rb") as file:  # noqa: PTH123 - a path would follow a link
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise DamagedError("it is no file")
            stamp = stamp_of(fd)[0]
            record = load_record(file.read())
            _require_same(fd, stamp)
            return record, stamp

    def verify_body(self, name: int, known: Stamp | None, record: StoredRecord) -> Stamp:
        """Verify a body with the digest of ``record``, unless it has the stamp ``known``. Return
        its stamp. Raises OSError or DamagedError.
        """
        fd = os.open(self.path_of(name, "b"), READING)
        try:
            stamp = stamp_of(fd)[0]
            if stamp != known:
                _verify(fd, record)
                _require_same(fd, stamp)
            return stamp
        finally:
            os.close(fd)

    def remove(self, name: int, kind: str) -> None:
        """Remove a file if it exists and can be removed."""
        with suppress(OSError):
            self.path(name, kind).unlink()

    def names(self, part: str) -> list[tuple[int, str]]:
        """Return the name and the kind of each file in one sub-folder, such as ``ab``."""
        found = []
        with suppress(OSError):
            for entry in os.scandir(self.root / part):
                text, _, kind = entry.name.partition(".")
                with suppress(ValueError):
                    if kind in ("r", "b", "t") and len(text) == 16:
                        found.append((int(text, 16), kind))
        return found

    def abandoned(self, name: int, kind: str, before: float) -> bool:
        """Return whether a file that no process knows is abandoned.

        A file that is being written has a lock. Other files must have time until the journal names
        them: they are abandoned if they are older than ``before`` (Unix time).
        """
        try:
            fd = os.open(self.path(name, kind), READING)
        except OSError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return os.fstat(fd).st_mtime < before
        except OSError:
            return False
        finally:
            os.close(fd)


def write_all(fd: int, data: bytes) -> None:
    """Write ``data`` at the current position. Raises OSError."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _require_same(fd: int, stamp: Stamp) -> None:
    if stamp_of(fd)[0] != stamp:
        raise DamagedError("the file was changed while it was verified")


def _verify(fd: int, record: StoredRecord) -> None:
    digest = blake2b(digest_size=32)
    at = 0
    while at <= record.size:
        data = os.pread(fd, PIECE, at)
        if not data:
            break
        digest.update(data)
        at += len(data)
    if at != record.size or digest.digest() != record.digest:
        raise DamagedError("its digest is wrong")
