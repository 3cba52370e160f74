"""The first signal stops, the second cuts off."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.logger import capturedLogs, formatEvent

from lbproxy.process.signals import StopSignals


class Reactor:
    def callFromThread(self, call: Any, *args: Any) -> None:
        call(*args)


@pytest.fixture
def handlers() -> Iterator[list[int]]:
    """What the reactor's own handler was called with."""
    stopped: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, lambda number, frame: stopped.append(number))
    yield stopped
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_second_signal_cuts_off(handlers: list[int]) -> None:
    hurried: list[int] = []
    StopSignals(Reactor(), lambda: 10.0, lambda: hurried.append(1)).install()
    with capturedLogs() as said:
        signal.raise_signal(signal.SIGINT)
    assert handlers == [signal.SIGINT] and not hurried
    assert [formatEvent(event) for event in said] == [
        "stopping: sessions may finish for up to 10 s; a second signal aborts them"
    ]
    with capturedLogs() as said:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
    assert [formatEvent(event) for event in said] == ["aborting the remaining sessions"] * 2
    assert handlers == [signal.SIGINT], "the reactor is stopped once"
    assert len(hurried) == 2
