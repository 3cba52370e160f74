"""DATA. Slow start at work: a server that comes up gets its full weight little by little.

One per backend with ``slow_start``, owned by :class:`lbproxy.proxy.backend.Backend`; the arithmetic is
:mod:`lbproxy.balance.ramp`.  Its timer runs only while a server warms up.
"""

from __future__ import annotations

from lbproxy.balance.group import ServerGroup
from lbproxy.balance.ramp import Ramp
from lbproxy.balance.server import ServerState, State
from lbproxy.net.timers import TimerWheel

__all__ = ["SlowStart"]

_COLD = (State.DOWN, State.MAINT)  # a drained server has been at work


class SlowStart:
    """See the module.  Make it when the servers that are there from the beginning are in the group."""

    def __init__(self, group: ServerGroup, seconds: float, wheel: TimerWheel) -> None:
        self.ramp: Ramp[ServerState] = Ramp(seconds)
        self._group = group
        self._now = wheel.now
        self._timer = wheel.timer(self._step)
        group.on_state(self._moved)

    def change(self, seconds: float) -> None:
        """Take so long from now on, 0 for no slow start; who warms up now has its full weight at once."""
        for server in self._group.servers.values():
            self.ramp.end(server)
        self._timer.clear()
        self._group.set_shares(dict.fromkeys(self._group.servers.values(), 1.0))
        self.ramp = Ramp(seconds)

    def _moved(self, server: ServerState, old: State, new: State) -> None:
        if new is State.UP:
            if old in _COLD:
                self.begin(server)
        elif new in _COLD:
            self.forget(server)

    def begin(self, server: ServerState) -> None:
        """``server`` has come up, or was added."""
        if not self.ramp.seconds:
            return
        self.ramp.begin(server, self._now())
        self._step()

    def forget(self, server: ServerState) -> None:
        """It is down or gone: next time it begins anew."""
        if self.ramp.end(server):
            self._group.set_shares({server: 1.0})  # nobody's weight is scaled for its sake

    def _step(self) -> None:
        self._group.set_shares(self.ramp.shares(self._now()))
        if len(self.ramp):
            self._timer.set(self.ramp.step)

    def stop(self) -> None:
        """No more steps."""
        self._timer.close()
