"""DATA. The chunks of a body that is already stored, or that is written to a file."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Final, overload

from lbproxy.proxy.features.caching.disk.spool import Spool

__all__ = ["PER_CHUNK", "SpooledChunks", "StoredChunks"]

PER_CHUNK: Final = 48
"""Overhead of a chunk in bytes: an object and its slot in a list."""


class StoredChunks(Sequence[bytes]):
    """``body`` in parts of the lengths of ``chunks``. A part is copied when it is accessed."""

    __slots__ = ("_body", "_ends")

    def __init__(self, body: bytes, chunks: Sequence[bytes]) -> None:
        self._body = body
        self._ends = list(accumulate(map(len, chunks), initial=0))

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[bytes]: ...
    def __getitem__(self, index: int | slice) -> bytes | Sequence[bytes]:
        if isinstance(index, slice):
            return [self[one] for one in range(*index.indices(len(self)))]
        place = range(len(self))[index]
        return self._body[self._ends[place] : self._ends[place + 1]]


class SpooledChunks(Sequence[bytes]):
    """Chunks that a spool writes to its file, in order.

    Written chunks are read from the file, which is in the page cache. Raises OSError, or
    DamagedError if the file was changed.
    """

    __slots__ = ("_chunks", "_dropped", "_spool", "_written")

    def __init__(self, spool: Spool, chunks: Sequence[bytes]) -> None:
        self._spool = spool
        self._chunks: list[bytes | tuple[int, int, int]] = list(chunks)
        self._dropped = 0
        self._written = 0

    def append(self, chunk: bytes) -> None:
        """Add a chunk that is in memory."""
        self._chunks.append(chunk)

    def wrote(self, offset: int, size: int, check: int) -> int:
        """Note that the next chunk is in the file; return the number of bytes of memory freed."""
        place = self._written - self._dropped
        self._written += 1
        if place < 0:
            return 0
        self._chunks[place] = (offset, size, check)
        return size

    def drop(self, count: int) -> int:
        """Drop the first ``count`` chunks; return the number of bytes of memory freed."""
        freed = sum(len(one) for one in self._chunks[:count] if isinstance(one, bytes))
        del self._chunks[:count]
        self._dropped += count
        return freed

    def __len__(self) -> int:
        return len(self._chunks)

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[bytes]: ...
    def __getitem__(self, index: int | slice) -> bytes | Sequence[bytes]:
        if isinstance(index, slice):
            return [self[one] for one in range(*index.indices(len(self)))]
        chunk = self._chunks[index]
        return chunk if isinstance(chunk, bytes) else self._spool.read(*chunk)
