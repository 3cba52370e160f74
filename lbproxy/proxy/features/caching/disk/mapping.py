"""DATA. Large bodies in files, mapped into memory to be sent without copies of our own.

``send`` copies from the mapping to the socket, so unlike with ``sendfile`` a change of the file
cannot reach a client once the data is sent. It would wait for the disk, so ``mincore`` is asked
first. Python code never reads a mapping: in a file that was truncated this would end the process,
whereas ``send`` fails with EFAULT.

Mappings cost no memory beside the page cache, but appear in the resident size of the process, so
their total size is bounded. Each has a descriptor of its own, so their number is bounded, too.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from contextlib import suppress
from resource import RLIM_INFINITY, RLIMIT_NOFILE, getrlimit
from typing import Any, Final

__all__ = ["LARGEST_MAPPED", "MOST_MAPPED", "Mapping", "descriptors", "unmap", "view_of"]

LARGEST_MAPPED: Final = 16 * 1024 * 1024
"""Size in bytes of the largest file that is mapped."""

MOST_MAPPED: Final = 64 * 1024 * 1024
"""Maximum number of bytes that all caches of a process map."""

_FEW: Final = 8
"""Number of files that may be mapped with however few descriptors."""

_PAGE: Final = mmap.PAGESIZE
_libc: Any = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def descriptors(sixteenths: int) -> int:
    """Return so many sixteenths of the descriptors that the process may have."""
    found = getrlimit(RLIMIT_NOFILE)[0]
    return 1 << 30 if found == RLIM_INFINITY else found * sixteenths // 16


class Mapping:
    """The mapping of an open file of ``size`` bytes. Raises OSError or ValueError."""

    __slots__ = ("_address", "_file", "_resident", "_vector", "_view", "size")

    def __init__(self, fd: int, size: int) -> None:
        self.size = size
        # private and writable, because ctypes gives no address of read-only memory; never written
        flags = mmap.MAP_PRIVATE | getattr(mmap, "MAP_NORESERVE", 0)
        self._file = mmap.mmap(fd, size, flags, mmap.PROT_READ | mmap.PROT_WRITE)
        self._address = ctypes.addressof(ctypes.c_char.from_buffer(self._file))
        self._view = memoryview(self._file).toreadonly()
        pages = -(-size // _PAGE)
        self._vector = ctypes.create_string_buffer(pages)
        self._resident = b"\x01" * pages

    def view(self, at: int, size: int) -> memoryview | None:
        """Return a part of the file, None if some of it is not in the page cache.

        The result is valid until the mapping is closed.
        """
        first = at // _PAGE
        pages = -(-(at + size) // _PAGE) - first
        start = self._address + first * _PAGE
        if _libc.mincore(ctypes.c_void_p(start), ctypes.c_size_t(pages * _PAGE), self._vector):
            return None
        if self._vector.raw[:pages] != self._resident[:pages]:
            return None
        return self._view[at : at + size]

    def close(self) -> None:
        """Unmap the file; if a view still exists, as soon as it ends."""
        with suppress(BufferError):
            self._view.release()
            self._file.close()


class _Mappings:
    """The mappings of all caches, by their open files; the one used longest ago comes first."""

    def __init__(self) -> None:
        self.by_file: dict[Any, Mapping] = {}
        self.bytes = 0


_mappings: Final = _Mappings()


def view_of(file: Any, at: int, size: int) -> memoryview | None:
    """Return a part of an open file (:class:`~.openfile.OpenFile`), None if it cannot be mapped or
    is not in the page cache.
    """
    mapping = _mappings.by_file.pop(file, None) or _mapped(file)
    if mapping is None:
        return None
    _mappings.by_file[file] = mapping
    return mapping.view(at, size)


def _mapped(file: Any) -> Mapping | None:
    """Map a file, and unmap others to make room."""
    if _libc is None or file.size > LARGEST_MAPPED:
        return None
    by_file, most = _mappings.by_file, max(_FEW, descriptors(1))
    while by_file and (_mappings.bytes + file.size > MOST_MAPPED or len(by_file) >= most):
        unmap(next(iter(by_file)))
    try:
        found = Mapping(file.fd, file.size)
    except (OSError, ValueError):  # no memory, no descriptor, or a file that has become shorter
        return None
    _mappings.bytes += file.size
    return found


def unmap(file: Any) -> None:
    """Unmap a file, if it is mapped."""
    mapping = _mappings.by_file.pop(file, None)
    if mapping is not None:
        _mappings.bytes -= mapping.size
        mapping.close()
