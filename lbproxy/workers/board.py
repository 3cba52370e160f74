"""CONTROL. Counts in memory that the workers of one master share.

Each worker has one row, which only that worker writes. An aligned 64-bit store is atomic, so no
worker waits for another.
"""

from __future__ import annotations

import mmap
import os
from hashlib import blake2b

__all__ = ["ADDRESSES", "PLACES", "Board", "KeyedCounts"]

PLACES = 1 << 16
"""Number of places on the first board, one for each server and each queue. Further ones are not
shared.
"""

ADDRESSES = 1 << 20
"""Number of places on the second board, over which keys such as client addresses are spread."""

_BYTES = 8


class Board:
    """Shared counts: ``rows`` workers with ``places`` counts each. Unwritten pages take no
    memory.
    """

    def __init__(self, fd: int, rows: int, places: int = PLACES) -> None:
        self.fd = fd
        self.rows = rows
        self.places = places
        self._map = mmap.mmap(fd, rows * places * _BYTES)
        self._cells = memoryview(self._map).cast("q")

    @classmethod
    def create(cls, rows: int, places: int = PLACES) -> Board:
        """Return a new board of zeros, whose descriptor can be passed on."""
        fd = os.memfd_create("lbproxy-workers", os.MFD_CLOEXEC)
        os.ftruncate(fd, rows * places * _BYTES)
        return cls(fd, rows, places)

    def put(self, row: int, place: int, count: int) -> None:
        """Set a count. ``row`` is that of the caller."""
        self._cells[row * self.places + place] = count

    def add(self, row: int, place: int, count: int) -> None:
        """Add to a count. ``row`` is that of the caller."""
        self._cells[row * self.places + place] += count

    def get(self, row: int, place: int) -> int:
        """Return the count of any row."""
        return self._cells[row * self.places + place]

    def others(self, row: int, place: int) -> int:
        """Return the sum of all rows except ``row``."""
        cells, places = self._cells, self.places
        return sum(cells[other * places + place] for other in range(self.rows) if other != row)

    def clear(self, row: int) -> None:
        """Set the row of a worker that has ended to zero."""
        size = self.places * _BYTES
        self._map.madvise(mmap.MADV_REMOVE, row * size, size)

    def close(self) -> None:
        """Unmap the memory."""
        self._cells.release()
        self._map.close()
        os.close(self.fd)


class KeyedCounts:
    """The counts of one worker by key, on a board with fewer places than keys.

    Each key has two places, derived with ``secret`` so that a client cannot choose a key that
    shares them with another one. The smaller count is used (a count-min sketch, Cormode and
    Muthukrishnan 2005). A count is never too low, and is too high only if other keys of other
    workers share both places: one in 2,800 with 10,000 keys in use.
    """

    def __init__(self, board: Board, row: int, secret: bytes) -> None:
        self._board = board
        self._row = row
        self._secret = secret[:64]

    def add(self, key: str, count: int) -> None:
        """See :class:`lbproxy.sharing.contracts.Shared`."""
        for place in self._places(key):
            self._board.add(self._row, place, count)

    def others(self, key: str) -> int:
        """See Shared."""
        return min(self._board.others(self._row, place) for place in self._places(key))

    def claim(self, key: str, room: int) -> bool:
        """See Shared. The count is written first and then compared, so that the limit is never
        exceeded.
        """
        board, row = self._board, self._row
        places = self._places(key)
        for place in places:
            board.add(row, place, 1)
        if min(board.others(row, place) for place in places) < room:
            return True
        for place in places:
            board.add(row, place, -1)
        return False

    def release(self, key: str) -> None:
        """See Shared."""
        self.add(key, -1)

    def _places(self, key: str) -> tuple[int, int]:
        """Return one place in each half of the board, so that a key never counts twice."""
        digest = blake2b(key.encode(), key=self._secret, digest_size=8).digest()
        number = int.from_bytes(digest, "big")
        half = self._board.places // 2
        return number % half, half + (number >> 32) % half
