"""A test that hangs is shown, with its stacks."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

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

SHORT = """
from tests.support import deadline

deadline.SECONDS, deadline.GRACE_S = 0.1, 0.5

def pytest_configure(config):
    config.pluginmanager.register(deadline.Deadlines())
"""

FAILING = """
import time
import pytest

@pytest.fixture
def stubborn():
    yield
    over = time.monotonic() + 20
    while time.monotonic() < over:
        try:
            time.sleep(20)
        except BaseException:
            pass

def test_it(stubborn):
    raise AssertionError
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


def test_a_failed_test_whose_end_swallows_the_deadline_ends_the_process(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(SHORT)
    (tmp_path / "pytest.ini").write_text("[pytest]")
    (tmp_path / "test_it.py").write_text(FAILING)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", tmp_path],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        timeout=60,
    )  # fmt: skip
    assert "Timeout" in done.stderr and "in stubborn" in done.stderr, done.stdout + done.stderr
    assert done.returncode == 1
