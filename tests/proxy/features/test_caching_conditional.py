"""HEAD and conditional requests that stored responses answer: no server, and counted as hits."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lbproxy.testing import LB, LoadBalancerFixture, MemoryReactor
from lbproxy.testing.origin import Answer
from lbproxy.testing.redis import FakeRedis

CONFIG = """
[shared]
redis = redis://10.0.0.9/0
[cache main]
{cache}
[frontend web]
listen = tcp:80
cache = main
access_log = log json
backend = app
[backend app]
servers = a 10.0.0.1:80
"""
STORED = {
    "Cache-Control": "max-age=60",
    "ETag": '"1"',
    "Last-Modified": "Thu, 01 Jan 1970 00:00:00 GMT",
    "Content-Type": "text/plain",
}
KINDS = ["memory", "disk", "memory and disk", "redis"]


class Stored:
    """A load balancer that has a response of ``size`` bytes in a store of the given ``kind``."""

    def __init__(self, kind: str, folder: Path, size: int) -> None:
        self.reactor = MemoryReactor()
        FakeRedis(self.reactor, "10.0.0.9:6379").start()
        line = {
            "memory": "memory = 16m",
            "disk": f"disk = {folder} 64m",
            "memory and disk": f"memory = 16m\ndisk = {folder} 64m",
            "redis": "redis = yes",
        }[kind]
        text = CONFIG.format(cache=line)
        self.lbs = [self.start(text)]
        self.origin = self.lbs[0].origin("a", "10.0.0.1:80", Answer(200, b"x" * size, STORED))
        self.reactor.advance(1)
        assert self.lb.get("http://h/a").status == 200
        self.reactor.advance(1)
        if kind == "redis":  # another node, whose memory is empty
            self.lbs.append(self.start(text.replace("tcp:80", "tcp:81")))
            self.reactor.advance(1)
        self.port = 81 if kind == "redis" else 80

    def start(self, text: str) -> LoadBalancerFixture:
        return LB.from_config(text, reactor=self.reactor)

    @property
    def lb(self) -> LoadBalancerFixture:
        return self.lbs[-1]

    @property
    def counters(self) -> Any:
        return self.lb.service.caches["main"].counters

    def ask(self, method: str, **headers: str) -> Any:
        fields = {"Host": "h", **{name.replace("_", "-"): one for name, one in headers.items()}}
        return self.lb.request(method, f"http://a.test:{self.port}/a", headers=fields)

    def close(self) -> None:
        for one in self.lbs:
            one.close()


@pytest.fixture(params=KINDS)
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stored]:
    made = Stored(request.param, tmp_path / "cache", 1000)
    yield made
    made.close()


ASKED: list[tuple[str, dict[str, str], int]] = [
    ("HEAD", {}, 200),
    ("HEAD", {"If_None_Match": '"1"'}, 304),
    ("GET", {"If_None_Match": 'W/"1"'}, 304),
    ("GET", {"If_None_Match": "*"}, 304),
    ("GET", {"If_Modified_Since": "Thu, 01 Jan 1970 00:00:00 GMT"}, 304),
    ("GET", {"If_None_Match": '"2"'}, 200),
]


@pytest.mark.parametrize(("method", "headers", "status"), ASKED)
def test_a_hit_without_a_body(
    stored: Stored, method: str, headers: dict[str, str], status: int
) -> None:
    before = stored.counters.bytes
    for hits in (1, 2):  # in redis, the second comes from memory
        found = stored.ask(method, **headers)
        whole = method == "GET" and status == 200
        assert (found.status, len(found.body)) == (status, 1000 if whole else 0)
        assert found.header("Content-Length") == ("1000" if status == 200 else "")
        assert found.header("ETag") == '"1"'
        assert "hit" in found.header("Cache-Status")
        counters = stored.counters
        assert (counters.hits, counters.bytes - before) == (hits, hits * 1000 * whole)
        line = json.loads(stored.lb.log_lines()[-1])
        shown = line["method"], line["status"], line["cache"], line["server"]
        assert shown == (method, status, "hit", "")
    assert len(stored.origin.requests) == 1
    assert (stored.counters.bypassed, stored.counters.misses) == (0, len(stored.lbs) % 2)
