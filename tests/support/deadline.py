"""A deadline for every test, so that a run shows which test hangs, and where.

A test that takes too long fails, with the stacks of all threads in its report. One that swallows
this failure, or hangs in code that no signal interrupts, ends the process :data:`GRACE_S` later:
the stacks go to standard error, and pytest-xdist reports the test and goes on with another process.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any, Final

import pytest

__all__ = ["GRACE_S", "LONG_S", "SECONDS", "Deadlines", "deadline", "last_resort"]

SECONDS: Final = 600.0
"""Bound of the setup, of the call and of the teardown of a test."""

LONG_S: Final = 1800.0
"""The same for tests marked long."""

GRACE_S: Final = 120.0


@contextmanager
def deadline(item: pytest.Item, phase: str, seconds: float) -> Iterator[None]:
    """Fail if the body takes longer than ``seconds``.  Only in the main thread."""

    def late(*_: object) -> None:
        item.add_report_section(phase, "stacks", _stacks())
        pytest.fail(f"{phase} not finished after {seconds:g} s")

    handler = signal.signal(signal.SIGALRM, late)
    outer = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, *outer)
        signal.signal(signal.SIGALRM, handler)


def _stacks() -> str:
    """The stacks of all threads."""
    with tempfile.TemporaryFile("w+") as file:
        faulthandler.dump_traceback(file)
        file.seek(0)
        return file.read()


@contextmanager
def last_resort(seconds: float, stderr: int) -> Iterator[None]:
    """Write the stacks of all threads to ``stderr`` and end the process after ``seconds``."""
    faulthandler.dump_traceback_later(seconds, exit=True, file=stderr)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


class Deadlines:
    """The pytest plugin.  Create it while output is not captured."""

    def __init__(self) -> None:
        self._stderr = os.dup(2)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Bound its fixtures."""
        with self._bounds(item, "setup"):
            return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Bound the test function."""
        with self._bounds(item, "call"):
            return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Bound the ends of its fixtures."""
        with self._bounds(item, "teardown"):
            return (yield)

    def pytest_enter_pdb(self) -> None:
        """Leave a person at a breakpoint alone; pytest itself cancels the last resort."""
        signal.setitimer(signal.ITIMER_REAL, 0)

    @contextmanager
    def _bounds(self, item: pytest.Item, phase: str) -> Iterator[None]:
        """Both bounds, anew for each phase: pytest cancels the last resort at each failure."""
        seconds = LONG_S if item.get_closest_marker("long") is not None else SECONDS
        with last_resort(seconds + GRACE_S, self._stderr), deadline(item, phase, seconds):
            yield
