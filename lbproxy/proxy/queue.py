"""DATA. The queue of a backend whose servers are all at their ``maxconn``.

1. Lower ``priority`` first; within one, first in, first out.
2. Every place has a deadline.
3. At most ``limit`` places. If all are taken, a newcomer replaces the last waiter of the highest
   priority number if its own is lower; otherwise it is refused.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from typing import Protocol

from lbproxy.balance.lease import Lease
from lbproxy.balance.server import ServerState
from lbproxy.errors import Kind, ProxyError
from lbproxy.interfaces import PickContext
from lbproxy.net.timers import Timer, TimerWheel
from lbproxy.sharing.contracts import Turn

__all__ = ["Queue", "Waiter"]


class Waiter(Protocol):
    """A waiting attempt of an HTTP exchange, or a waiting TCP session.

    ``tried``: servers to avoid. ``priority``: its order in the queue. ``patience``: maximum seconds
    in the queue; 0 for the queue's timeout.
    """

    tried: Sequence[ServerState]

    @property
    def traffic(self) -> PickContext:
        """The input of balancers."""

    @property
    def priority(self) -> int:
        """The order in the queue; lower numbers first."""

    @property
    def patience(self) -> float:
        """See the class."""

    def leased(self, lease: Lease) -> None:
        """Receive a lease."""

    def refused(self, error: ProxyError) -> None:
        """Handle the refusal by the queue."""


class Queue:
    """A queue; see the module. ``limit`` and ``timeout`` may be changed; present waiters keep their
    deadlines.

    ``turn``: the order across all processes that serve this backend, None for a single one.
    ``len()`` counts the waiters of this process; :attr:`waiting` also those of a master's workers
    (``remote``).
    """

    def __init__(self, wheel: TimerWheel, limit: int, timeout: float) -> None:
        self._wheel = wheel
        self.limit = limit
        self.timeout = timeout
        self.remote = 0
        self.turn: Turn | None = None
        self._places: dict[Waiter, tuple[Timer, int, int]] = {}
        self._classes: dict[int, OrderedDict[Waiter, None]] = {}  # none of them empty

    def __len__(self) -> int:
        return len(self._places)

    @property
    def waiting(self) -> int:
        """Number of waiters in this process and, in a master, in its workers."""
        return len(self._places) + self.remote

    def join(self, waiter: Waiter) -> None:
        """Join the queue. Raises :class:`ProxyError` QUEUE_FULL if all places are taken."""
        priority = waiter.priority
        loser: Waiter | None = None
        if len(self._places) >= self.limit:
            last = max(self._classes, default=priority)
            if last <= priority:
                raise ProxyError(Kind.QUEUE_FULL, f"{len(self._places)} waiting")
            loser = next(reversed(self._classes[last]))
            self.leave(loser)
        seconds = waiter.patience or self.timeout
        timer = self._wheel.timer(partial(self._expired, waiter, seconds))
        timer.set(seconds)
        ticket = self.turn.ticket(priority) if self.turn is not None else 0
        self._places[waiter] = (timer, priority, ticket)
        self._classes.setdefault(priority, OrderedDict())[waiter] = None
        self.publish()
        if loser is not None:  # last, because it may join again at once
            loser.refused(
                ProxyError(Kind.QUEUE_FULL, f"replaced by traffic of priority {priority}")
            )

    def leave(self, waiter: Waiter) -> bool:
        """Remove a waiter. Return False if it is not waiting."""
        place = self._places.pop(waiter, None)
        if place is None:
            return False
        timer, priority, _ = place
        timer.close()
        waiting = self._classes[priority]
        del waiting[waiter]
        if not waiting:
            del self._classes[priority]
        self.publish()
        return True

    def first(self) -> Waiter | None:
        """Return the next waiter; None if this process has none."""
        return next(iter(self._classes[min(self._classes)])) if self._places else None

    @property
    def has_turn(self) -> bool:
        """Return whether the first waiter of this process precedes those of all other processes."""
        turn, waiter = self.turn, self.first()
        return turn is None or waiter is None or turn.is_first(self._places[waiter][2])

    @property
    def others_wait(self) -> bool:
        """Return whether another process has a waiter, so that new traffic must wait too."""
        return self.turn is not None and self.turn.others_wait()

    def publish(self) -> None:
        """Publish the first waiter to the other processes, if it has changed."""
        if self.turn is not None:
            waiter = self.first()
            self.turn.publish(0 if waiter is None else self._places[waiter][2])

    def refuse_all(self, error: ProxyError) -> None:
        """Refuse all waiters."""
        while (waiter := self.first()) is not None:
            self.leave(waiter)
            waiter.refused(error)

    def _expired(self, waiter: Waiter, seconds: float) -> None:
        if self.leave(waiter):
            waiter.refused(ProxyError(Kind.QUEUE_TIMEOUT, f"no server free for {seconds:g} s"))
