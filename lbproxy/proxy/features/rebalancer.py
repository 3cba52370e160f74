"""DATA. Rebalancing in traffic: when servers are added or weights change, long-lived sessions move,
a few at a time.

:mod:`lbproxy.balance.rebalance` computes how many sessions move, :mod:`lbproxy.sessionclose` when
and how one may be ended. The rules:

1. Only sessions of this process count: TCP sessions, or tunnels of an HTTP backend.
2. A run starts ``after`` seconds after a change, with a plan for each server that has too many
   sessions. It moves at most ``rate`` sessions a second, and never more than the plan or the
   present excess.
3. A session is ended only at a safe point of its protocol, after a silence of ``idle``, and if its
   sticky bond to the server, if any, can be broken. The others are checked again later, for at
   most :data:`PATIENCE` seconds without a move.
4. Some clients may have returned to the same server. If the run has at least halved the excess,
   another one follows. Otherwise moving does not help, and nothing is moved until the next change.

The timer runs only during a run.
"""

from __future__ import annotations

import os
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Any

from attrs import define, frozen

from lbproxy.balance.rebalance import Load, plan
from lbproxy.balance.server import ServerState
from lbproxy.config.model import RebalanceSpec
from lbproxy.proxy.adminpart import AdminPart, Many, Operation
from lbproxy.proxy.feature import Feature, Given, counted
from lbproxy.proxy.features.watchedsession import WatchedSession
from lbproxy.sessionclose.table import SESSION_CLOSES

if TYPE_CHECKING:
    from lbproxy.proxy.backend import Backend

__all__ = ["PATIENCE", "Rebalance", "Rebalancer", "WatchedSession"]

PATIENCE = 600.0
"""Seconds that a run waits for a safe point of any session; three times the pause of its rate, if
that is longer.
"""

_STEP = 0.1  # average seconds between two checks, unless the rate requires longer pauses
_LOOKS = 500  # sessions checked in one step


@frozen
class Rebalance:
    """The planned moves. ``moves``: number of sessions to move from each server with too many;
    empty if the backend is balanced.
    """

    backend: str
    moves: dict[str, int]


@define(eq=False)
class RebalanceCounters:
    """Totals of a backend."""

    rebalanced: int = counted("Sessions ended so that their clients reconnect to another server.")


class Rebalancer(Feature["Backend"]):
    """Rebalances a backend; see the module."""

    name = "rebalance"
    keys = ("rebalance",)
    Counters = RebalanceCounters
    counters: RebalanceCounters

    def __init__(self, spec: RebalanceSpec) -> None:
        self.spec: RebalanceSpec | None = spec
        self.remote_sessions: dict[str, int] | None = None
        """Sessions by server, if other processes have them. This process then plans, and those
        processes move them.
        """
        self._running = False
        self._left: dict[ServerState, int] = {}  # of the plan
        self._excess = self._total = 0  # excess sessions, and all sessions, when the run started
        self._queues: dict[ServerState, deque[Any]] = {}  # sessions not checked recently
        self._credit = 0.0  # moves that the rate allows now
        self._looked = self._moved = 0.0  # time of that count
        self._waiting = False  # timer for ``after``
        self._again = False  # to check whether the last run has helped

    @classmethod
    def prepare(cls, spec: Any, old: Rebalancer | None, given: Given) -> Rebalancer | None:
        """See :class:`Feature`.  A run goes on under changed rules; running sessions are watched as
        they were.
        """
        if spec.rebalance is None:
            return None
        return old if old is not None else cls(spec.rebalance)

    def attach(self, owner: Backend) -> None:
        """See :class:`Feature`."""
        self._backend = owner
        self._now = owner.wheel.now
        self._timer = owner.wheel.timer(self._step)
        owner.rebalancer = self

    def refit(self, owner: Backend) -> None:
        """See :class:`Feature`."""
        self.spec = owner.spec.rebalance

    def detach(self) -> None:
        """Watch no more sessions."""
        self._backend.rebalancer = None

    def retire(self) -> None:
        """Stop moving sessions."""
        self.spec = None
        self._end()
        self._timer.close()

    close = retire

    def watch(self, upgrade: bytes | None = None) -> WatchedSession | None:
        """Return the watch of a new session. ``upgrade``: of a tunnel; None for TCP."""
        spec = self.spec
        if spec is None:
            return None
        if spec.protocol == "websocket" and (upgrade or b"").lower() != b"websocket":
            return None
        return WatchedSession(SESSION_CLOSES[spec.protocol](), self._now)

    def plan(self, tolerance: float | None = None) -> dict[ServerState, int]:
        """Return the excess sessions of each server.

        O(servers), in HTTP also O(running requests).
        """
        spec = self.spec
        if spec is None:
            return {}
        loads = [
            Load(server, self.count(server), server.weight, server.listed)
            for server in self._backend.group.servers.values()
        ]
        return plan(loads, spec.tolerance if tolerance is None else tolerance)

    def run(self) -> Rebalance:
        """Start a run now, if the backend is not balanced; return the planned moves."""
        moves = self.plan()
        if moves and not self._running and self.remote_sessions is None:
            self._begin(moves)
        return Rebalance(
            self._backend.name, {server.name: count for server, count in moves.items()}
        )

    def count(self, server: ServerState) -> int:
        """Return the number of long-lived sessions of ``server``."""
        if self.remote_sessions is not None:
            return self.remote_sessions.get(server.name, 0)
        sessions = server.sessions
        if self._backend.mode == "tcp":
            return len(sessions)
        return sum(bool(session.traffic.tunnelled) for session in sessions)

    def _sessions(self) -> int:
        return sum(self.count(server) for server in self._backend.group.listed)

    def servers_changed(self) -> None:
        """Wait for ``after``, then check whether sessions should move."""
        spec = self.spec
        if spec is None or self.remote_sessions is not None:
            return
        if self._running:
            self._left = self.plan()
            self._excess, self._total = sum(self._left.values()), self._sessions()
        elif not self._waiting or self._again:
            self._waiting, self._again = True, False
            self._timer.set(spec.after * self._jitter())

    def _jitter(self) -> float:
        """Return a factor around 1, so that several lbproxy instances do not act in step."""
        return 0.75 + 0.5 * self._backend.random()

    def _begin(self, moves: dict[ServerState, int]) -> None:
        self._running, self._waiting, self._again = True, False, False
        self._left, self._excess, self._total = moves, sum(moves.values()), self._sessions()
        self._queues.clear()
        self._credit = 0.0
        self._looked = self._moved = self._now()
        self._pause()

    def _end(self) -> None:
        self._running = self._waiting = self._again = False
        self._left = {}
        self._queues.clear()
        self._timer.clear()

    def _pause(self) -> None:
        assert self.spec is not None
        self._timer.set(max(_STEP, 1 / self.spec.rate) * self._jitter())

    def _step(self) -> None:
        spec = self.spec
        if spec is None:
            return
        if not self._running:
            again, self._waiting, self._again = self._again, False, False
            moves = self.plan()
            if moves and (not again or self._helped(moves)):
                self._begin(moves)
            return
        now = self._now()
        self._credit = min(
            self._credit + (now - self._looked) * spec.rate, max(1.0, 2 * _STEP * spec.rate)
        )
        self._looked = now
        surplus = self.plan(0.0)  # a run that has started is completed
        looks = _LOOKS
        movable = 0
        for server, left in list(self._left.items()):
            count = min(left, surplus.get(server, 0))
            if count <= 0:
                continue
            movable += self._watched(server)
            while count and looks and self._credit >= 1:
                session, looked = self._polite(server, looks)
                looks -= looked
                if session is None:
                    break
                if not self._unbound(server, session):
                    continue
                count -= 1
                self._left[server] -= 1
                self._credit -= 1
                self._moved = now
                self._part(session)
        if not movable or now - self._moved > max(PATIENCE, 3 / spec.rate):
            self._over()
        else:
            self._pause()

    def _over(self) -> None:
        """End a run whose plan is done, or cannot be done."""
        tried = not any(self._left.values())
        self._end()
        if tried and self.spec is not None and self.plan():
            self._waiting = self._again = True
            self._timer.set(self.spec.after + _STEP)

    def _helped(self, moves: dict[ServerState, int]) -> bool:
        """Return whether most moved clients are back, and the excess is at most half of what it
        was.
        """
        missing = self._total - self._sessions()
        return missing * 2 <= self._excess and sum(moves.values()) * 2 <= self._excess

    @staticmethod
    def _watched(server: ServerState) -> bool:
        return any(_watched_of(session) is not None for session in server.sessions)

    # -- workers -------------------------------------------------------------------------------

    def gauges(self) -> dict[str, Any]:
        """See :class:`Feature`: long-lived sessions by server."""
        return {server.name: self.count(server) for server in self._backend.group.servers.values()}

    def show_gauges(self, total: dict[str, Any]) -> None:
        """See :class:`Feature`."""
        self.remote_sessions = total

    # -- one session ----------------------------------------------------------------------------

    def _polite(self, server: ServerState, most: int) -> tuple[Any, int]:
        """Return a session that may be ended now, or None, and the number of checked sessions, at
        most ``most``.
        """
        spec, queue = self.spec, self._queues.get(server)
        assert spec is not None
        if not queue:
            there = [one for one in server.sessions if _watched_of(one) is not None]
            queue = self._queues[server] = deque(
                sorted(there, key=lambda one: self._backend.random())
            )
        before = self._now() - spec.idle
        looked = 0
        for _ in islice(range(len(queue)), most):
            session = queue.popleft()
            looked += 1
            if session.over or session not in server.sessions:
                continue
            watched = session.traffic.watched
            if watched.moved <= before and watched.session_close.polite:
                return session, looked
        return None, max(looked, 1)

    def _unbound(self, server: ServerState, session: Any) -> bool:
        """Return whether the client may go elsewhere: a bond to ``server`` is broken now, one to
        another server stays.
        """
        sticky = self._backend.sticky
        if sticky is None:
            return True
        try:
            traffic = session.traffic
            if sticky.belongs(traffic) != server.name:
                return True
            sticky.forget(traffic)
            return sticky.belongs(traffic) != server.name
        except BaseException as error:
            self._backend.group.failed(error)
            return False

    def _part(self, session: Any) -> None:
        watched = session.traffic.watched
        to_client, to_server = watched.session_close.words(os.urandom(4))
        watched.parted = True
        self.counters.rebalanced += 1
        session.part(to_client, to_server)


def _watched_of(session: Any) -> WatchedSession | None:
    watched: WatchedSession | None = session.traffic.watched
    return watched


def _rebalance(rebalancer: Rebalancer) -> dict[str, Any]:
    begun = rebalancer.run()
    return {
        "backend": begun.backend,
        "sessions": sum(begun.moves.values()),
        "moves": begun.moves,
    }


Rebalancer.part = AdminPart(
    "rebalancing",
    operations=(
        Operation(
            "POST",
            "rebalance",
            "Start to move long-lived sessions to servers with room",
            _rebalance,
            {"backend": "string", "sessions": "count", "moves": Many("count")},
            everywhere=True,
        ),
    ),
)
