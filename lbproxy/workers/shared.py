"""CONTROL. :class:`lbproxy.sharing.contracts.Shared` for worker processes: leases, connections and
queues of all workers.

Each worker reads the others' counts every :data:`EVERY` seconds and passes them to its balancers
(:meth:`lbproxy.balance.group.ServerGroup.set_remote_active`). Traffic itself touches the shared
memory only for servers with a ``maxconn``, for their queues, and for frontends with
``maxconn_per_ip``.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from hashlib import blake2b

from lbproxy.balance.group import ServerGroup
from lbproxy.balance.server import ServerState
from lbproxy.limits.cells import Cells
from lbproxy.workers.board import ADDRESSES, PLACES, Board, KeyedCounts

__all__ = [
    "ADDRESSES",
    "EVERY",
    "PLACES",
    "AddressPeers",
    "Board",
    "BoardClaims",
    "BoardShared",
    "BoardTurn",
    "exchange",
    "place_name",
    "queue_place",
]

EVERY = 0.02
"""Seconds between two reads. The load that leastconn sees is this old."""

PASSED_OVER = 0.1
"""Seconds that the first waiter of another process may leave room unused before others are
served.
"""

_TICK = 0.05  # seconds without a call after which the room counts as used meanwhile
_LOWEST = -1023  # priorities on the board are clamped to these bounds
_HIGHEST = 1023
_TIME_BITS = 52  # 142 years in microseconds


class BoardClaims:
    """``maxconn`` of servers across workers. A lease is written first, then the others' leases are
    read.

    A worker that finds too many leases takes its own back. At a tie both may wait, and the limit is
    never exceeded. ``room(server)`` is called after a lease was given back.
    """

    def __init__(
        self,
        board: Board,
        row: int,
        places: Mapping[str, int],
        room: Callable[[ServerState], None] = lambda server: None,
    ) -> None:
        self._board = board
        self._row = row
        self._places = places
        self._room = room

    def claim(self, group: ServerGroup, server: ServerState) -> bool:
        """See :class:`lbproxy.balance.group.Claims`."""
        place = self._places.get(place_name(server))
        if place is None:
            return True
        own = server.active - server.remote_active
        self._board.put(self._row, place, own + 1)
        others = self._board.others(self._row, place)
        if own + 1 + others <= server.maxconn:
            return True
        self._board.put(self._row, place, own)
        group.set_remote_active(server, others)
        return False

    def given_back(self, server: ServerState) -> None:
        """See :class:`lbproxy.balance.group.Claims`."""
        place = self._places.get(place_name(server))
        if place is not None:
            self._board.put(self._row, place, server.active - server.remote_active)
            self._room(server)


class AddressPeers:
    """``maxconn_per_ip`` of one frontend across workers.

    See :class:`lbproxy.guard.connections.Peers`.
    """

    def __init__(self, counts: KeyedCounts, frontend: str) -> None:
        self._counts = counts
        self._prefix = f"address:{frontend}:"

    def take(self, ip: str, room: int) -> bool:
        """See Peers."""
        return self._counts.claim(self._prefix + ip, room)

    def give_back(self, ip: str) -> None:
        """See Peers."""
        self._counts.release(self._prefix + ip)


class BoardTurn:
    """The queue of one backend across workers; see :class:`lbproxy.sharing.contracts.Turn`.

    A place on the board holds the ticket of each worker's first waiter: its priority, then its
    arrival in microseconds of the clock that all processes share. At a tie the lower row is first.
    ``wake(row)`` wakes a worker.
    """

    def __init__(
        self,
        board: Board,
        row: int,
        places: Mapping[str, int],
        backend: str,
        wake: Callable[[int], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._board = board
        self._row = row
        self._places = places
        self._name = queue_place(backend)
        self._wake = wake
        self._clock = clock
        self._blocking = (-1, 0)  # row and ticket of the first waiter at the last call
        self._since = self._asked = 0.0

    def ticket(self, priority: int) -> int:
        """See Turn."""
        level = min(max(priority, _LOWEST), _HIGHEST) - _LOWEST
        return (level << _TIME_BITS) + int(self._clock() * 1e6) + 1

    def publish(self, ticket: int) -> None:
        """See Turn."""
        place = self._places.get(self._name)
        if place is not None:
            self._board.put(self._row, place, ticket)

    def is_first(self, ticket: int) -> bool:
        """See Turn."""
        first, row = self._first(self._row, ticket)
        if row == self._row:
            return True
        now = self._clock()
        if self._blocking != (row, first) or now - self._asked > _TICK:
            self._blocking, self._since = (row, first), now
        self._asked = now
        return now - self._since > PASSED_OVER

    def others_wait(self) -> bool:
        """See Turn."""
        place = self._places.get(self._name)
        return place is not None and self._board.others(self._row, place) > 0

    def wake_first(self) -> None:
        """See Turn."""
        place = self._places.get(self._name)
        own = self._board.get(self._row, place) if place is not None else 0
        _, row = self._first(self._row, own)
        if row != self._row:
            self._wake(row)

    def _first(self, row: int, ticket: int) -> tuple[int, int]:
        """Return the lowest ticket and its row. ``ticket`` (0: none) is that of ``row``."""
        place = self._places.get(self._name)
        first = (ticket, row)
        if place is not None:
            for other in range(self._board.rows):
                found = self._board.get(other, place) if other != row else 0
                if found and (not first[0] or (found, other) < first):
                    first = (found, other)
        return first


class BoardShared:
    """The state shared by the workers; see :class:`lbproxy.sharing.contracts.Shared`.

    ``servers``: board of servers and queues, whose ``places`` have names. ``keys``: board of keys.
    ``wakers``: an eventfd for each worker. ``cells``: the tables of limits, by their ``extra``.
    ``folder``: see Shared. The boards belong to their creator.
    """

    def __init__(
        self,
        servers: Board,
        keys: Board,
        row: int,
        places: Mapping[str, int],
        secret: bytes,
        wakers: list[int],
        cells: Mapping[int, Cells] | None = None,
        folder: str = "",
    ) -> None:
        self._tables = dict(cells or {})
        self.processes = servers.rows
        self.folder = folder
        self.machine = blake2b(secret, person=b"machine", digest_size=8).hexdigest()
        self._board = servers
        self._row = row
        self._places = places
        self._wakers = wakers
        self._counts = KeyedCounts(keys, row, secret)
        self._turns: dict[str, BoardTurn] = {}
        self._claims = BoardClaims(servers, row, places, self._room)
        self.add = self._counts.add
        self.others = self._counts.others
        self.claim = self._counts.claim
        self.release = self._counts.release

    def cells(self, extra: int) -> Cells:
        """See Shared."""
        return self._tables[extra]

    def claims(self) -> BoardClaims:
        """See Shared."""
        return self._claims

    def peers(self, frontend: str) -> AddressPeers:
        """See Shared."""
        return AddressPeers(self._counts, frontend)

    def turn(self, backend: str) -> BoardTurn:
        """See Shared."""
        turn = self._turns.get(backend)
        if turn is None:
            turn = BoardTurn(self._board, self._row, self._places, backend, self._wake)
            self._turns[backend] = turn
        return turn

    def exchange(self, groups: Iterable[ServerGroup]) -> None:
        """Publish this worker's leases and read the others'."""
        exchange(self._board, self._row, self._places, groups)

    def _room(self, server: ServerState) -> None:
        turn = self._turns.get(server.backend)
        if turn is not None:
            turn.wake_first()

    def _wake(self, row: int) -> None:
        with suppress(BlockingIOError, IndexError):  # it has been woken often enough
            os.eventfd_write(self._wakers[row], 1)


def exchange(
    board: Board, row: int, places: Mapping[str, int], groups: Iterable[ServerGroup]
) -> None:
    """Publish this worker's leases, and pass the others' leases to its groups."""
    for group in groups:
        for server in group.servers.values():
            place = places.get(place_name(server))
            if place is not None:
                board.put(row, place, server.active - server.remote_active)
                others = board.others(row, place)
                if others != server.remote_active:
                    group.set_remote_active(server, others)


def place_name(server: ServerState) -> str:
    """Return the key of a server's place on the board. A server with another address gets another
    key.
    """
    return f"{server.backend}/{server.name}/{server.spec.target}"


def queue_place(backend: str) -> str:
    """Return the key of a queue's place on the board."""
    return f"{backend}//queue"
