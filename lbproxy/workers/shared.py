"""CONTROL. How many leases each worker holds of each server, and connections of each client, in memory that all see.

One row for each worker, which only that worker writes: an aligned 64-bit store is atomic, so nobody waits for anybody.
Each worker looks at the others' rows every :data:`EVERY` seconds and tells its balancers
(:meth:`lbproxy.balance.group.ServerGroup.set_elsewhere`); traffic itself touches this memory only for servers with a
``maxconn``, and to frontends with ``maxconn_per_ip``.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterable, Mapping
from hashlib import blake2b

from lbproxy.balance.group import ServerGroup
from lbproxy.balance.server import ServerState

__all__ = [
    "ADDRESSES",
    "EVERY",
    "PLACES",
    "AddressPeers",
    "Board",
    "BoardClaims",
    "exchange",
    "place_name",
]

EVERY = 0.02
"""Seconds between two looks: leastconn is this far behind, and who waits hears so late of room made elsewhere."""

PLACES = 1 << 16
"""Most servers; those beyond are counted by each worker for itself."""

ADDRESSES = 1 << 20
"""Places that clients' addresses are spread over."""

_BYTES = 8


class Board:
    """``rows`` workers with ``places`` counts each; the pages nobody writes take no memory."""

    def __init__(self, fd: int, rows: int, places: int = PLACES) -> None:
        self.fd = fd
        self.rows = rows
        self.places = places
        self._map = mmap.mmap(fd, rows * places * _BYTES)
        self._cells = memoryview(self._map).cast("q")

    @classmethod
    def create(cls, rows: int, places: int = PLACES) -> Board:
        """A new one, all zero; its descriptor can be passed on."""
        fd = os.memfd_create("lbproxy-workers", os.MFD_CLOEXEC)
        os.ftruncate(fd, rows * places * _BYTES)
        return cls(fd, rows, places)

    def put(self, row: int, place: int, count: int) -> None:
        """``row`` is the caller's own."""
        self._cells[row * self.places + place] = count

    def add(self, row: int, place: int, count: int) -> None:
        """``row`` is the caller's own."""
        self._cells[row * self.places + place] += count

    def others(self, row: int, place: int) -> int:
        """The sum of all rows but ``row``."""
        cells, places = self._cells, self.places
        return sum(cells[other * places + place] for other in range(self.rows) if other != row)

    def clear(self, row: int) -> None:
        """Its worker is dead: it holds nothing."""
        size = self.places * _BYTES
        self._map.madvise(mmap.MADV_REMOVE, row * size, size)

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


class AddressPeers:
    """``maxconn_per_ip`` of one frontend across workers.  See :class:`lbproxy.guard.connections.Peers`.

    Each address has two of the board's places, found with ``secret`` so that nobody can choose an address that shares
    them with another; the smaller count is believed (a count-min sketch, Cormode and Muthukrishnan 2005).  So an
    address is never counted too low, and too high only if others, at other workers, share both: with 10,000 clients
    connected one address in 2,800 does.
    """

    def __init__(self, board: Board, row: int, frontend: str, secret: bytes) -> None:
        self._board = board
        self._row = row
        self._key = secret[:64]
        self._salt = frontend.encode() + b"\0"

    def take(self, ip: str, room: int) -> bool:
        """See Peers.  Written down first, so that at a tie both may be refused and nobody is over the limit."""
        board, row = self._board, self._row
        places = self._places(ip)
        for place in places:
            board.add(row, place, 1)
        if min(board.others(row, place) for place in places) < room:
            return True
        for place in places:
            board.add(row, place, -1)
        return False

    def give_back(self, ip: str) -> None:
        """See Peers."""
        for place in self._places(ip):
            self._board.add(self._row, place, -1)

    def _places(self, ip: str) -> tuple[int, int]:
        """One in each half of the board: they are never the same one, which would count twice."""
        number = int.from_bytes(
            blake2b(self._salt + ip.encode(), key=self._key, digest_size=8).digest(), "big"
        )
        half = self._board.places // 2
        return number % half, half + (number >> 32) % half


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
    return f"{server.backend}/{server.name}/{server.spec.target}"
