"""DATA. Long work in slices of a few milliseconds per turn of the reactor."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from time import perf_counter
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

__all__ = ["SLICE_S", "in_slices"]

SLICE_S: Final = 0.003
"""Maximum seconds of work in one turn."""


def in_slices(
    clock: Any, steps: Iterator[object], now: Callable[[], float] = perf_counter
) -> Deferred[None]:
    """Run all ``steps``, the first slice of them now.

    A step takes less than a millisecond. The Deferred fires at the end, or with the exception of a
    step, after which no further step runs. Cancelling it ends the work.
    """
    call: list[Any] = []

    def run() -> None:
        call.clear()
        end = now() + SLICE_S
        try:
            for _ in steps:
                if now() >= end:
                    call.append(clock.callLater(0, run))
                    return
        except BaseException:
            done.errback(Failure())
            return
        done.callback(None)

    def cancel(_: Deferred[None]) -> None:
        for one in call:
            one.cancel()
        if isinstance(steps, Generator):
            steps.close()

    done: Deferred[None] = Deferred(cancel)
    run()
    return done
