"""DATA. Limits of bytes with ``delay``, which pause running traffic.

A :class:`ByteGate` represents one key of a limit. It is shut while the bucket of the key is in
debt. A :class:`Throttle` represents one request or session, which passes all gates of its keys.

Guarantee: traffic of a key moves at most ``rate x time + burst`` bytes plus one read, because the
read that empties the bucket shuts the gate for all traffic of the key before the next read. Each
worker process has its own gates: with N workers it may be N reads. A debt that takes longer than
``PATIENCE`` ends the traffic.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from lbproxy.limits.asking import Method
from lbproxy.net.timers import TimerWheel
from lbproxy.proxy.features.limiting.verdict import PATIENCE

if TYPE_CHECKING:
    from lbproxy.proxy.features.limiting.limit import LimitCheck

__all__ = ["ByteGate", "Throttle", "gate_of"]

_LOOK_S: Final = 1.0
"""Interval for checking a shut gate, because other processes charge the same bucket."""


class ByteGate:
    """The gate of a key; see the module. ``members``: the running traffic."""

    def __init__(self, check: LimitCheck, method: Method, wheel: TimerWheel) -> None:
        self.members: dict[Throttle, None] = {}
        self.method = method
        self.shut = False
        self.check = check
        self._now = wheel.now
        self._timer = wheel.timer(self._look)

    def join(self, member: Throttle) -> None:
        """Add traffic that starts."""
        self.members[member] = None
        self.review()

    def leave(self, member: Throttle) -> None:
        """Remove traffic that has ended. The gate is dropped with its last member."""
        self.members.pop(member, None)
        if self.members:
            return
        self.shut = False
        self._timer.close()
        gates = self.check.limit.gates
        if gates.get(self.check.key) is self:
            del gates[self.check.key]

    def charge(self, size: int) -> None:
        """Charge ``size`` relayed bytes."""
        self.check.limit.charge(self.check, float(size), self._now())
        self.review()

    def review(self) -> None:
        """Shut the gate if the bucket is in debt."""
        if not self.shut and self._debt_s() > 0:
            self.shut = True
            self._wait()

    def _debt_s(self) -> float:
        """Return the seconds until the bucket is out of debt."""
        return self.method.ask(self.check.ident, 0.0, self._now())

    def _wait(self) -> None:
        seconds = self._debt_s()
        for member in tuple(self.members):
            member.settle()
            if seconds > PATIENCE:
                member.refuse(self.check)
            else:
                member.touch()
        if self.members:
            self._timer.set(min(seconds, _LOOK_S))

    def _look(self) -> None:
        if self._debt_s() > 0:
            self._wait()
            return
        self.shut = False
        for member in tuple(self.members):
            member.settle()  # the buffered bytes may shut the gate again


def gate_of(check: LimitCheck, wheel: TimerWheel) -> ByteGate | None:
    """Return the gate for the key of ``check``; None if its limit has no rate."""
    method, gates = check.method, check.limit.gates
    if method is None:
        return None
    gate = gates.get(check.key)
    if gate is None or gate.method is not method:  # a reload has changed the rate
        gate = gates[check.key] = ByteGate(check, method, wheel)
    return gate


class Throttle:
    """The throttle of one request or session; see the module.

    ``hold(held)`` pauses and resumes the traffic in both directions. ``touch()`` records that its
    silence is not its own fault. ``charged``: bytes so far. ``uploaded``: those of the request.
    """

    def __init__(
        self,
        checks: list[LimitCheck],
        wheel: TimerWheel,
        delayed: Callable[[list[LimitCheck]], None],
        refuse: Callable[[LimitCheck], None],
    ) -> None:
        self.charged = 0
        self.uploaded = 0
        self.refuse = refuse
        self.touch: Callable[[], None] = _nothing
        self._checks = checks
        self._wheel = wheel
        self._delayed: Callable[[list[LimitCheck]], None] | None = delayed
        self._holds: list[Callable[[bool], None]] = []
        self._gates: list[ByteGate] = []
        self._held = False
        self._over = False

    def add(self, hold: Callable[[bool], None]) -> None:
        """Use ``hold`` to pause and resume from now on. The first call joins the gates."""
        if self._over:
            return
        self._holds.append(hold)
        if self._held:
            hold(True)
        self._begin()
        self.settle()

    def remove(self, hold: Callable[[bool], None]) -> None:
        """Do not call ``hold`` again, because its direction is complete."""
        if hold in self._holds:
            self._holds.remove(hold)

    def passed(self, size: int) -> None:
        """Charge ``size`` bytes that were read and passed on."""
        if self._over:
            return
        self._begin()
        self.charged += size
        for gate in self._gates:
            gate.charge(size)

    def _begin(self) -> None:
        """Join the gates, once."""
        if self._gates:
            return
        found = (gate_of(one, self._wheel) for one in self._checks)
        self._gates = [gate for gate in found if gate is not None]
        for gate in self._gates:
            gate.join(self)

    def settle(self) -> None:
        """Pause if a gate is shut, else resume."""
        held = any(gate.shut for gate in self._gates)
        if held is self._held or self._over:
            return
        self._held = held
        if held and self._delayed is not None and self._holds:
            self._delayed([gate.check for gate in self._gates if gate.shut])
            self._delayed = None
        for hold in tuple(self._holds):
            if self._held is held:
                hold(held)

    def close(self) -> None:
        """Leave all gates, because the traffic has ended. Nothing is resumed."""
        self._over = True
        self._holds.clear()
        self.touch = _nothing
        for gate in self._gates:
            gate.leave(self)


def _nothing() -> None:
    """Do nothing. The touch of traffic without a deadline."""
