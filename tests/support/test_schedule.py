"""Units of work of pytest-xdist."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import pytest

pytest.importorskip("xdist")

from tests.support.lb_process import ROOT
from tests.support.schedule import Groups, scope_of, scope_order

GROUPS = """
import pytest
from tests.support.schedule import Groups

def pytest_xdist_make_scheduler(config, log):
    return Groups(config, log)
"""

# the worker ends when the controller has sent it all that it sends before the test's report
ENDING = """
import os
import time

def test_a(): pass

def test_b():
    time.sleep(1)
    os._exit(1)

def test_c(): pass
"""


@pytest.mark.parametrize(
    ("nodeid", "scope"),
    [
        ("tests/http/test_scan.py::test_a", "tests/http/test_scan.py"),
        ("tests/http/test_scan.py::TestB::test_c[x::y/z]", "tests/http/test_scan.py"),
        ("tests/live/test_soak.py::test_soak[epoll]", "test_soak[epoll]"),
    ],
)
def test_a_file_is_a_unit(nodeid: str, scope: str) -> None:
    assert scope_of(nodeid) == scope


def test_real_servers_come_first() -> None:
    units = [
        *("tests/http/test_scan.py", "tests/live/test_http.py", "tests/admin/test_auth.py"),
        *("test_soak[epoll]", "tests/support/test_servers.py"),
    ]
    assert sorted(units, key=scope_order) == [
        *("tests/live/test_http.py", "test_soak[epoll]", "tests/support/test_servers.py"),
        *("tests/http/test_scan.py", "tests/admin/test_auth.py"),
    ]


@pytest.mark.parametrize("last", [False, True])
def test_a_test_that_ends_its_worker_runs_once_and_the_others_run(
    tmp_path: Path, last: bool
) -> None:
    (tmp_path / "conftest.py").write_text(GROUPS)
    (tmp_path / "pytest.ini").write_text("[pytest]")
    text = ENDING.replace("def test_c(): pass", "") if last else ENDING
    for name in ("one", "two"):
        (tmp_path / f"test_{name}.py").write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "1", "-p", "no:cacheprovider", tmp_path],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        timeout=60,
    )  # fmt: skip
    assert f"2 failed, {2 if last else 4} passed" in done.stdout, done.stdout
    assert done.stdout.count("crashed while running") >= 2


def test_a_worker_that_has_ended_unseen_is_sent_a_unit() -> None:
    class Ended:
        def send_runtest_some(self, indices: list[int]) -> None:
            raise OSError("cannot send (already closed?)")

    node = Ended()
    groups = Groups.__new__(Groups)
    groups.workqueue = OrderedDict(one={"one::test_a": False})
    groups.assigned_work, groups.registered_collections = {}, {node: ["one::test_a"]}
    groups._assign_work_unit(node)
    assert groups.assigned_work == {node: {"one": {"one::test_a": False}}}
    assert not groups.workqueue
