"""DATA. The chunks of a body that is stored by now, for readers that have taken a part of it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Final, overload

__all__ = ["PER_CHUNK", "StoredChunks"]

PER_CHUNK: Final = 48
"""Bytes that a chunk costs besides its data: an object and its place in a list."""


class StoredChunks(Sequence[bytes]):
    """``body`` in parts as long as ``chunks``.  A part is copied when it is asked for."""

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
