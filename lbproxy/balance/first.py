"""PURE. ``balance = first``: the first server in configuration order that has room.

Use it for databases with one writer and a standby, and to fill few machines before using more. A
heap holds the positions. A full server leaves the heap when it reaches the top, and returns when
one of its leases ends. A pick is O(1), and O(log n) each time a server becomes full.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from heapq import heappop, heappush
from typing import Any

from lbproxy.balance.base import Balancer
from lbproxy.balance.server import ServerState
from lbproxy.errors import Outcome
from lbproxy.interfaces import Env, PickContext

__all__ = ["First"]


class First(Balancer):
    """The first server with room, in the order of the configuration."""

    name = "first"

    def __init__(self, options: Any, env: Env) -> None:
        super().__init__(options, env)
        self._heap: list[int] = []
        self._out: dict[ServerState, int] = {}  # full servers not in the heap: their position

    def servers_changed(self, servers: Sequence[ServerState]) -> None:
        """See :class:`lbproxy.interfaces.IBalancer`."""
        self.servers = servers
        self._heap = list(range(len(servers)))
        self._out = {}

    def pick(self, context: PickContext, avoid: Collection[ServerState]) -> ServerState | None:
        """See :class:`lbproxy.interfaces.IBalancer`."""
        servers, heap = self.servers, self._heap
        passed: list[int] = []
        found: ServerState | None = None
        while heap:
            server = servers[heap[0]]
            if 0 < server.maxconn <= server.active:
                self._out[server] = heappop(heap)
            elif avoid and server in avoid:
                passed.append(heappop(heap))
            else:
                found = server
                break
        for position in passed:
            heappush(heap, position)
        return found

    def released(self, server: ServerState, outcome: Outcome, seconds: float) -> None:
        """See :class:`lbproxy.interfaces.IBalancer`."""
        if self._out and not server.full:
            position = self._out.pop(server, -1)
            if position >= 0:
                heappush(self._heap, position)

    def scores(self, context: PickContext) -> list[tuple[ServerState, float, str]]:
        """Return the positions; full servers come after all others."""
        return [
            (
                s,
                float(i + len(self.servers) if s.full else i),
                f"number {i + 1} in order" + (", full" if s.full else ""),
            )
            for i, s in enumerate(self.servers)
        ]
