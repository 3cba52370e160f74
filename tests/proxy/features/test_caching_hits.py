"""The short path of hits answers as the rules do: the same requests with it and without it."""

from __future__ import annotations

import json
from tempfile import TemporaryDirectory
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbproxy.cache.purge import Purge
from lbproxy.cache.ready import HitRules
from lbproxy.proxy.features.caching.counters import CacheCounters
from lbproxy.proxy.features.caching.source import CacheSource
from lbproxy.testing import LB, LoadBalancerFixture, Response
from lbproxy.testing.origin import Answer, Request
from tests.support.purging import purged

TEXT = """
[cache main]
memory = 1m
{cache}
[frontend web]
listen = tcp:80
access_log = access.log json
cache = main
{frontend}
backend = app
[backend app]
servers = a 10.0.0.1:80
"""

POLICIES: Final = (
    ("", ""),
    ("cache_status = false", ""),
    ("query = sort ignore=utm_*", ""),
    ("cookies = ignore _ga*, key lang, bypass login", ""),
    ("bypass = header X-Skip", ""),
    ("key = {host} {path}", ""),
    ("client_no_cache = ignore\ngrace = 10s", ""),
    ("", "filters =\n    set-header request X-Seen yes"),
    ("", "filters =\n    remove-header request X-Skip"),
    ("", "via = none\nserver_header = remove"),
)

ANSWERS: Final[dict[str, tuple[int, bytes, dict[str, str]]]] = {
    "/public": (200, b"public", {"Cache-Control": "public, max-age=60", "ETag": '"v1"'}),
    "/own": (200, b"own", {"Cache-Control": "max-age=60", "ETag": 'W/"v1"', "Age": "5"}),
    "/varied": (200, b"varied", {"Cache-Control": "public, max-age=60", "Vary": "Accept-Encoding"}),
    "/lang": (200, b"lang", {"Cache-Control": "max-age=60", "Vary": "Accept-Language, X-Skip"}),
    "/short": (200, b"short", {"Cache-Control": "public, max-age=2, stale-while-revalidate=9"}),
    "/ask": (200, b"ask", {"Cache-Control": "public, no-cache", "ETag": '"v1"'}),
    "/gone": (404, b"gone", {"Cache-Control": "public, max-age=60", "ETag": '"v1"'}),
    "/moved": (301, b"", {"Cache-Control": "public, max-age=60", "Location": "/public"}),
    "/empty": (204, b"", {"Cache-Control": "public, max-age=60"}),
    "/dated": (
        200,
        b"dated",
        {"Cache-Control": "public, max-age=60", "Last-Modified": "Sat, 28 Nov 2020 12:00:00 GMT"},
    ),
    "/large": (200, b"x" * 70_000, {"Cache-Control": "public, max-age=60"}),
    "/search": (
        200,
        b"search",
        {"Cache-Control": "public, max-age=60", "No-Vary-Search": 'params=("a")'},
    ),
    "/hop": (
        200,
        b"hop",
        {
            "Cache-Control": "public, max-age=60",
            "Connection": "X-Hop",
            "X-Hop": "1",
            "Via": "1.1 o",
        },
    ),
}

LINES: Final = (
    ("Cookie", "lang=de"),
    ("Cookie", "_ga=1; other=2"),
    ("Cookie", "login=me"),
    ("Cookie", ";"),
    ("If-None-Match", '"v1"'),
    ("If-None-Match", 'W/"v1"'),
    ("If-None-Match", '"v0", "v11"'),
    ("If-None-Match", "*"),
    ("If-None-Match", "v1"),
    ("If-Modified-Since", "Sat, 28 Nov 2026 12:00:00 GMT"),
    ("Range", "bytes=1-2"),
    ("Cache-Control", "max-age=0"),
    ("Cache-Control", "max-age=3"),
    ("Cache-Control", "no-store"),
    ("Cache-Control", "only-if-cached"),
    ("Pragma", "no-cache"),
    ("Authorization", "Basic eDp5"),
    ("X-HTTP-Method-Override", "DELETE"),
    ("X-Original-URL", "/admin"),
    ("Accept-Encoding", "gzip, br"),
    ("Accept-Encoding", "br;q=1, gzip"),
    ("Accept-Encoding", "identity"),
    ("Accept-Language", "de, en"),
    ("X-Skip", "1"),
    ("Connection", "X-Skip"),
)

requests = st.tuples(
    st.sampled_from(["GET"] * 6 + ["HEAD", "POST"]),
    st.sampled_from(sorted(ANSWERS)),
    st.sampled_from(["", "", "", "?a=1", "?utm_x=1&b=2"]),
    st.lists(st.sampled_from(LINES), max_size=2),
)
steps = st.lists(
    st.one_of(
        requests,
        requests,
        requests,
        st.integers(1, 40),
        st.tuples(st.just("purge"), st.booleans()),
    ),
    min_size=2,
    max_size=20,
)


def begin(policy: tuple[str, str], disk: str = "") -> LoadBalancerFixture:
    cache, frontend = policy
    lb = LB.from_config(TEXT.format(cache=f"{cache}\n{disk}", frontend=frontend))

    def handle(request: Request) -> Answer:
        status, body, headers = ANSWERS[request.path.partition("?")[0]]
        return Answer(status, body, headers)

    lb.origin("a", "10.0.0.1:80", handle)
    return lb


def said(response: Response) -> tuple[int, list[tuple[str, str]], bytes]:
    return response.status, list(response.headers), response.body


def counted(counters: CacheCounters) -> dict[str, float]:
    names = [name for name in dir(counters) if not name.startswith("_")]
    found = {name: getattr(counters, name) for name in names}
    return {name: count for name, count in found.items() if isinstance(count, int | float)}


def facts(lb: LoadBalancerFixture) -> list[Any]:
    cache = lb.service.caches["main"]
    lines = [json.loads(line) for line in lb.log_lines()]
    for one in lines:
        del one["request_id"], one["client_port"]
    return [
        counted(cache.counters),
        cache.reasons.dump(),
        sorted(e.hits for e in cache.memory),
        lines,
    ]


def run(lb: LoadBalancerFixture, made: list[Any]) -> list[Any]:
    found: list[Any] = []
    for one in made:
        if isinstance(one, int):
            lb.advance(one)
        elif one[0] == "purge":
            cache = lb.service.caches["main"]
            found.append(purged(cache, Purge("prefix", b"http://h/"), one[1]))
        else:
            method, path, query, lines = one
            body = b"" if method == "POST" else None
            found.append(
                said(lb.request(method, f"http://h{path}{query}", headers=lines, body=body))
            )
    return [*found, facts(lb)]


@settings(max_examples=60)
@given(st.sampled_from(POLICIES), steps)
def test_the_short_path_answers_as_the_rules_do(policy: tuple[str, str], steps: list[Any]) -> None:
    with begin(policy) as quick, begin(policy) as plain:
        plain.service.caches["main"].hit_rules = HitRules(False, False, True, None)
        assert run(quick, steps) == run(plain, steps)


def run_in_files(lb: LoadBalancerFixture, made: list[Any]) -> list[Any]:
    """Run the steps. After each, everything is written, and removed from memory."""
    found: list[Any] = []
    for one in made:
        found.append(run(lb, [one])[:-1])
        lb.advance(0.01)
        memory = lb.service.caches["main"].memory
        for entry in list(memory):
            memory.discard(entry)
    counters = counted(lb.service.caches["main"].counters)
    del counters["loads"], counters["load_seconds"]
    return [*found, counters]


@settings(max_examples=30)
@given(st.sampled_from(POLICIES), steps)
def test_hits_of_files_answer_as_the_rules_do(policy: tuple[str, str], steps: list[Any]) -> None:
    with (
        TemporaryDirectory() as one,
        TemporaryDirectory() as other,
        begin(policy, f"disk = {one} 64m") as quick,
        begin(policy, f"disk = {other} 64m") as plain,
    ):
        plain.service.caches["main"].hit_rules = HitRules(False, False, True, None)
        assert run_in_files(quick, steps) == run_in_files(plain, steps)


@pytest.mark.long
@given(st.sampled_from(POLICIES), steps)
def test_many_sequences_are_answered_as_by_the_rules(
    policy: tuple[str, str], steps: list[Any]
) -> None:
    test_the_short_path_answers_as_the_rules_do.hypothesis.inner_test(policy, steps)


PLAIN: Final[list[dict[str, str]]] = [
    {},
    {"Cookie": "a=1"},
    {"If-None-Match": '"v0"', "Cookie": "a=1"},
    {"Accept-Encoding": "gzip", "Accept-Language": "de"},
]


@pytest.mark.parametrize("path", ["/public", "/varied", "/gone", "/moved", "/hop", "/large"])
def test_plain_hits_take_the_short_path(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with begin(("", "")) as lb:
        lb.get("http://h/search")  # No-Vary-Search, which concerns its own path alone
        seen = []
        for headers in PLAIN:
            lb.get(f"http://h{path}", headers=headers)
        for name in ("begin", "begin_plain"):
            whole = getattr(CacheSource, name)
            monkeypatch.setattr(
                CacheSource,
                name,
                lambda self, *given, whole=whole: seen.append(given) or whole(self, *given),
            )
        for headers in PLAIN:
            found = lb.get(f"http://h{path}", headers=headers)
            assert found.header("Cache-Status").startswith("main; hit")
        assert not seen
        lb.get(f"http://h{path}", headers={"Cache-Control": "max-age=1"})
        assert len(seen) == 1
