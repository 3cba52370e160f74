"""CONTROL. How many leases each worker holds of each server, in memory that all of them see.

One row for each worker, which only that worker writes: an aligned 64-bit store is atomic, so nobody waits for anybody.
Each worker looks at the others' rows every :data:`EVERY` seconds and tells its balancers
(:meth:`lbproxy.balance.group.ServerGroup.set_elsewhere`); traffic itself touches this memory only for servers with a
``maxconn``.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterable, Mapping

from lbproxy.balance.group import ServerGroup
from lbproxy.balance.server import ServerState

__all__ = ["EVERY", "PLACES", "Board", "BoardClaims", "exchange", "place_name"]

EVERY = 0.02
"""Seconds between two looks: leastconn is this far behind, and who waits hears so late of room made elsewhere."""

PLACES = 1 << 16
"""Most servers; those beyond are counted by each worker for itself."""

_BYTES = 8


class Board:
    """``rows`` workers with ``PLACES`` counts each; the pages nobody writes take no memory."""

    def __init__(self, fd: int, rows: int) -> None:
        self.fd = fd
        self.rows = rows
        self._map = mmap.mmap(fd, rows * PLACES * _BYTES)
        self._cells = memoryview(self._map).cast("q")

    @classmethod
    def create(cls, rows: int) -> Board:
        """A new one, all zero; its descriptor can be passed on."""
        fd = os.memfd_create("lbproxy-workers", os.MFD_CLOEXEC)
        os.ftruncate(fd, rows * PLACES * _BYTES)
        return cls(fd, rows)

    def put(self, row: int, place: int, count: int) -> None:
        """``row`` is the caller's own."""
        self._cells[row * PLACES + place] = count

    def others(self, row: int, place: int) -> int:
        """The sum of all rows but ``row``."""
        cells = self._cells
        return sum(cells[other * PLACES + place] for other in range(self.rows) if other != row)

    def clear(self, row: int) -> None:
        """Its worker is dead: it holds nothing."""
        self._cells[row * PLACES : (row + 1) * PLACES] = memoryview(bytes(PLACES * _BYTES)).cast(
            "q"
        )

    def close(self) -> None:
        """Unmap it."""
        self._cells.release()
        self._map.close()
        os.close(self.fd)


class BoardClaims:
    """Limits that hold across workers: a lease of a limited server is written down first, then the others' are read.

    Who finds that there are too many takes its own back, so that at a tie both may wait, and nobody is over the limit.
    """

    def __init__(self, board: Board, row: int, places: Mapping[str, int]) -> None:
        self._board = board
        self._row = row
        self._places = places

    def claim(self, group: ServerGroup, server: ServerState) -> bool:
        """See :class:`lbproxy.balance.group.Claims`."""
        place = self._places.get(place_name(server))
        if place is None:
            return True
        own = server.active - server.elsewhere
        self._board.put(self._row, place, own + 1)
        others = self._board.others(self._row, place)
        if own + 1 + others <= server.maxconn:
            return True
        self._board.put(self._row, place, own)
        group.set_elsewhere(server, others)
        return False

    def given_back(self, server: ServerState) -> None:
        """See :class:`lbproxy.balance.group.Claims`."""
        place = self._places.get(place_name(server))
        if place is not None:
            self._board.put(self._row, place, server.active - server.elsewhere)


def exchange(
    board: Board, row: int, places: Mapping[str, int], groups: Iterable[ServerGroup]
) -> None:
    """Publish what this worker holds, and tell its groups what the others do."""
    for group in groups:
        for server in group.servers.values():
            place = places.get(place_name(server))
            if place is not None:
                board.put(row, place, server.active - server.elsewhere)
                others = board.others(row, place)
                if others != server.elsewhere:
                    group.set_elsewhere(server, others)


def place_name(server: ServerState) -> str:
    """What a server is called in ``places``: by its address too, for another one is another server."""
    return f"{server.backend}/{server.name}/{server.spec.address}"
