"""What every test gets: lbproxy's pytest plugin, a calm Hypothesis, marks by folder, a deadline.

It also chooses tests: those that watch Python functions are left out where the modules are
compiled, and where ``LBPROXY_REQUIRE_LIVE=1`` a test that skips itself fails.

``pytest --hypothesis-profile=search`` looks for new examples, many of each; without it the examples
are the same in every run.
"""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Generator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import settings

settings.register_profile("lbproxy", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None, max_examples=1000)
settings.load_profile("lbproxy")

LIVE = Path(__file__).parent / "live"
Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)
STRICT = os.environ.get("LBPROXY_REQUIRE_LIVE") == "1"

# A program that a test starts takes half as long to start if lbproxy's bytecode is kept.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def pytest_configure(config: pytest.Config) -> None:
    """Make the plugin's fixtures known even where lbproxy is not installed but only on the path.

    A shell ignores SIGINT in what it starts in the background, and children inherit that; tests
    send it to them.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    from lbproxy.testing import plugin
    from tests.support.deadline import Deadlines

    gc.disable()  # until all tests are collected: what that makes stays
    config.pluginmanager.register(Deadlines())
    if not config.pluginmanager.is_registered(plugin):
        config.pluginmanager.register(plugin, "lbproxy")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """``--dist loadgroup`` also where pytest no longer lets xdist write the groups into node ids
    (9.2 with 3.8).
    """
    if config.getvalue("dist") != "loadgroup":
        return None
    from tests.support.schedule import Groups

    return Groups(config, log)


def pytest_collection_finish() -> None:
    """Set aside what stays until the end, so that the garbage collector does not look at it."""
    gc.enable()
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    """Leave the collector on, also if nothing was collected."""
    gc.enable()


def _interpreted() -> bool:
    from lbproxy import compiled

    return compiled.running() != "compiled"


@pytest.fixture(scope="session")
def interpreted() -> bool:
    """Whether the sources run, so that a test can replace any method."""
    return _interpreted()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark everything under ``live/`` as live; leave out what cannot be tested here."""
    unfit = {"compiled" if _interpreted() else "interpreted"}
    if find_spec("sphinx") is None:
        unfit.add("sphinx")
    fit: list[pytest.Item] = []
    left_out: list[pytest.Item] = []
    for item in items:
        if LIVE in item.path.parents:
            item.add_marker(pytest.mark.live)
        marks = {mark.name for mark in item.iter_markers()}
        (left_out if unfit & marks else fit).append(item)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = fit


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where everything is installed, a skipped test is a failed one."""
    report = yield
    return _strict(report)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """And so is a skipped module."""
    report = yield
    return _strict(report)


def _strict(report: Report) -> Report:
    """Turn a skip into a failure if nothing may be skipped."""
    if STRICT and report.skipped and not hasattr(report, "wasxfail"):
        why = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid}: {why} (LBPROXY_REQUIRE_LIVE is 1)"
    return report
