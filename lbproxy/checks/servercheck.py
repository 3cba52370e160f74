"""CONTROL. The checks of one server: their schedule, deadline and results."""

from __future__ import annotations

from functools import partial
from typing import Any, Protocol

from attrs import evolve
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from lbproxy.balance.server import ServerState
from lbproxy.checks.turns import CheckTurns
from lbproxy.config.model import CheckSpec
from lbproxy.health.addresses import AddressHealth
from lbproxy.health.state import HealthState, Result, Transition
from lbproxy.net.endpoints import Dialler
from lbproxy.probes.notes import shorten

__all__ = ["NOTE", "CheckOwner", "ServerCheck"]

_log = Logger()

NOTE = 1100
"""Maximum length of a stored note in characters, enough for an agent's line."""

_SOON = 0.1  # delay before the check of a server that comes back from maint


class CheckOwner(Protocol):
    """The interface of :class:`~lbproxy.checks.checker.Checker` to the check of a server."""

    spec: CheckSpec
    dialler: Dialler
    turns: CheckTurns

    def rests(self, server: ServerState) -> bool:
        """Return whether checks of ``server`` pause."""

    async def check_once(self, check: ServerCheck) -> Result:
        """Run the probe on every address of the server. Exceptions of the probe propagate."""

    def judged(self, check: ServerCheck, result: Result, transition: Transition | None) -> None:
        """Process the result of a check."""

    def probe_failed(self, failure: Failure) -> None:
        """Log the traceback of a probe that raised."""


class ServerCheck:
    """The checks of one server. The admin API reads ``state``, ``last`` and ``last_at``."""

    def __init__(self, owner: CheckOwner, server: ServerState, delay: float) -> None:
        spec = owner.spec
        self.server = server
        new = not server.counters.probes_ok and not server.counters.probes_failed
        self.state = HealthState(
            spec.rise, spec.fall, server.healthy, presumed=new and not server.healthy
        )
        self.addresses = AddressHealth(spec.rise, spec.fall)
        self.last: Result | None = None
        self.last_at = -1.0
        self._owner = owner
        self._idle = False  # in maint at the last call of look()
        self._begun = 0.0
        self._running: Deferred[Any] | None = None
        self._next = owner.dialler.wheel.timer(self._start)
        self._deadline = owner.dialler.wheel.timer(self._late)
        self._due = owner.dialler.wheel.now()
        self._arm(delay)

    def stop(self) -> None:
        """Stop checking, and cancel a running check."""
        self._next.clear()
        self._cancel()

    def look(self) -> None:
        """Handle a change by the operator: pause the checks of a server in maint, resume those of
        one that came back.
        """
        maint = self._owner.rests(self.server)
        if maint and not self._idle:
            self._cancel()
            self._pause()
        elif self._idle and not maint:
            self._due = self._owner.dialler.wheel.now()
            self._arm(min(_SOON, self._owner.spec.every))

    def _arm(self, wait: float) -> None:
        """Schedule the next check ``wait`` after the last one was due, not after it started. Timers
        fire a little late, and checks that were spread would otherwise drift together.
        """
        now = self._owner.dialler.wheel.now()
        self._due = max(now, self._due + wait)
        self._next.set(self._due - now)

    def _pause(self) -> None:
        self._idle = True
        self.state.reset()
        self._arm(self._owner.spec.every)

    def _cancel(self) -> None:
        self._deadline.clear()
        running, self._running = self._running, None
        if running is not None:
            running.cancel()
        self._owner.turns.leave(self)

    def go(self) -> None:
        """Start the check that waited for its turn."""
        self._next.set(0.0)

    # -- one check ------------------------------------------------------------------------------

    def _start(self) -> None:
        server, owner = self.server, self._owner
        if owner.rests(server):
            owner.turns.leave(self)
            self._pause()
            return
        self._idle = False
        if not server.addresses:  # its name is not resolved yet
            owner.turns.leave(self)
            self._arm(owner.spec.every)
            return
        if not owner.turns.take(self):
            return
        self._begun = owner.dialler.wheel.now()
        running = ensureDeferred(owner.check_once(self))
        self._running = running
        self._deadline.set(owner.spec.timeout)
        running.addBoth(partial(self._over, running))
        running.addErrback(self._bug)

    def _over(self, running: Deferred[Any], found: Result | Failure) -> None:
        if self._running is not running:
            return  # cancelled, or decided already
        self._running = None
        self._deadline.clear()
        self._owner.turns.leave(self)
        self._judge(self._result(found))

    def _result(self, found: Any) -> Result:
        if isinstance(found, Result):
            note = shorten(found.note, NOTE)  # text from a server may contain terminal escapes
            return found if note == found.note else evolve(found, note=note)
        seconds = self._owner.dialler.wheel.now() - self._begun
        if isinstance(found, Failure):
            self._owner.probe_failed(found)
            note = found.getErrorMessage()[:200] or type(found.value).__name__
        else:
            note = f"the probe gave {type(found).__name__}, not a Result"
        return Result(False, f"check failed: {shorten(note)}", seconds)

    def _late(self) -> None:
        timeout = self._owner.spec.timeout
        self._cancel()
        self._judge(Result(False, f"no answer in {timeout:g} s", timeout))

    def _judge(self, result: Result) -> None:
        owner = self._owner
        spec = owner.spec
        self.last = result
        self.last_at = owner.dialler.wheel.now()
        transition = self.state.result(result)
        # Scheduled before the observers are called, so that their exceptions cannot end the checks.
        wait = self.state.interval(spec.every, spec.fast, spec.down)
        self._arm(wait)
        owner.judged(self, result, transition)

    def _bug(self, failure: Failure) -> None:
        _log.failure("after a check of {server}", failure, server=self.server)
