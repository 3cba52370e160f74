"""A test that hangs is shown, with its stacks."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest

from tests.support.deadline import deadline
from tests.support.lb_process import ROOT

STUBBORN = """
import time
from tests.support.deadline import last_resort

def hangs():
    while True:
        try:
            time.sleep(60)
        except BaseException:
            pass

with last_resort(0.1, 2):
    hangs()
"""


class Item(pytest.Item):
    """A test that takes a while."""

    def runtest(self) -> None:
        time.sleep(60)


def item_of(request: pytest.FixtureRequest) -> Item:
    return Item.from_parent(request.node.parent, name="slow")


def test_a_test_that_hangs_fails_with_the_stacks_of_all_threads(
    request: pytest.FixtureRequest,
) -> None:
    over = threading.Event()

    def a_thread_that_waits() -> None:
        over.wait()

    thread = threading.Thread(target=a_thread_that_waits)
    thread.start()
    item = item_of(request)
    try:
        with (
            pytest.raises(pytest.fail.Exception, match=r"call not finished after 0\.05 s"),
            deadline(item, "call", 0.05),
        ):
            item.runtest()
    finally:
        over.set()
        thread.join()
    ((phase, title, text),) = item._report_sections
    assert (phase, title) == ("call", "stacks")
    assert "in runtest" in text and "in a_thread_that_waits" in text


def test_a_deadline_inside_another_one_leaves_it_running(request: pytest.FixtureRequest) -> None:
    item = item_of(request)
    with pytest.raises(pytest.fail.Exception, match="setup"), deadline(item, "setup", 0.2):
        with deadline(item, "call", 60):
            pass
        item.runtest()


def test_a_test_that_swallows_its_failure_ends_the_process() -> None:
    done = subprocess.run(
        [sys.executable, "-c", STUBBORN], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert "Timeout" in done.stderr and "in hangs" in done.stderr
