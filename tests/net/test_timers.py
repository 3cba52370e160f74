"""The timer wheel: never early, at most a tick late, and nothing is kept alive."""

from __future__ import annotations

import gc
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from lbproxy.net.timers import HORIZON_S, RESYNC_S, TimerWheel

TICK = 0.05


def wheel_at(start: float = 0.0) -> tuple[Clock, TimerWheel]:
    clock = Clock()
    clock.advance(start)
    return clock, TimerWheel(clock, TICK)


@given(
    start=st.floats(0, 2e9),
    delays=st.lists(st.floats(0, 30), min_size=1, max_size=8),
    steps=st.lists(st.floats(0.001, 5), min_size=1, max_size=30),
)
def test_never_early_at_most_a_tick_late(
    start: float, delays: list[float], steps: list[float]
) -> None:
    clock, wheel = wheel_at(start)
    fired: dict[int, float] = {}
    for index, delay in enumerate(delays):

        def fire(index: int = index) -> None:
            assert index not in fired
            fired[index] = clock.seconds()

        wheel.timer(fire).set(delay)
    last = start
    for step in [*steps, 31.0]:
        clock.advance(step)
        now = clock.seconds()
        for index, delay in enumerate(delays):
            due = start + delay
            if due + TICK + 1e-5 < now:
                assert index in fired
            if fired.get(index) is not None:
                # the clock jumps over slots only as far as one step does
                assert due - 1e-5 <= fired[index]
        last = now
    assert last and len(fired) == len(delays)
    assert not clock.getDelayedCalls()


@given(st.floats(0, 2e9), st.floats(0, 20))
def test_on_time_with_a_fine_clock(start: float, delay: float) -> None:
    clock, wheel = wheel_at(start)
    fired: list[float] = []
    timer = wheel.timer(lambda: fired.append(clock.seconds()))
    timer.set(delay)
    while not fired:
        clock.advance(TICK / 3)
    assert start + delay - 1e-5 <= fired[0] <= start + delay + TICK * 4 / 3 + 1e-5
    assert not timer.armed


def test_rearm_later_and_earlier() -> None:
    clock, wheel = wheel_at()
    fired: list[float] = []
    timer = wheel.timer(lambda: fired.append(round(clock.seconds(), 6)))
    timer.set(1)
    timer.set(3)
    clock.pump([0.05] * 59)
    assert fired == [] and timer.armed
    timer.set(10)
    timer.set(0.2)
    clock.pump([0.05] * 5)
    assert len(fired) == 1 and 3.15 <= fired[0] <= 3.2, "at most a tick late, never early"
    timer.set(1)
    timer.clear()
    assert not timer.armed
    clock.advance(20)
    assert len(fired) == 1


def test_fires_again_from_its_callback() -> None:
    clock, wheel = wheel_at()
    fired: list[float] = []

    def again() -> None:
        fired.append(clock.seconds())
        timer.set(0)

    timer = wheel.timer(again)
    timer.set(0)
    clock.pump([0.05] * 4)
    assert len(fired) == 4


def test_slow_callback_does_not_lose_slots() -> None:
    """Real clocks move while callbacks run; whatever became due meanwhile runs next time."""
    clock, wheel = wheel_at()
    fired: list[str] = []
    other = wheel.timer(lambda: fired.append("other"))
    third = wheel.timer(lambda: fired.append("third"))
    for index in range(3):
        wheel.timer(lambda index=index: fired.append(f"far {index}")).set(2 + index / 5)

    def slow() -> None:
        clock.rightNow += 0.4
        third.set(0.1)

    wheel.timer(slow).set(0.05)
    other.set(0.12)
    clock.pump([0.05] * 20)
    assert sorted(fired) == ["other", "third"]


def test_failing_callback_is_logged_and_others_run() -> None:
    from twisted.logger import globalLogPublisher

    events: list[object] = []
    globalLogPublisher.addObserver(events.append)
    try:
        clock, wheel = wheel_at()
        fired: list[int] = []
        wheel.timer(lambda: 1 // 0).set(0.1)  # type: ignore[arg-type,return-value]
        wheel.timer(lambda: fired.append(1)).set(0.1)
        clock.advance(0.2)
    finally:
        globalLogPublisher.removeObserver(events.append)
    assert fired == [1]
    assert any("timer callback failed" in str(event) for event in events)


def test_idle_wheel_stops_and_starts() -> None:
    clock, wheel = wheel_at()
    timer = wheel.timer(lambda: None)
    assert not clock.getDelayedCalls()
    timer.set(3600)
    timer.clear()
    clock.pump([HORIZON_S, 2 * TICK])
    assert not clock.getDelayedCalls()
    timer.set(1)
    assert len(clock.getDelayedCalls()) == 1


def test_far_deadlines_wake_the_process_seldom() -> None:
    clock, wheel = wheel_at(100.0)
    wheel.timer(lambda: None).set(3600)
    woken = set()
    for _ in range(400):
        (call,) = clock.getDelayedCalls()
        woken.add(round(call.getTime(), 3))
        clock.advance(TICK / 2)
    assert 2 < len(woken) <= 1 + 10 / RESYNC_S


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 3)), min_size=1, max_size=8))
def test_an_earlier_deadline_than_the_next_wake_is_on_time(
    steps: list[tuple[float, float]],
) -> None:
    """However far the timers are that the wheel waits for."""
    clock, wheel = wheel_at(7.0)
    wheel.timer(lambda: None).set(600)
    late: list[float] = []
    armed = 0
    for pause, delay in steps:
        until = clock.seconds() + pause
        while clock.seconds() < until:
            clock.advance(TICK / 5)
        due = clock.seconds() + delay
        wheel.timer(lambda due=due: late.append(clock.seconds() - due)).set(delay)  # type: ignore[misc]
        armed += 1
        assert len(clock.getDelayedCalls()) == 1
    for _ in range(5 * 64):
        clock.advance(TICK / 5)
    assert len(late) == armed
    assert all(-1e-5 <= seconds <= TICK * 6 / 5 + 1e-5 for seconds in late)


def test_close_forgets() -> None:
    clock, wheel = wheel_at()
    fired: list[int] = []
    timer = wheel.timer(lambda: fired.append(1))
    timer.set(1)
    wheel.close()
    assert not clock.getDelayedCalls() and not timer.armed
    clock.advance(5)
    assert fired == []
    timer.set(1)
    clock.advance(1.05)
    assert fired == [1]


class Owner:
    def __init__(self, wheel: TimerWheel) -> None:
        self.timer = wheel.timer(self.fire)

    def fire(self) -> None: ...


def test_close_from_a_callback_forgets_what_is_due_with_it() -> None:
    clock = Clock()
    wheel = TimerWheel(clock, tick=0.1)
    fired: list[str] = []

    def end() -> None:
        fired.append("end")
        wheel.close()
        last.set(0.0)

    timers = [wheel.timer(end), *(wheel.timer(lambda: fired.append("late")) for _ in range(3))]
    last = wheel.timer(lambda: fired.append("after"))
    for timer, delay in zip(timers, (0.1, 0.1, 0.1, 0.2), strict=True):
        timer.set(delay)
    clock.advance(1.0)  # both slots are due in one run
    assert fired == ["end"]
    assert not any(timer.armed for timer in timers)
    clock.advance(1.0)
    assert fired == ["end", "after"]
    assert not clock.getDelayedCalls()


@pytest.mark.parametrize("how", ["close", "clear"])
def test_owner_is_let_go(how: str) -> None:
    clock, wheel = wheel_at()
    owner = Owner(wheel)
    owner.timer.set(86400)
    gone = weakref.ref(owner)
    getattr(owner.timer, how)()
    del owner
    if how == "clear":
        clock.pump([HORIZON_S, 2 * TICK])
    gc.collect()
    assert gone() is None


def test_infinite_delay_never_fires() -> None:
    clock, wheel = wheel_at()
    timer = wheel.timer(lambda: pytest.fail("fired"))
    timer.set(float("inf"))
    clock.pump([5, 5, 5])
    assert not timer.armed
