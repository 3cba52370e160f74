"""What operators see of a cache: access log, reasons, waits, and the most used objects."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from lbproxy.proxy.features.caching.shown import stats_of, top_of
from lbproxy.testing import LB, LoadBalancerFixture
from lbproxy.testing.origin import Answer, Request
from lbproxy.workers.aggregate import Totals, report_of

TEXT = """
[cache main]
grace = 1h
purge_from = 203.0.113.0/24
bypass = path /admin/*
[frontend web]
listen = tcp:80
cache = main
access_log = access.log json
backend = app
[backend app]
servers = a 10.0.0.1:80
"""
MINUTE = {"Cache-Control": "max-age=60", "ETag": '"v1"'}


@pytest.fixture
def lb() -> Iterator[LoadBalancerFixture]:
    made = LB.from_config(TEXT)
    yield made
    made.close()


def logged(lb: LoadBalancerFixture) -> list[tuple[str, str, int | None]]:
    lines = [json.loads(line) for line in lb.log_lines()]
    return [(one["cache"], one["cache_reason"], one["cache_age"]) for one in lines]


def test_the_access_log_says_what_the_cache_did(lb: LoadBalancerFixture) -> None:
    def handle(request: Request) -> Any:
        if request.header_values("If-None-Match"):
            return Answer(304, b"", MINUTE)
        if request.target == "/private":
            return Answer(200, b"x", {"Cache-Control": "private"})
        return Answer(200, b"one", {**MINUTE, "Vary": "Accept"})

    origin = lb.origin("a", "10.0.0.1:80", handle)
    lb.get("http://h/a")
    lb.advance(7)
    lb.get("http://h/a")
    lb.get("http://h/a", headers={"Accept": "x"})
    lb.advance(60)
    lb.get("http://h/a")
    lb.get("http://h/private")
    lb.get("http://h/admin/x")
    lb.request("POST", "http://h/a")
    lb.get("http://h/other", headers={"Cache-Control": "only-if-cached"})
    lb.request("PURGE", "http://h/none", client="203.0.113.9")
    lb.get("http://h/b")
    origin.stop()
    lb.advance(61)
    lb.get("http://h/b")
    assert logged(lb) == [
        ("miss", "uri-miss", None),
        ("hit", "", 7),
        ("miss", "vary-miss", None),
        ("revalidated", "", 0),
        ("miss", "uri-miss, not stored: private (RFC 9111 §5.2.2.7)", None),
        ("bypass", "bypass", None),
        ("bypass", "method", None),
        ("refused", "only-if-cached", None),
        ("purge", "", None),
        ("miss", "uri-miss", None),
        ("stale", "connect_failed, grace", 61),
    ]


def test_reasons_are_counted(lb: LoadBalancerFixture) -> None:
    answers = {"/b": Answer(200, b"x", {"Set-Cookie": "a=b", **MINUTE}), "/c": Answer(418, b"x")}

    def handle(request: Request) -> Any:
        return answers.get(request.target, Answer(200, b"one", MINUTE))

    lb.origin("a", "10.0.0.1:80", handle)
    for path in ("a", "a", "b", "c", "admin/x"):
        lb.get(f"http://h/{path}")
    found = stats_of(lb.service.caches["main"])
    assert found["reasons"] == {
        "misses": {"uri-miss": 3},
        "bypassed": {"bypass": 1},
        "not_stored": {"Set-Cookie": 1, "status": 1},
    }
    assert (found["bytes_served"], found["bytes_saved"], found["hit_ratio"]) == (3, 3, 0.25)


def test_waits_and_bytes_of_shared_fetches_are_counted(lb: LoadBalancerFixture) -> None:
    lb.origin("a", "10.0.0.1:80", Answer(200, b"12345", MINUTE, after=2.0))
    cache = lb.service.caches["main"]
    pending = [lb.begin("GET", "http://h/a") for _ in range(3)]
    lb.advance(1)
    assert stats_of(cache)["waiting"] == 2
    assert [one.wait().body for one in pending] == [b"12345"] * 3
    found = stats_of(cache)
    assert (found["waiting"], found["waited"], found["collapsed"]) == (0, 2, 2)
    assert found["wait_seconds"] == pytest.approx(4, abs=0.1)
    assert (found["bytes_served"], found["bytes_saved"]) == (0, 10)
    assert [one[0] for one in logged(lb)] == ["miss", "collapsed", "collapsed"]


def test_the_master_shows_the_sum_of_its_workers(lb: LoadBalancerFixture) -> None:
    lb.origin("a", "10.0.0.1:80", Answer(200, b"one", MINUTE))
    for path in ("a", "a", "b", "admin/x"):
        lb.get(f"http://h/{path}")
    report = report_of(lb.service)
    with LB.from_config(TEXT) as master:
        totals = Totals(master.service)
        totals.received(1, report)
        totals.received(2, report)
        totals.write()
        cache = master.service.caches["main"]
        found = stats_of(cache)
        assert (found["hits"], found["misses"], found["bypassed"]) == (2, 4, 2)
        assert found["reasons"]["misses"] == {"uri-miss": 4}
        assert cache.remote_top == {"http://h/a": [2, 3]}


def test_the_most_used_objects(lb: LoadBalancerFixture) -> None:
    lb.origin("a", "10.0.0.1:80", Answer(200, b"one", MINUTE))
    for path, count in (("a", 4), ("b", 2), ("c", 1)):
        for _ in range(count):
            lb.get(f"http://h/{path}")
    assert top_of(lb.service.caches["main"]) == {"http://h/a": [3, 3], "http://h/b": [1, 3]}
