"""Real reactors for tests: each scenario gets one of its own, started and thrown away in the test's
thread.

``run(scenario)`` runs ``async def scenario(reactor)`` on a new epoll reactor that is not the global
one. Anything the scenario raises fails the test; so does a scenario that takes too long, or one
that leaves sockets or timers behind.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from lbproxy.net.dispatch import dispatch_directly
from lbproxy.net.steady import keep_steady
from lbproxy.net.timers import TimerWheel

__all__ = ["ScenarioTimeout", "eventually", "leftovers", "run", "sleep"]

GRACE_S = 10.0  # how long a finished scenario's sockets may take to be closed
TIMERS_S = 1.0  # and its timers, once no socket is left: a bound below that of a forgotten one


class ScenarioTimeout(AssertionError):
    """The scenario did not finish in time."""


def run(
    scenario: Callable[[Any], Coroutine[Deferred[Any], Any, Any]],
    timeout: float = 60,
    *,
    strict: bool = True,
) -> Any:
    """Run ``scenario(reactor)`` to its end and return what it returned.

    ``timeout`` in seconds. ``strict``: sockets that are left :data:`GRACE_S` after the end, or
    timers :data:`TIMERS_S` after the last socket, are an AssertionError.
    """
    reactor: Any = EPollReactor()
    keep_steady(reactor)
    dispatch_directly(reactor)
    result: list[Any] = []
    left: list[str] = []
    task: list[Deferred[Any]] = []

    def started() -> None:
        task.append(Deferred.fromCoroutine(scenario(reactor)))
        task[0].addBoth(finished)

    def finished(outcome: Any) -> None:
        if not result:
            result.append(outcome)
            limit.cancel()
        settle(GRACE_S, TIMERS_S)

    def timed_out() -> None:
        result.append(Failure(ScenarioTimeout(f"not finished after {timeout:g} s")))
        task[0].cancel()
        if reactor.running and not stopping:
            settle(0, 0)

    stopping: list[bool] = []

    def settle(sockets: float, timers: float) -> None:
        left[:] = leftovers(reactor)
        if left and strict and not isinstance(result[0], Failure):
            if _sockets(reactor):
                sockets -= 0.01
            else:
                timers -= 0.01
            if min(sockets, timers) > 0:
                reactor.callLater(0.01, settle, sockets, timers)
                return
        if not stopping:
            stopping.append(True)
            reactor.stop()

    limit = reactor.callLater(timeout, timed_out)
    reactor.callWhenRunning(started)
    try:
        reactor.run(installSignalHandlers=False)
    finally:
        _dispose(reactor)
    outcome = result[0]
    if isinstance(outcome, Failure):
        outcome.raiseException()
    if strict and left:
        raise AssertionError("the scenario left behind: " + ", ".join(left))
    return outcome


def leftovers(reactor: Any) -> list[str]:
    """What would keep this reactor busy: sockets and delayed calls, but not a wheel that has
    nothing armed.
    """
    calls = [call for call in reactor.getDelayedCalls() if not _idle_wheel(call)]
    own = [call for call in calls if getattr(call.func, "__name__", "") != "settle"]
    return [repr(thing) for thing in (*_sockets(reactor), *own)]


def _sockets(reactor: Any) -> set[Any]:
    return {*reactor.getReaders(), *reactor.getWriters()} - reactor._internalReaders


def _idle_wheel(call: Any) -> bool:
    wheel = getattr(call.func, "__self__", None)
    if not isinstance(wheel, TimerWheel):
        return False
    return not any(timer.armed for timers in wheel._slots.values() for timer in timers)


def _dispose(reactor: Any) -> None:
    """Give back the descriptors of a reactor that has ended."""
    for call in reactor.getDelayedCalls():
        call.cancel()
    for reader in list(reactor._internalReaders):
        reactor.removeReader(reader)
        reader.connectionLost(None)
    reactor._poller.close()


def sleep(reactor: Any, seconds: float = 0.0) -> Awaitable[None]:
    """Let the reactor turn for ``seconds``; 0 is one turn."""
    return deferLater(reactor, seconds)


async def eventually(reactor: Any, condition: Callable[[], Any], timeout: float = 60.0) -> Any:
    """Wait until ``condition()`` is true, looking every few milliseconds; its value is returned."""
    end = reactor.seconds() + timeout
    while True:
        value = condition()
        if value:
            return value
        if reactor.seconds() > end:
            raise AssertionError(f"never came true: {condition}")
        await sleep(reactor, 0.002)
