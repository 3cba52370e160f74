"""DATA. Slow start at work: a server that comes up gets its full weight little by little.

The arithmetic is :mod:`lbproxy.balance.ramp`.  The timer runs only while a server warms up.  A
reload that changes ``slow_start`` gives servers that warm up their full weight at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lbproxy.balance.ramp import Ramp
from lbproxy.balance.server import ServerState, State
from lbproxy.proxy.feature import Feature, Given

if TYPE_CHECKING:
    from lbproxy.proxy.backend import Backend

__all__ = ["SlowStart"]

_COLD = (State.DOWN, State.MAINT)  # a drained server has been at work


class SlowStart(Feature["Backend"]):
    """See the module.  Servers that exist when it is attached have their full weight already."""

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
        """Stop the timer; shares stay as they are."""
        self._timer.close()

    def state_changed(self, server: ServerState, old: State, new: State) -> None:
        """Begin with a server that comes up, forget one that goes down."""
        if new is State.UP:
            if old in _COLD:
                self._begin(server)
        elif new in _COLD:
            self.server_removed(server)

    def server_added(self, server: ServerState) -> None:
        """Begin with a server that is added while it is up."""
        if server.state is State.UP:
            self._begin(server)

    def server_removed(self, server: ServerState) -> None:
        """Forget a server, so that it starts afresh when it returns."""
        if self.ramp.end(server):
            self._group.set_shares({server: 1.0})  # nobody's weight is scaled for its sake

    def _begin(self, server: ServerState) -> None:
        self.ramp.begin(server, self._now())
        self._step()

    def _step(self) -> None:
        self._group.set_shares(self.ramp.shares(self._now()))
        if len(self.ramp):
            self._timer.set(self.ramp.step)
