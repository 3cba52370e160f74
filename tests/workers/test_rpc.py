"""Calls to workers: answered by all, by some, late, or by nobody."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock

from lbproxy.workers.rpc import PATIENCE, RemoteCalls


class Line:
    """A channel that keeps what is said."""

    def __init__(self) -> None:
        self.said: list[dict[str, Any]] = []

    def send(self, message: dict[str, Any]) -> None:
        self.said.append(message)


def ask(count: int = 2) -> tuple[Clock, RemoteCalls, list[Line], list[Any]]:
    clock = Clock()
    calls = RemoteCalls(clock)
    lines = [Line() for _ in range(count)]
    got: list[Any] = []
    asked: Any = calls.send(dict(enumerate(lines)), {"type": "count"})  # type: ignore[arg-type]
    asked.addCallback(got.append)
    return clock, calls, lines, got


def test_all_answer() -> None:
    clock, calls, lines, got = ask()
    ((one,), (two,)) = (line.said for line in lines)
    assert one == two == {"type": "count", "number": one["number"]}
    calls.answered(1, one["number"], "b")
    assert got == []
    calls.answered(0, one["number"], "a")
    assert got == [{0: "a", 1: "b"}]
    calls.answered(0, one["number"], "again")
    assert got == [{0: "a", 1: "b"}] and not clock.getDelayedCalls()


def test_one_is_late() -> None:
    clock, calls, lines, got = ask()
    number = lines[0].said[0]["number"]
    calls.answered(0, number, "a")
    calls.answered(0, number, "twice")
    clock.advance(PATIENCE + 0.1)
    assert got == [{0: "a"}]
    calls.answered(1, number, "late")
    assert got == [{0: "a"}]


def test_one_is_lost() -> None:
    clock, calls, lines, got = ask()
    calls.answered(0, lines[0].said[0]["number"], "a")
    calls.lost(1)
    assert got == [{0: "a"}] and not clock.getDelayedCalls()


def test_nobody_is_there() -> None:
    clock, _, _, got = ask(0)
    assert got == [{}] and not clock.getDelayedCalls()
