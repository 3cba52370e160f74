"""Lines of the process log are limited by kind."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.logger import Logger, formatEvent

from lbproxy.proxy import ratelog
from lbproxy.proxy.ratelog import Quiet
from lbproxy.testing import LoadBalancerFixture

TEXT = """\
[frontend one]
listen = tcp:8080
filters = tests.proxy.test_ratelog:Broken
backend = app
[frontend two]
listen = tcp:8081
filters = tests.proxy.test_ratelog:Broken
backend = app
[backend app]
servers = a 10.0.0.1:80
"""


class Broken:
    """A filter whose last phase fails."""

    def __init__(self, options: Any, env: Any) -> None:
        """No options."""

    def finish(self, exchange: Any) -> None:
        raise RuntimeError("broken")


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is written, while the clock stands still."""
    written: list[str] = []
    monkeypatch.setattr(ratelog, "monotonic", lambda: 100.0)
    return written


def _quiet(lines: list[str]) -> Quiet:
    return Quiet(Logger("test", observer=lambda event: lines.append(formatEvent(event))))


def test_each_kind_counts_its_own(lines: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    quiet = _quiet(lines)
    for kind in ("a", "a", "b", "a"):
        quiet.warn(kind, "{kind} failed", kind=kind)
    monkeypatch.setattr(ratelog, "monotonic", lambda: 102.0)
    quiet.warn("b", "b failed")
    quiet.warn("a", "a failed")
    assert lines == ["a failed", "b failed", "b failed", "a failed (2 more of these not shown)"]


def test_many_kinds_do_not_end_the_limit_of_a_recent_one(lines: list[str]) -> None:
    quiet = _quiet(lines)
    for n in range(300):
        quiet.warn(str(n), "{n}", n=n)
    quiet.warn("299", "again")
    assert len(lines) == 300
    assert len(quiet._seen) == ratelog._KINDS


def test_frontends_are_kinds_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds: list[str] = []
    monkeypatch.setattr(Quiet, "failure", lambda self, kind, *_, **__: kinds.append(kind))
    with LoadBalancerFixture.from_config(TEXT) as lb:
        lb.origin("a", "10.0.0.1:80")
        lb.get("http://x/", frontend="one")
        lb.get("http://x/", frontend="two")
    assert len(set(kinds)) == 2, kinds
