"""Deadlines while the system's clock is set: forward and back, on a reactor of our own and on
somebody else's.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.interfaces import IReactorFDSet, IReactorTCP
from twisted.internet.task import Clock

from lbproxy.net.steady import SteadyReactor, keep_steady, steady
from lbproxy.net.timers import TimerWheel
from lbproxy.registry import parse_config
from lbproxy.service import LoadBalancer
from tests.support.ports import free_port
from tests.support.reactor import _dispose

STEPS = [3600.0, -3600.0]


class Wall:
    """The system's clock, as a test sets it."""

    def __init__(self) -> None:
        self.offset = 0.0

    def __call__(self) -> float:
        return time.time() + self.offset


@pytest.fixture
def wall() -> Wall:
    return Wall()


@pytest.fixture
def foreign(wall: Wall) -> Iterator[Any]:
    """The reactor of a program that embeds lbproxy, on a clock that the test sets."""
    reactor: Any = EPollReactor()
    reactor.seconds = wall
    yield reactor
    _dispose(reactor)


def turn_until(reactor: Any, done: Any, limit: float = 60.0) -> None:
    """Run the reactor, in steps as long as it wants to sleep (0.1 s at most)."""
    end = time.monotonic() + limit
    while not done():
        assert time.monotonic() < end, "never came true"
        reactor.runUntilCurrent()
        reactor.doIteration(min(reactor.timeout() or 0.0, 0.1))


def watched(reactor: Any) -> set[Any]:
    """What is registered with the reactor, but for its own."""
    return set(reactor.getReaders()) - reactor._internalReaders


@pytest.mark.parametrize("step", STEPS)
def test_calls_come_in_time_on_a_reactor_whose_clock_jumps(
    foreign: Any, wall: Wall, step: float
) -> None:
    clock = SteadyReactor(foreign)
    begun = time.monotonic()
    fired: list[float] = []
    clock.callLater(0.2, lambda: fired.append(time.monotonic() - begun))
    late = clock.callLater(30, fired.append, -1.0)
    wall.offset = step
    turn_until(foreign, lambda: fired)
    assert len(fired) == 1 and 0.2 <= fired[0] < 1.0
    assert clock.getDelayedCalls() == [late]
    late.cancel()
    assert not watched(foreign), "nothing is watched while nothing waits"


@pytest.mark.parametrize("step", STEPS)
def test_a_wheel_runs_on_through_a_step(foreign: Any, wall: Wall, step: float) -> None:
    wheel = TimerWheel(SteadyReactor(foreign))
    begun = time.monotonic()
    fired: list[float] = []
    wheel.timer(lambda: fired.append(time.monotonic() - begun)).set(0.3)
    far = wheel.timer(lambda: fired.append(-1.0))
    far.set(60)
    turn_until(foreign, lambda: time.monotonic() > begun + 0.1)
    wall.offset = step
    turn_until(foreign, lambda: fired)
    assert len(fired) == 1 and 0.3 <= fired[0] < 1.0
    assert abs(wheel.wall() - time.time()) < 1.0
    far.close()
    wheel.close()


def test_calls_can_be_moved_cancelled_and_may_fail(foreign: Any) -> None:
    clock = SteadyReactor(foreign)
    order: list[str] = []

    def fails() -> None:
        order.append("fails")
        raise RuntimeError("of a test")

    earlier = clock.callLater(60, order.append, "earlier")
    later = clock.callLater(0.01, order.append, "later")
    dropped = clock.callLater(0.01, order.append, "dropped")
    clock.callLater(0.02, fails)
    doomed: list[Any] = []
    clock.callLater(0.03, lambda: [call.cancel() for call in doomed])
    doomed.append(clock.callLater(0.03, order.append, "doomed"))
    earlier.reset(0.0)
    later.reset(0.1)
    dropped.cancel()
    turn_until(foreign, lambda: "later" in order)
    assert order == ["earlier", "fails", "later"]
    assert not clock.getDelayedCalls() and not watched(foreign)
    with pytest.raises(ValueError, match="cannot call"):
        clock.callLater(-1, order.append, "never")


def test_the_owner_of_a_reactor_makes_it_steady() -> None:
    reactor: Any = EPollReactor()
    try:
        fired: list[str] = []
        reactor.callLater(0.05, fired.append, "soon")
        far = reactor.callLater(3600, fired.append, "far")
        keep_steady(reactor)
        keep_steady(reactor)
        assert reactor.seconds is time.monotonic
        assert 3000 < far.getTime() - time.monotonic() <= 3600
        turn_until(reactor, lambda: fired)
        assert fired == ["soon"]
        soon_after = reactor.callLater(10, fired.append, "x")
        soon_after.reset(0.01)
        turn_until(reactor, lambda: len(fired) == 2)
        assert steady(reactor) is reactor
    finally:
        _dispose(reactor)


def test_only_clocks_that_jump_are_replaced() -> None:
    clock = Clock()
    assert steady(clock) is clock
    keep_steady(clock)
    assert clock.seconds() == 0.0
    reactor: Any = EPollReactor()
    try:
        made = steady(reactor)
        assert isinstance(made, SteadyReactor)
        assert IReactorFDSet.providedBy(made) and IReactorTCP.providedBy(made)
        assert made.seconds is time.monotonic and made.running == reactor.running
        assert TimerWheel(made).epoch == pytest.approx(time.time() - time.monotonic(), abs=1.0)
        assert TimerWheel(clock).epoch == 0.0
    finally:
        _dispose(reactor)


@pytest.mark.parametrize("transport", ["epoll", "twisted"])
@pytest.mark.parametrize("step", STEPS)
def test_an_embedded_load_balancer_keeps_its_deadlines(
    foreign: Any, wall: Wall, step: float, transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lbproxy.net.steady.wall_clock", wall)  # what Twisted's reactors go by
    port = free_port()
    balancer = LoadBalancer(
        parse_config(
            f"[lbproxy]\ntransport = {transport}\n"
            f"[frontend web]\nmode = http\nlisten = tcp:127.0.0.1:{port}\n"
            "timeout_header = 300ms\nbackend = app\n[backend app]\nservers = a 127.0.0.1:1\n"
        ),
        reactor=foreign,
    )
    assert isinstance(balancer.reactor, SteadyReactor)
    balancer.startService()
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.setblocking(False)
        client.sendall(b"GET / HTTP/1.1\r\n")
        begun = time.monotonic()
        turn_until(foreign, lambda: time.monotonic() > begun + 0.1)
        wall.offset = step
        received: list[bytes] = []

        def answered() -> bool:
            with contextlib.suppress(BlockingIOError):
                received.append(client.recv(4096))
            return bool(received)

        turn_until(foreign, answered)
        assert b" 408 " in received[0]
        assert time.monotonic() - begun > 0.25
    stopped: list[Any] = []
    balancer.stopService().addBoth(stopped.append)
    turn_until(foreign, lambda: stopped)
