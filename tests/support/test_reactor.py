"""The live-test helper itself: results, failures, timeouts and leftovers all reach the test."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory

from lbproxy.net.timers import TimerWheel
from tests.support.descriptors import descriptors, settled_descriptors
from tests.support.reactor import ScenarioTimeout, eventually, run, sleep


def test_result_and_descriptors() -> None:
    async def scenario(reactor: object) -> str:
        await sleep(reactor, 0.001)
        return "done"

    assert run(scenario) == "done"
    before = settled_descriptors()
    assert run(scenario) == "done"
    assert descriptors() <= before


def test_exception_propagates() -> None:
    async def scenario(reactor: object) -> None:
        await sleep(reactor)
        raise KeyError("boom")

    with pytest.raises(KeyError, match="boom"):
        run(scenario)


def test_timeout() -> None:
    async def scenario(reactor: object) -> None:
        await Deferred()

    with pytest.raises(ScenarioTimeout):
        run(scenario, timeout=0.02)


@pytest.mark.parametrize("kind", ["call", "socket", "wheel"])
def test_leftovers(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.support.reactor.GRACE_S", 0.03)
    monkeypatch.setattr("tests.support.reactor.TIMERS_S", 0.03)

    async def scenario(reactor: object) -> None:
        if kind == "call":
            reactor.callLater(60, print)  # type: ignore[attr-defined]
        elif kind == "socket":
            reactor.listenTCP(0, Factory(), interface="127.0.0.1")  # type: ignore[attr-defined]
        else:
            TimerWheel(reactor).timer(print).set(60)  # type: ignore[arg-type]

    with pytest.raises(AssertionError, match="left behind"):
        run(scenario)
    run(scenario, strict=False)


def test_a_timer_that_is_forgotten_is_not_waited_for() -> None:
    """Sockets may take long to close on a busy machine; timers without a socket may not."""

    async def scenario(reactor: object) -> None:
        reactor.callLater(4, print)  # type: ignore[attr-defined]

    with pytest.raises(AssertionError, match="left behind"):
        run(scenario)


def test_idle_wheel_is_not_a_leftover() -> None:
    async def scenario(reactor: object) -> None:
        timer = TimerWheel(reactor).timer(print)  # type: ignore[arg-type]
        timer.set(60)
        timer.clear()

    run(scenario)


def test_eventually() -> None:
    async def scenario(reactor: object) -> None:
        seen: list[int] = []
        reactor.callLater(0.01, seen.append, 1)  # type: ignore[attr-defined]
        assert await eventually(reactor, lambda: seen) == [1]
        with pytest.raises(AssertionError, match="never"):
            await eventually(reactor, lambda: False, timeout=0.01)

    run(scenario)
