"""DATA. The line of connections whose pipelined requests wait for the next turn of the reactor.

lbproxy answers some requests itself, without waiting for a server: replies of routes and filters,
refusals, cache hits.  A client can pipeline thousands of them in one packet.  The work on them in
one turn is therefore bounded for all connections of a frontend together: connections with more
requests wait in this line, and each begins one request before the first begins its next.  A client
that does not pipeline never waits in it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from lbproxy.net.timers import TimerWheel

__all__ = ["REQUESTS_PER_TURN", "PipelineLine"]

REQUESTS_PER_TURN: Final = 8
"""Requests that the connections in line begin in one turn, all together; also those that one
connection begins at once while the line is empty."""


class PipelineLine:
    """See the module.  ``busy``: a turn is due, or runs.  A connection outside the line may then
    begin one request at once, else :data:`REQUESTS_PER_TURN`.
    """

    def __init__(self, wheel: TimerWheel) -> None:
        self._wheel = wheel
        self._waiting: deque[Callable[[], None]] = deque()
        self.busy = False

    def __len__(self) -> int:
        return len(self._waiting)

    def join(self, begin: Callable[[], None]) -> None:
        """Call ``begin()`` for one request, behind all others in line.

        A connection joins again if more requests wait.
        """
        self._waiting.append(begin)
        if not self.busy:
            self.busy = True
            self._wheel.clock.callLater(0, self._turn)

    def _turn(self) -> None:
        waiting = self._waiting
        left = REQUESTS_PER_TURN
        try:
            while waiting and left > 0:
                left -= 1
                waiting.popleft()()
        finally:
            self.busy = bool(waiting)
            if waiting:
                self._wheel.clock.callLater(0, self._turn)
