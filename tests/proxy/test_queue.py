"""The waiting line by itself."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from lbproxy.errors import Kind, ProxyError
from lbproxy.net.timers import TimerWheel
from lbproxy.proxy.queue import Queue
from tests.proxy.bench import Make


class Waiter:
    """Notes what it is told."""

    def __init__(self, name: int = 0, priority: int = 0) -> None:
        self.name = name
        self.priority = priority
        self.patience = 0.0
        self.errors: list[ProxyError] = []

    def refused(self, error: ProxyError) -> None:
        self.errors.append(error)


def build(limit: int = 10, timeout: float = 5.0) -> tuple[Any, Clock]:
    clock = Clock()
    return Queue(TimerWheel(clock), limit, timeout), clock


def test_first_in_first_out() -> None:
    queue, _ = build()
    waiters = [Waiter(n) for n in range(5)]
    for waiter in waiters:
        queue.join(waiter)
    queue.leave(waiters[2])
    order = []
    while len(queue):
        order.append(queue.first().name)
        queue.leave(queue.first())
    assert order == [0, 1, 3, 4]


def test_the_limit() -> None:
    queue, _ = build(limit=1)
    queue.join(Waiter())
    with pytest.raises(ProxyError) as caught:
        queue.join(Waiter())
    assert caught.value.kind is Kind.QUEUE_FULL
    with pytest.raises(ProxyError):
        build(limit=0)[0].join(Waiter())


def test_everybody_has_a_deadline_of_their_own() -> None:
    queue, clock = build(timeout=5.0)
    early, late = Waiter(), Waiter()
    queue.join(early)
    clock.advance(3)
    queue.join(late)
    clock.pump([0.1] * 21)
    assert [error.kind for error in early.errors] == [Kind.QUEUE_TIMEOUT]
    assert (late.errors, len(queue)) == ([], 1)
    clock.pump([0.1] * 40)
    assert [error.kind for error in late.errors] == [Kind.QUEUE_TIMEOUT]
    assert len(queue) == 0


def test_who_left_hears_nothing() -> None:
    queue, clock = build()
    waiter = Waiter()
    queue.join(waiter)
    queue.leave(waiter)
    queue.leave(waiter)
    clock.pump([1.0] * 20)
    assert waiter.errors == []
    assert clock.getDelayedCalls() == []


def test_all_are_sent_away() -> None:
    queue, clock = build()
    waiters = [Waiter() for _ in range(3)]
    for waiter in waiters:
        queue.join(waiter)
    queue.refuse_all(ProxyError(Kind.SHUTDOWN))
    clock.pump([1.0] * 20)
    assert [[error.kind for error in waiter.errors] for waiter in waiters] == [[Kind.SHUTDOWN]] * 3


@given(st.lists(st.one_of(st.integers(0, 5), st.floats(0, 4)), max_size=60))
def test_nobody_is_forgotten_or_told_twice(steps: list[Any]) -> None:
    queue, clock = build(limit=4, timeout=3.0)
    waiting: dict[int, Waiter] = {}
    everybody: list[Waiter] = []
    for step in steps:
        if isinstance(step, float):
            clock.advance(step)
        elif step in waiting:
            queue.leave(waiting.pop(step))
        else:
            waiter = Waiter(step)
            try:
                queue.join(waiter)
            except ProxyError:
                assert len(queue) == 4
                continue
            waiting[step] = waiter
            everybody.append(waiter)
        waiting = {name: one for name, one in waiting.items() if not one.errors}
        assert len(queue) == len(waiting) <= 4
        if waiting:
            assert queue.first() is next(iter(waiting.values()))
    queue.refuse_all(ProxyError(Kind.SHUTDOWN))
    assert all(len(one.errors) <= 1 for one in everybody)
    assert all(len(one.errors) == 1 for one in waiting.values())


def test_lower_priorities_first() -> None:
    queue, _ = build()
    for name, priority in enumerate((0, 5, -1, 0, 5, -1)):
        queue.join(Waiter(name, priority))
    order = []
    while len(queue):
        order.append(queue.first().name)
        queue.leave(queue.first())
    assert order == [2, 5, 0, 3, 1, 4]


def test_who_matters_more_gets_the_place_of_the_last_who_matters_least() -> None:
    queue, _ = build(limit=3)
    low, lower, last = Waiter(1, 1), Waiter(2, 2), Waiter(3, 2)
    for waiter in (low, lower, last):
        queue.join(waiter)
    with pytest.raises(ProxyError):
        queue.join(Waiter(4, 2))
    queue.join(Waiter(5, 0))
    assert [error.kind for error in last.errors] == [Kind.QUEUE_FULL]
    assert (len(queue), lower.errors, low.errors) == (3, [], [])
    queue.join(Waiter(6, 0))
    assert lower.errors and len(queue) == 3


def test_one_who_gave_way_may_come_again_at_once() -> None:
    queue, _ = build(limit=1)

    class Stubborn(Waiter):
        def refused(self, error: ProxyError) -> None:
            super().refused(error)
            with pytest.raises(ProxyError):
                queue.join(self)

    queue.join(stubborn := Stubborn(1, 1))
    queue.join(first := Waiter(2, 0))
    assert stubborn.errors
    assert queue.first() is first and len(queue) == 1


@given(st.integers(1, 5), st.lists(st.tuples(st.integers(-2, 2), st.booleans()), max_size=60))
def test_any_history_of_priorities(limit: int, steps: list[tuple[int, bool]]) -> None:
    """Bounded; always the oldest of the lowest number; nobody is lost."""
    queue, clock = build(limit=limit, timeout=10.0)
    waiting: list[Waiter] = []
    everybody: list[Waiter] = []
    served: list[Waiter] = []
    for name, (priority, serve) in enumerate(steps):
        if serve and len(queue):
            first = queue.first()
            assert first is min(waiting, key=lambda w: (w.priority, w.name))
            queue.leave(first)
            waiting.remove(first)
            served.append(first)
        waiter = Waiter(name, priority)
        everybody.append(waiter)
        try:
            queue.join(waiter)
        except ProxyError as error:
            assert len(waiting) == limit and all(w.priority <= priority for w in waiting)
            waiter.errors.append(error)
        else:
            waiting = [w for w in waiting if not w.errors] + [waiter]
        assert len(queue) == len(waiting) <= limit
    clock.pump([0.05] * 210)
    assert len(queue) == 0
    for waiter in everybody:
        assert len(waiter.errors) == (0 if waiter in served else 1)


def test_those_who_wait_in_other_processes_are_counted_and_not_served(make: Make) -> None:
    bench = make()
    bench.backend.queue.remote = 3
    assert bench.backend.queue.waiting == 3 and len(bench.backend.queue) == 0
    assert bench.backend.queue.first() is None
    bench.lb.service.maint("raw", "b")
    bench.lb.service.ready("raw", "b")  # there is room: the queue is looked at
    bench.backend.queue.refuse_all(ProxyError(Kind.SHUTDOWN))
    bench.backend.queue.remote = 0
