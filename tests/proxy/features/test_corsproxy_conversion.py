"""Conversions wait for their turn, and are forgotten with their call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lbproxy.cors.call import Call
from lbproxy.proxy.features.corsproxy.conversion import CONVERSIONS_MAX, Conversions

CALL = Call("http://example.com/", convert="csv")


class Threads:
    """A reactor whose threads run when the test says so."""

    def __init__(self) -> None:
        self.jobs: list[tuple[Callable[..., None], Callable[[], Any]]] = []

    def getThreadPool(self) -> Threads:
        return self

    def callInThreadWithCallback(
        self, done: Callable[..., None], work: Callable[..., Any], *_: Any, **__: Any
    ) -> None:
        self.jobs.append((done, work))

    def callFromThread(self, call: Callable[..., None], *words: Any) -> None:
        call(*words)

    def run(self) -> None:
        done, work = self.jobs.pop(0)
        done(True, work())


def test_a_call_that_is_gone_gives_up_its_place_in_the_line() -> None:
    threads = Threads()
    conversions = Conversions(threads)
    bodies: list[bytes] = []
    runs = [conversions.run(CALL, b"a\n1", "") for _ in range(CONVERSIONS_MAX)]
    gone = [conversions.run(CALL, b"a\n2", "") for _ in range(10)]
    last = conversions.run(CALL, b"a\n3", "")
    for one in (*runs, last):
        one.addCallback(bodies.append)
    for one in (*gone, runs[0]):
        one.addErrback(lambda failure: None)
        one.cancel()
    assert len(threads.jobs) == CONVERSIONS_MAX  # what runs keeps its turn
    while threads.jobs:
        assert len(threads.jobs) <= CONVERSIONS_MAX
        threads.run()
    assert bodies == [b'[{"a":"1"}]', b'[{"a":"3"}]']
