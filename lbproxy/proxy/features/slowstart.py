"""DATA. Slow start in traffic: a server that comes up gets its full weight gradually.

:mod:`lbproxy.balance.ramp` has the arithmetic. The timer runs only while a server is in slow start.
A reload that changes ``slow_start`` gives such servers their full weight at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lbproxy.balance.ramp import Ramp
from lbproxy.balance.server import ServerState, State
from lbproxy.proxy.feature import Feature, Given

if TYPE_CHECKING:
    from lbproxy.proxy.backend import Backend

__all__ = ["SlowStart"]

_COLD = (State.DOWN, State.MAINT)  # a drained server was in use before


class SlowStart(Feature["Backend"]):
    """Slow start; see the module. Servers that exist when it is attached have their full weight
    already.
    """

    name = "slow_start"
    keys = ("slow_start",)

    def __init__(self, seconds: float) -> None:
        self.ramp: Ramp[ServerState] = Ramp(seconds)

    @classmethod
    def prepare(cls, spec: Any, old: SlowStart | None, given: Given) -> SlowStart | None:
        """See :class:`Feature`."""
        seconds: float = spec.slow_start
        if old is not None and old.ramp.seconds == seconds:
            return old
        return cls(seconds) if seconds else None

    def attach(self, owner: Backend) -> None:
        """See :class:`Feature`."""
        self._group = owner.group
        self._now = owner.wheel.now
        self._timer = owner.wheel.timer(self._step)

    def detach(self) -> None:
        """Give every server its full weight."""
        self._group.set_shares(dict.fromkeys(self._group.servers.values(), 1.0))

    def close(self) -> None:
        """Stop the timer. Shares stay as they are."""
        self._timer.close()

    def state_changed(self, server: ServerState, old: State, new: State) -> None:
        """Start for a server that comes up, stop for one that goes down."""
        if new is State.UP:
            if old in _COLD:
                self._begin(server)
        elif new in _COLD:
            self.server_removed(server)

    def server_added(self, server: ServerState) -> None:
        """Start for a server that is added while it is up."""
        if server.state is State.UP:
            self._begin(server)

    def server_removed(self, server: ServerState) -> None:
        """Forget a server, so that it starts afresh when it returns."""
        if self.ramp.end(server):
            self._group.set_shares({server: 1.0})  # no weight is scaled any more

    def _begin(self, server: ServerState) -> None:
        self.ramp.begin(server, self._now())
        self._step()

    def _step(self) -> None:
        self._group.set_shares(self.ramp.shares(self._now()))
        if len(self.ramp):
            self._timer.set(self.ramp.step)
