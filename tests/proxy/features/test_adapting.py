"""``adaptive_concurrency`` of a backend, on the virtual clock."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lbproxy.config.errors import ConfigErrors
from lbproxy.registry import parse_config
from lbproxy.testing import LB
from lbproxy.testing.origin import Answer

TEXT = """
[frontend web]
listen = tcp:8080
access_log = mem.log json
routes =
    path /good -> app priority=-9
    path /bad  -> app priority=9
    default    -> app

[backend app]
adaptive_concurrency = yes
adaptive_min = 4
adaptive_max = {most}
servers = a 10.0.0.1:80
"""


def _lb(most: int = 10, after: float = 0.1) -> LB:
    lb = LB.from_config(TEXT.format(most=most))
    lb.origin("a", "10.0.0.1:80", lambda request: Answer(body=b"ok", after=after))
    return lb


def _feature(lb: LB) -> Any:
    return lb.backend("app").features["adaptive_concurrency"]


def _begin(lb: LB, path: str = "/", count: int = 1) -> list[Any]:
    return [lb.begin("GET", f"http://a.test:8080{path}") for _ in range(count)]


def _statuses(pending: list[Any]) -> list[int]:
    return [one.wait(60).status for one in pending]


def test_requests_beyond_the_limit_are_refused_with_503() -> None:
    lb = _lb()
    pending = _begin(lb, count=13)
    lb.advance(0)
    assert _feature(lb).gradient.active == 10
    assert sorted(_statuses(pending)) == [200] * 10 + [503] * 3
    records = [json.loads(line) for line in lb.log_lines()]
    assert [one["close"] for one in records].count("shed") == 3
    assert _feature(lb).snapshot()["adaptive_refused"] == 3
    assert _feature(lb).gradient.active == 0
    lb.close()


def test_priorities_share_the_limit() -> None:
    lb = _lb()
    pending = _begin(lb, "/bad", 8)
    lb.advance(0)
    assert _feature(lb).gradient.active == 5, "the worst have half of the limit"
    pending += _begin(lb, "/", 8)
    lb.advance(0)
    assert _feature(lb).gradient.active == 10
    pending += _begin(lb, "/good", 8)
    lb.advance(0)
    assert _feature(lb).gradient.active == 15, "the best have one and a half"
    lb.advance(1)
    assert _feature(lb).gradient.active == 0
    lb.close()


def test_a_server_that_becomes_slow_lowers_the_limit() -> None:
    lb = _lb(most=100)
    for _ in range(30):
        _statuses(_begin(lb, count=10))
    gradient = _feature(lb).gradient
    assert gradient.base == pytest.approx(0.1, rel=0.2)
    before = gradient.limit
    lb.origins["a"].handler = lambda request: Answer(body=b"ok", after=1.0)
    for _ in range(20):
        _statuses(_begin(lb, count=20))
    assert gradient.limit < before / 2
    assert gradient.limit >= 4
    lb.close()


def test_what_times_out_is_measured_and_given_back() -> None:
    lb = _lb()
    lb.origins["a"].hang()
    for _ in range(2):
        assert 504 in _statuses(_begin(lb, count=10))
    gradient = _feature(lb).gradient
    assert gradient.active == 0
    assert gradient.recent > 10
    lb.close()


def test_clients_that_leave_give_their_places_back() -> None:
    lb = _lb(after=30.0)
    pending = _begin(lb, count=6)
    lb.advance(0)
    for one in pending:
        one.client.abort()
    lb.advance(1)
    assert _feature(lb).gradient.active == 0
    lb.close()


def test_a_reload_keeps_what_was_learnt_unless_its_keys_change() -> None:
    lb = _lb()
    first = _feature(lb)
    assert lb.service.reload(parse_config(TEXT.format(most=10) + "timeout_queue = 7s\n")).ok
    assert _feature(lb) is first
    pending = _begin(lb, count=4)
    lb.advance(0)
    assert lb.service.reload(parse_config(TEXT.format(most=50))).ok
    assert _feature(lb) is not first
    assert _statuses(pending) == [200] * 4
    assert first.gradient.active == 0, "what began under the old one ends there"
    assert lb.service.reload(parse_config(TEXT.format(most=50).replace("= yes", "= no"))).ok
    assert "adaptive_concurrency" not in lb.backend("app").features
    lb.close()


def test_bounds_that_exclude_each_other_are_an_error() -> None:
    with pytest.raises(ConfigErrors, match="adaptive_min"):
        LB.from_config(TEXT.format(most=3))


def test_it_is_off_by_default() -> None:
    lb = LB.from_config(TEXT.format(most=10).replace("adaptive_concurrency = yes\n", ""))
    assert "adaptive_concurrency" not in lb.backend("app").features
    lb.close()
