"""Long work in slices by time."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock

from lbproxy.proxy.slices import SLICE_S, in_slices
from tests.support.purging import result_of


class Work:
    """Steps that take half a slice each, by a clock of their own."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.done = 0
        self.time = 0.0
        self.closed = False

    def steps(self) -> Iterator[None]:
        try:
            for _ in range(self.count):
                self.done += 1
                self.time += SLICE_S / 2
                yield
        finally:
            self.closed = True

    def now(self) -> float:
        return self.time


class Turns:
    """A clock that leaves its calls to the test."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], None]] = []

    def callLater(self, seconds: float, call: Callable[[], None]) -> None:
        self.waiting.append(call)


def test_a_slice_a_turn() -> None:
    clock, work = Turns(), Work(5)
    found = in_slices(clock, work.steps(), work.now)
    seen = [work.done]
    while clock.waiting:
        clock.waiting.pop()()
        seen.append(work.done)
    assert seen == [2, 4, 5] and work.closed and found.called


def test_a_step_that_fails_ends_the_work() -> None:
    def steps() -> Iterator[None]:
        yield
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        result_of(in_slices(Clock(), steps()))


def test_cancelled_work_ends_where_it_is() -> None:
    clock, work = Clock(), Work(5)
    found = in_slices(clock, work.steps(), work.now)
    found.cancel()
    with pytest.raises(CancelledError):
        result_of(found)
    assert work.done == 2 and work.closed and not clock.getDelayedCalls()
