"""DATA. The virtual clock of the in-memory reactor, and the order of its work."""

# mypy: disable-error-code=no-untyped-call

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.task import Clock
from twisted.logger import Logger
from twisted.python.failure import Failure

from lbproxy.testing.memoryport import InlinePool

__all__ = ["Livelock", "MemoryClock"]

_log = Logger()

TURNS = 200_000
"""Number of steps at one instant above which the work is considered an endless loop."""


class Livelock(AssertionError):
    """The reactor's work at one instant does not end."""


class MemoryClock(Clock):
    """A clock that only :meth:`advance` moves, with the turns of a reactor.

    - ``errors``: exceptions raised by protocols. As on a real reactor they end the connection, and
      :meth:`pump` raises the first of them unless ``raise_errors`` is False.
    - ``running``: true until :meth:`stop`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.raise_errors = True
        self.errors: list[Failure] = []
        self.running = True
        self._ready: deque[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]] = deque()
        self._triggers: list[tuple[str, str, Callable[[], Any]]] = []

    # -- running

    def soon(self, work: Callable[..., Any], *args: Any, **kw: Any) -> None:
        """Run ``work`` in the next :meth:`pump`, after the work that is already waiting."""
        self._ready.append((work, args, kw))

    def pump(self, timings: Iterable[float] = ()) -> None:
        """Run until no work is left at this instant, then advance by each of ``timings``.

        Raises :class:`Livelock` if the work does not end, and the first exception raised by a
        protocol.
        """
        self._settle()
        for amount in timings:
            self.advance(amount)

    def advance(self, amount: float) -> None:
        """Advance the clock by ``amount`` seconds, and stop at every delayed call on the way."""
        target = self.rightNow + amount
        self._settle()
        while self.calls and self.calls[0].getTime() <= target:
            self.rightNow = max(self.rightNow, self.calls[0].getTime())
            self._settle()
        self.rightNow = target
        self._settle()

    def advance_until(self, done: Callable[[], Any], within: float) -> bool:
        """Advance from one delayed call to the next until ``done()``; return False after ``within``
        seconds.
        """
        limit = self.rightNow + within
        self._settle()
        while not done():
            self._sortCalls()
            if not self.calls or self.calls[0].getTime() > limit:
                self.advance(max(0.0, limit - self.rightNow))
                return bool(done())
            self.advance(max(0.0, self.calls[0].getTime() - self.rightNow))
        return True

    def failed(self, failure: Failure) -> None:
        """Record an exception raised by a protocol."""
        _log.failure("in a protocol on the memory reactor", failure)
        self.errors.append(failure)

    def _settle(self) -> None:
        for _ in range(TURNS):
            if self._ready:
                work, args, kw = self._ready.popleft()
                work(*args, **kw)
            elif not self._run_due():
                break
        else:
            raise Livelock(f"no end after {TURNS} steps at {self.rightNow} s")
        if self.errors and self.raise_errors:
            errors, self.errors = self.errors, []
            errors[0].raiseException()

    def _run_due(self) -> bool:
        self._sortCalls()
        if not self.calls or self.calls[0].getTime() > self.rightNow:
            return False
        call = self.calls.pop(0)
        call.called = 1
        call.func(*call.args, **call.kw)
        return True

    # -- threads and triggers

    def callFromThread(self, callable: Callable[..., Any], *args: Any, **kw: Any) -> None:
        """Call ``callable`` in the next :meth:`pump`."""
        self.soon(callable, *args, **kw)

    def callInThread(self, callable: Callable[..., Any], *args: Any, **kw: Any) -> None:
        """Call ``callable`` now, because this reactor has no threads."""
        callable(*args, **kw)

    def getThreadPool(self) -> Any:
        """Return a pool that runs work in the caller's thread."""
        return InlinePool()

    def callWhenRunning(self, callable: Callable[..., Any], *args: Any, **kw: Any) -> None:
        """Call ``callable`` in the next :meth:`pump`, because this reactor is always running."""
        self.soon(callable, *args, **kw)

    def addSystemEventTrigger(
        self, phase: str, eventType: str, callable: Callable[..., Any], *args: Any, **kw: Any
    ) -> Any:
        """Add a trigger. :meth:`stop` runs the triggers of ``shutdown``."""
        trigger = (phase, eventType, lambda: callable(*args, **kw))
        self._triggers.append(trigger)
        return trigger

    def removeSystemEventTrigger(self, triggerID: Any) -> None:
        """Remove a trigger."""
        self._triggers.remove(triggerID)

    def stop(self) -> None:
        """Run the shutdown triggers, phase by phase. Delayed calls stay scheduled."""
        if not self.running:
            return
        self.running = False
        for phase in ("before", "during", "after"):
            for trigger in [t for t in self._triggers if t[:2] == (phase, "shutdown")]:
                trigger[2]()
                self._settle()
        self._settle()
