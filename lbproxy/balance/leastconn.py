"""PURE. ``balance = leastconn``: the server with the fewest active leases per unit of weight.

The right choice for sessions of unequal length: databases, WebSocket, uploads. Servers with equal
load take turns, in proportion to their weights.

A few servers of equal weight are scanned, starting after the server picked last, because nothing is
faster. Otherwise a heap holds (load, turn). Taking or releasing a lease adds an entry and leaves
the old one as stale. Stale entries are dropped when they reach the top, or all at once when they
are half of the heap; O(log n) amortised. A full server is dropped at the top and returns with its
next release.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from heapq import heapify, heappop, heappush, heapreplace
from typing import Any

from lbproxy.balance.base import Balancer
from lbproxy.balance.server import ServerState
from lbproxy.errors import Outcome
from lbproxy.interfaces import Env, PickContext

__all__ = ["LeastConn"]

FEW = 16  # measured: scanning this many servers costs three quarters of a heap operation

# load, turn, position, server; never unpacked, because the tuple's identity matters
_Entry = tuple[Any, ...]


class LeastConn(Balancer):
    """Weighted least connections."""

    # server.private: index of the next rotation (few servers), or the only valid heap entry
    name = "leastconn"

    def __init__(self, options: Any, env: Env) -> None:
        super().__init__(options, env)
        # rotations of the few servers, one for each starting point
        self._rotations: list[tuple[ServerState, ...]] = []
        self._next = 0
        self._heap: list[_Entry] | None = None  # None: few servers, no heap
        self._clock = 0.0  # the turn served last
        self._limit = 0  # heap length at which stale entries are removed

    def servers_changed(self, servers: Sequence[ServerState]) -> None:
        """Update the servers. Those that remain keep their turn as far as possible."""
        turns = {s: s.private[1] for s in self.servers if isinstance(s.private, tuple)}
        for server in self.servers:
            server.private = None
        self.servers = servers
        if len(servers) <= FEW and len({server.weight for server in servers}) <= 1:
            self._heap = None
            self._rotations = [(*servers[i:], *servers[:i]) for i in range(len(servers))] or [()]
            for position, server in enumerate(servers):
                server.private = (position + 1) % len(servers)
            self._next %= len(self._rotations)
            return
        for position, s in enumerate(servers):
            turn = turns.get(s, self._clock)
            s.private = (s.active / s.weight, turn, position, s)
        self._limit = 2 * len(servers) + 64
        self._heap = []
        self._compact(self._heap)

    def pick(self, context: PickContext, avoid: Collection[ServerState]) -> ServerState | None:
        """See :class:`lbproxy.interfaces.IBalancer`."""
        if self._heap is not None:
            return self._pick_many(self._heap, avoid)
        best: ServerState | None = None
        least = -1
        for server in self._rotations[self._next]:
            active = server.active
            if (
                (active < least or least < 0)
                and not 0 < server.maxconn <= active
                and (not avoid or server not in avoid)
            ):
                best = server
                least = active
        if best is not None:
            self._next = best.private
        return best

    def taken(self, server: ServerState) -> None:
        """See :class:`lbproxy.interfaces.IBalancer`."""
        heap = self._heap
        if heap is None:
            return
        old: _Entry | None = server.private
        if old is None:
            return
        turn = old[1]
        if turn < self._clock:
            turn = self._clock  # no compensation for turns missed while it was busy
        else:
            self._clock = turn
        weight = server.weight
        entry: _Entry = (server.active / weight, turn + 1.0 / weight, old[2], server)
        server.private = entry
        if heap and heap[0] is old:
            heapreplace(heap, entry)
        else:
            self._push(heap, entry)

    def released(self, server: ServerState, outcome: Outcome, seconds: float) -> None:
        """See :class:`lbproxy.interfaces.IBalancer`."""
        heap = self._heap
        if heap is None:
            return
        old: _Entry | None = server.private
        if old is None:
            return
        entry: _Entry = (server.active / server.weight, old[1], old[2], server)
        server.private = entry
        self._push(heap, entry)

    def scores(self, context: PickContext) -> list[tuple[ServerState, float, str]]:
        """Return the active leases per unit of weight."""
        return [
            (
                s,
                s.active / s.weight,
                f"{s.active} active, weight {s.weight}" + (", full" if s.full else ""),
            )
            for s in self.servers
        ]

    def _pick_many(self, heap: list[_Entry], avoid: Collection[ServerState]) -> ServerState | None:
        passed: list[_Entry] = []
        found: ServerState | None = None
        while heap:
            entry = heap[0]
            server = entry[3]
            if server.private is not entry or 0 < server.maxconn <= server.active:
                heappop(heap)
            elif avoid and server in avoid:
                passed.append(heappop(heap))
            else:
                found = server
                break
        for entry in passed:
            heappush(heap, entry)
        return found

    def _push(self, heap: list[_Entry], entry: _Entry) -> None:
        if len(heap) >= self._limit:
            self._compact(heap)
        else:
            heappush(heap, entry)

    def _compact(self, heap: list[_Entry]) -> None:
        """Keep only the valid entries, including the one just added."""
        heap[:] = [server.private for server in self.servers]
        heapify(heap)
