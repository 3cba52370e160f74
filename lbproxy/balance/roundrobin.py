"""PURE. ``balance = roundrobin``: servers in turn, by weight, with the turns of each spread evenly.

Equal weights: a rotating queue, O(1). Otherwise *earliest eligible virtual deadline first* (Stoica
and Abdel-Wahab 1995). A server's next turn may start when its share so far is due, and should end
one stride later. Of the turns that may start, the one with the earliest deadline is next. A pick is
O(log n), and no server is ever a whole turn ahead of or behind its exact share; neither a weighted
queue nor deadlines alone guarantee that. Time is an integer in units of the weights' least common
multiple, so the sequence is exactly periodic. A full server is parked when its turn comes, and
returns when one of its leases ends, without compensation for missed turns.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from heapq import heappop, heappush
from math import lcm
from typing import Any

from lbproxy.balance.base import Balancer
from lbproxy.balance.server import ServerState
from lbproxy.errors import Outcome
from lbproxy.interfaces import Env, PickContext

__all__ = ["RoundRobin"]

_FINEST = 1 << 64  # maximum number of virtual time units in a round; beyond it strides are rounded


class _Turn:
    """The position of a server in virtual time."""

    __slots__ = ("parked", "server", "start", "stride", "weight")

    def __init__(self, server: ServerState, round_units: int, start: int) -> None:
        self.server = server
        self.weight = server.weight
        self.stride = round_units // server.weight
        self.start = start
        self.parked = False


_Entry = tuple[int, int, _Turn]  # key, position in configuration order, turn


class RoundRobin(Balancer):
    """Smooth weighted round robin."""

    name = "roundrobin"

    def __init__(self, options: Any, env: Env) -> None:
        super().__init__(options, env)
        self._equal = True
        # equal weights
        self._queue: deque[ServerState] = deque()
        self._parked: set[ServerState] = set()
        # other weights
        self._units = 1
        self._turns: dict[ServerState, tuple[int, _Turn]] = {}
        self._waiting: list[_Entry] = []  # heap by start
        self._ready: list[_Entry] = []  # heap by deadline; these turns may start
        self._work = 0  # sum of weight * start over the turns not parked
        self._total = 0  # sum of their weights; virtual time now is work / total

    def servers_changed(self, servers: Sequence[ServerState]) -> None:
        """Update the servers. Those that remain keep their position in the rotation."""
        weights = {server.weight for server in servers}
        lags = {} if self._equal else self._lags()
        queue = self._queue
        self.servers = servers
        self._equal = len(weights) <= 1
        self._parked = set()
        if self._equal:
            here = set(servers)
            known = [server for server in queue if server in here]
            here.difference_update(known)
            self._queue = deque(known + [server for server in servers if server in here])
            self._set_turns((), {})
        else:
            self._queue = deque()
            self._units = _units(weights)
            self._set_turns(servers, lags)

    def pick(self, context: PickContext, avoid: Collection[ServerState]) -> ServerState | None:
        """See :class:`lbproxy.interfaces.IBalancer`."""
        if not self._equal:
            return self._pick_weighted(avoid)
        queue = self._queue
        passed: list[ServerState] = []
        found: ServerState | None = None
        while queue:
            server = queue.popleft()
            if 0 < server.maxconn <= server.active:
                self._parked.add(server)
            elif avoid and server in avoid:
                passed.append(server)
            else:
                queue.append(server)
                found = server
                break
        if passed:  # avoided servers keep their turn for other requests
            queue.extendleft(reversed(passed))
        return found

    def released(self, server: ServerState, outcome: Outcome, seconds: float) -> None:
        """See :class:`lbproxy.interfaces.IBalancer`."""
        if not server.maxconn or server.active >= server.maxconn:
            return
        if self._equal:
            if server in self._parked:
                self._parked.remove(server)
                self._queue.append(server)
        else:
            place = self._turns.get(server)
            if place is not None and place[1].parked:
                self._unpark(*place)

    def scores(self, context: PickContext) -> list[tuple[ServerState, float, str]]:
        """Return the positions in the queue, or the deadlines in rounds from now.

        Turns that may not start yet come last.
        """
        if self._equal:
            order = {server: i for i, server in enumerate(self._queue)}
            last = len(order)
            return [
                (s, float(order.get(s, last)), f"turn {order[s] + 1}" if s in order else "full")
                for s in self.servers
            ]
        now = self._work / (self._total or 1)
        result = []
        for server, (_, turn) in self._turns.items():
            wait = (turn.start - now) / self._units
            score = (turn.start + turn.stride - now) / self._units + max(0.0, wait) * turn.weight
            note = "full" if server.full else "due" if wait <= 0 else f"due in {wait:.2f} rounds"
            result.append((server, score, f"{note}, weight {turn.weight}"))
        return result

    def _pick_weighted(self, avoid: Collection[ServerState]) -> ServerState | None:
        waiting, ready = self._waiting, self._ready
        passed: list[_Entry] = []
        found: ServerState | None = None
        while True:
            while waiting and waiting[0][0] * self._total <= self._work:
                start, position, turn = heappop(waiting)
                heappush(ready, (start + turn.stride, position, turn))
            if ready:
                entry = heappop(ready)
            elif waiting:  # all turns that may start are avoided: take the next one early
                start, position, turn = heappop(waiting)
                entry = (start + turn.stride, position, turn)
            else:
                break
            turn = entry[2]
            server = turn.server
            if 0 < server.maxconn <= server.active:
                self._park(turn)
            elif avoid and server in avoid:
                passed.append(entry)
            else:
                turn.start = entry[0]
                self._work += turn.weight * turn.stride
                heappush(waiting, entry)  # its deadline is the start of its next turn
                found = server
                break
        for entry in passed:
            heappush(ready, entry)
        return found

    def _park(self, turn: _Turn) -> None:
        turn.parked = True
        self._work -= turn.weight * turn.start
        self._total -= turn.weight

    def _unpark(self, position: int, turn: _Turn) -> None:
        turn.parked = False
        if self._total:
            turn.start = max(turn.start, self._work // self._total)
        self._work += turn.weight * turn.start
        self._total += turn.weight
        heappush(self._waiting, (turn.start, position, turn))

    def _lags(self) -> dict[ServerState, float]:
        """Return how many turns each server is ahead of its share: above -1, below 1."""
        total = self._total or 1
        return {
            server: (turn.start * total - self._work) / total / turn.stride
            for server, (_, turn) in self._turns.items()
            if not turn.parked
        }

    def _set_turns(self, servers: Sequence[ServerState], lags: dict[ServerState, float]) -> None:
        units = self._units
        self._turns = {}
        self._work = self._total = 0
        self._ready = []
        self._waiting = []
        for position, server in enumerate(servers):
            lag = min(1.0, max(-1.0, lags.get(server, 0.0)))
            turn = _Turn(server, units, round(lag * units / server.weight))
            self._turns[server] = (position, turn)
            self._work += turn.weight * turn.start
            self._total += turn.weight
            self._waiting.append((turn.start, position, turn))
        self._waiting.sort(key=lambda entry: entry[:2])


def _units(weights: Collection[int]) -> int:
    """Return the units of virtual time in a round: a multiple of each weight, if that is small
    enough.
    """
    units = 1
    for weight in weights:
        units = lcm(units, weight)
        if units > _FINEST:
            return _FINEST
    return units
