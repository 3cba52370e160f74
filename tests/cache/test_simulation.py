"""The hit ratio of a policy and a size on a log, and what the eviction is worth on a long trace."""

from __future__ import annotations

import json
from bisect import bisect
from collections import OrderedDict
from itertools import accumulate
from pathlib import Path
from random import Random

import pytest
from click.testing import CliRunner

from lbproxy.cache.policy import TTL, Policy, Query
from lbproxy.cache.sieve import Node, Sieve
from lbproxy.cache.simulation import LoggedResponse, Simulation
from lbproxy.cli import main
from lbproxy.decide.hitratio import logged_response


def asked(target: str, at: float = 0.0, status: int = 200, **more: object) -> LoggedResponse:
    return LoggedResponse(at, "GET", "h", target, status, 100, **more)  # type: ignore[arg-type]


def hits(policy: Policy, *requests: LoggedResponse, limit: int = 1 << 20) -> list[bool]:
    run = Simulation(policy, limit, lifetime=60)
    return [run.request(one) for one in requests]


def test_lifetimes_end_hits() -> None:
    assert hits(Policy(), asked("/a"), asked("/a", 59), asked("/a", 61), asked("/a", 100)) == [
        False, True, False, True,
    ]  # fmt: skip
    policy = Policy(ttl=(TTL(5, path="/s*"), TTL(9, type="image/*"), TTL(7, default=True)))
    assert hits(policy, asked("/s"), asked("/s", 4), asked("/s", 6)) == [False, True, False]
    assert hits(policy, asked("/t"), asked("/t", 6), asked("/t", 8)) == [False, True, False]
    assert hits(Policy(negative=2), *(asked("/a", at, 404) for at in (0, 1, 3))) == [
        False, True, False,
    ]  # fmt: skip


def test_what_is_not_stored_is_no_hit() -> None:
    for one in (
        asked("/a", shared=False), asked("/a", status=500), asked("/a", status=206),
        LoggedResponse(0, "POST", "h", "/a", 200, 1), LoggedResponse(0, "GET", "h", "/a", 200, 999),
    ):  # fmt: skip
        assert hits(Policy(max_object=500), one, one) == [False, False]


def test_the_policy_decides_on_queries_and_uses() -> None:
    policy = Policy(query=Query(sort=True, ignore=("utm_*",)))
    assert hits(policy, asked("/a?b=1&a=2&utm_x=3"), asked("/a?a=2&b=1")) == [False, True]
    assert hits(Policy(), asked("/a?b=1"), asked("/a?b=2")) == [False, False]
    assert hits(Policy(min_uses=2), *[asked("/a")] * 4) == [False, False, True, True]


def test_a_larger_cache_evicts_less() -> None:
    requests = [asked(f"/{number % 100}", number / 100) for number in range(1000)]
    small = Simulation(Policy(), 100_000, 1e9)
    large = Simulation(Policy(), 1_000_000, 1e9)
    for one in requests:
        small.request(one)
        large.request(one)
    assert large.result.hits == 900
    assert large.result.evicted == 0
    assert small.result.hits < 900
    assert small.result.evicted > 0
    assert large.result.byte_ratio == large.result.ratio == 0.9


LINES = [
    {"time": "2026-01-01T00:00:00.000Z", "target": "/a", "cache": "miss"},
    {"time": "2026-01-01T00:00:10.000Z", "target": "/a", "cache": "hit"},
    {"time": "2026-01-01T00:00:11.000Z", "target": "/b", "cache": "miss",
     "cache_reason": "uri-miss, not stored: private (RFC 9111)"},
    {"time": "2026-01-01T00:00:12.000Z", "target": "/b", "cache": "bypass"},
]  # fmt: skip


def test_the_command_compares_sizes(tmp_path: Path) -> None:
    common = {"mode": "http", "method": "GET", "host": "h", "status": 200, "bytes_out": 1000}
    log, config = tmp_path / "access.log", tmp_path / "lb.ini"
    clf = '1.2.3.4 - - [01/Jan/2026:00:00:20 +0000] "GET /a HTTP/1.1" 200 1000\n'
    log.write_text("".join(json.dumps({**common, **one}) + "\n" for one in LINES) + clf + "junk\n")
    config.write_text("[cache main]\n[frontend web]\nlisten = tcp:80\ncache = main\nbackend = app\n"
                      "[backend app]\nservers = a 127.0.0.1:1\n")  # fmt: skip
    words = ["cache", "replay", str(log), "-c", str(config), "--cache", "main", "--host", "h"]
    result = CliRunner().invoke(main, [*words, "--size", "64k", "--size", "1m", "--json"])
    assert result.exit_code == 0, result.output
    small, large = json.loads(result.output)
    assert (small["size"], large["size"]) == (65536, 1048576)
    assert (large["requests"], large["cacheable"], large["hits"]) == (5, 3, 2)
    assert large["hit_ratio"] == 0.4
    assert "40.0%" in CliRunner().invoke(main, words).output
    for wrong in (["--size", "1k"], ["--size", "x"]):
        assert CliRunner().invoke(main, [*words, *wrong]).exit_code == 2
    words[words.index("main")] = "other"
    assert "there is no [cache other]" in CliRunner().invoke(main, words).output


@pytest.mark.parametrize(
    "line", ["", "{", "[]", '{"mode": "tcp"}', 'a - - [x] "GET / HTTP/1.1" 200 1']
)
def test_lines_that_are_no_responses(line: str) -> None:
    assert logged_response(line) is None


class Stored(Node):
    """An object of the trace."""

    def __init__(self, name: int) -> None:
        super().__init__()
        self.name = name


def ratios(objects: int, requests: int) -> tuple[float, float]:
    """The hit ratios of SIEVE and LRU on a Zipf trace (0.9) with 1 % of the bytes of all."""
    random = Random(1)
    sums = list(accumulate(1 / (rank**0.9) for rank in range(1, objects + 1)))
    sizes = [random.choice((500, 2000, 8000, 64_000)) for _ in range(objects)]
    limit = sum(sizes) // 100
    sieve: Sieve[Stored] = Sieve()
    held: dict[int, Stored] = {}
    lru: OrderedDict[int, None] = OrderedDict()
    used = [0, 0]
    found = [0, 0]
    for _ in range(requests):
        name = bisect(sums, random.random() * sums[-1])
        node = held.get(name)
        if node is not None:
            node.used = True
            found[0] += 1
        else:
            used[0] += sizes[name]
            while used[0] > limit and (victim := sieve.victim()) is not None:
                sieve.remove(victim)
                del held[victim.name]
                used[0] -= sizes[victim.name]
            held[name] = Stored(name)
            sieve.add(held[name])
        if name in lru:
            lru.move_to_end(name)
            found[1] += 1
        else:
            used[1] += sizes[name]
            while used[1] > limit and lru:
                used[1] -= sizes[lru.popitem(last=False)[0]]
            lru[name] = None
    return found[0] / requests, found[1] / requests


@pytest.mark.parametrize(
    ("objects", "requests"),
    [(10_000, 50_000), pytest.param(1_000_000, 5_000_000, marks=pytest.mark.long)],
)
def test_eviction_is_better_than_lru_on_a_skewed_trace(objects: int, requests: int) -> None:
    sieve, lru = ratios(objects, requests)
    print(f"{objects:,} objects, {requests:,} requests: SIEVE {sieve:.1%}, LRU {lru:.1%}")
    assert sieve >= lru + 0.03
