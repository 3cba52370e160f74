"""No exception of somebody's code ends the process or stops its traffic, whatever its class."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher

from lbproxy.net.timers import TimerWheel
from lbproxy.testing import LB

FILTER = """
from lbproxy.balance.roundrobin import RoundRobin
from lbproxy.http.filter import Filter

class Bad(Filter):
    name = "bad"
    def {phase}(self, exchange):
        if exchange.request.path == b"/bad":
            raise {error}("on purpose")

class Later(Filter):
    name = "later"
    async def {phase}(self, exchange):
        if exchange.request.path == b"/bad":
            raise {error}("on purpose")

class Balancer(RoundRobin):
    name = "bad"
    def pick(self, context, avoid):
        raise {error}("on purpose")
"""

TEXT = """
[frontend web]
listen = tcp:8080
backend = app
filters = {folder}/bad.py:{name}
[backend app]
balance = {balance}
servers = a 10.0.0.1:80
"""

ERRORS = ["SystemExit", "KeyboardInterrupt", "GeneratorExit", "RecursionError", "MemoryError"]


@pytest.fixture
def failures() -> Iterator[list[Any]]:
    found: list[Any] = []

    def observe(event: Any) -> None:
        if event.get("log_failure") is not None:
            found.append(event["log_failure"])

    globalLogPublisher.addObserver(observe)
    yield found
    globalLogPublisher.removeObserver(observe)


def lb(folder: Path, name: str, phase: str, error: str, balance: str = "roundrobin") -> Any:
    (folder / "bad.py").write_text(FILTER.format(phase=phase, error=error))
    made = LB.from_config(TEXT.format(folder=folder, name=name, balance=balance))
    made.origin("a", "10.0.0.1:80")
    return made


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("phase", ["early", "request", "server_request", "response"])
def test_a_filter_that_raises_fails_its_own_request(
    tmp_path: Path, phase: str, error: str, failures: list[Any]
) -> None:
    made = lb(tmp_path, "Bad", phase, error)
    assert made.get("http://h:8080/bad").status == 500
    assert made.get("http://h:8080/").status == 200
    assert made.service.frontend("web").counters.closes
    made.close()


@pytest.mark.parametrize("error", ["SystemExit", "RecursionError"])
def test_so_does_an_asynchronous_one(tmp_path: Path, error: str, failures: list[Any]) -> None:
    made = lb(tmp_path, "Later", "request", error)
    assert made.get("http://h:8080/bad").status == 500
    assert made.get("http://h:8080/").status == 200
    made.close()


@pytest.mark.parametrize("error", ERRORS)
def test_the_end_of_a_request_is_the_end(tmp_path: Path, error: str, failures: list[Any]) -> None:
    made = lb(tmp_path, "Bad", "finish", error)
    assert [made.get(f"http://h:8080/{path}").status for path in ("bad", "bad", "")] == [200] * 3
    made.close()


@pytest.mark.parametrize("error", ["SystemExit", "KeyboardInterrupt"])
def test_a_balancer_costs_evenness_only(tmp_path: Path, error: str, failures: list[Any]) -> None:
    made = lb(tmp_path, "Bad", "finish", error, balance=f"{tmp_path}/bad.py:Balancer")
    assert made.get("http://h:8080/").status == 200
    assert made.backend("app").group.balancer_errors == 1
    made.close()


def test_timers_go_on(failures: list[Any]) -> None:
    clock = Clock()
    wheel = TimerWheel(clock)
    rang: list[int] = []

    def leave() -> None:
        raise SystemExit(1)

    for call in (leave, lambda: rang.append(1)):
        wheel.timer(call).set(1.0)
    clock.pump([0.05] * 30)
    assert rang == [1] and len(failures) == 1
