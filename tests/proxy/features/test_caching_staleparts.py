"""Stale parts: served while the server fails, or while they are refreshed (RFC 5861)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lbproxy.cache.purge import Purge
from lbproxy.proxy.features.caching.keepparts import SMALL
from lbproxy.testing import LB, LoadBalancerFixture, Response
from lbproxy.testing.origin import Answer, Request
from tests.support.caching import cache_of, config_with
from tests.support.purging import purged

BODY = bytes(range(256)) * 4
SIE = "max-age=60, stale-if-error=600"
SWR = "max-age=60, stale-while-revalidate=600"


class Server:
    """A server that obeys Range, or answers with ``instead``."""

    def __init__(self, lb: LoadBalancerFixture, control: str, body: bytes = BODY) -> None:
        self.headers = {"Cache-Control": control, "ETag": '"1"'}
        self.body = body
        self.instead: Answer | None = None
        self.origin = lb.origin("a", "10.0.0.1:80", self.answer)

    def answer(self, request: Request) -> Answer:
        if self.instead is not None:
            return self.instead
        asked = request.header("Range")
        if not asked or "," in asked:
            return Answer(200, self.body, self.headers)
        first, last = map(int, asked.removeprefix("bytes=").split("-"))
        shown = {"Content-Range": f"bytes {first}-{last}/{len(self.body)}"}
        return Answer(206, self.body[first : last + 1], {**self.headers, **shown})

    @property
    def count(self) -> int:
        return len(self.origin.requests)


@pytest.fixture
def lb() -> Iterator[LoadBalancerFixture]:
    with started() as made:
        yield made


def started(cache: str = "memory = 16m") -> LoadBalancerFixture:
    return LB.from_config(config_with(cache, backend="retries = 0\ntimeout_response = 5s"))


def fields(span: str, more: dict[str, str]) -> dict[str, str]:
    named = {name.replace("_", "-"): value for name, value in more.items()}
    return {"Range": f"bytes={span}", **named} if span else named


def ask(lb: LoadBalancerFixture, span: str, **more: str) -> Response:
    return lb.get("http://h/a", headers=fields(span, more))


def said(response: Response) -> str:
    return str(response.header("Cache-Status")).removeprefix("main; ")


FAILED: list[tuple[Answer, str]] = [
    (Answer(500, b"no"), "status 500"),
    (Answer(502, b"no"), "status 502"),
    (Answer(503, b"no"), "status 503"),
    (Answer(504, b"no", {"Cache-Control": "max-age=600"}), "status 504"),
    (Answer(raw=b"", close=True), "server_gone"),
    (Answer(200, b"late", after=60.0), "response_timeout"),
]


@pytest.mark.parametrize(("failed", "why"), FAILED)
def test_stale_parts_answer_while_the_server_fails(
    lb: LoadBalancerFixture, failed: Answer, why: str
) -> None:
    server = Server(lb, SIE)
    ask(lb, "0-99")
    ask(lb, "200-299")
    lb.advance(70)
    server.instead = failed
    for _ in range(2):
        found = lb.begin("GET", "http://h/a", headers={"Range": "bytes=10-19"}).wait(30)
        assert (found.status, found.body) == (206, BODY[10:20])
        assert found.header("Content-Range") == "bytes 10-19/1024"
        assert said(found).endswith(f'detail="{why}, stale-if-error"')
        assert said(found).startswith("hit; ttl=-")
    assert cache_of(lb).counters.stale == 2
    for missing in ("50-250", "300-399"):
        failure = lb.begin("GET", "http://h/a", headers={"Range": f"bytes={missing}"}).wait(30)
        assert failure.status >= 500 or failure.body == b"late"
    lb.advance(600)
    assert lb.begin("GET", "http://h/a", headers={"Range": "bytes=0-9"}).wait(30).status >= 500


def test_stale_parts_answer_without_a_server(lb: LoadBalancerFixture) -> None:
    server = Server(lb, SIE)
    ask(lb, "0-99")
    lb.advance(70)
    server.origin.stop()
    assert (ask(lb, "0-9").body, ask(lb, "0-100").status) == (BODY[:10], 502)
    assert ask(lb, "0-9", Cookie="a=b").status == 502


RULES = [
    ("", "max-age=60", False),
    ("grace = 10m", "max-age=60", True),
    ("grace = 10m", "s-maxage=60", False),
    ("", "s-maxage=60, stale-if-error=600", True),
    ("grace = 10m", f"{SIE}, must-revalidate", False),
    ("grace = 10m", f"{SIE}, proxy-revalidate", False),
    ("grace = 10m", f"{SIE}, no-cache", False),
]


@pytest.mark.parametrize(("policy", "control", "served"), RULES)
def test_the_rules_of_whole_responses_hold_for_parts(
    policy: str, control: str, served: bool
) -> None:
    with started(f"memory = 16m\n{policy}") as lb:
        server = Server(lb, control)
        ask(lb, "0-99")
        lb.advance(70)
        server.instead = Answer(503, b"no")
        assert ask(lb, "0-9").status == (206 if served else 503)


def test_all_who_wait_for_a_part_get_the_stale_one(lb: LoadBalancerFixture) -> None:
    server = Server(lb, SIE)
    ask(lb, "0-99")
    lb.advance(70)
    server.instead = Answer(503, b"no", after=1.0)
    waiting = [lb.begin("GET", "http://h/a", headers={"Range": "bytes=0-9"}) for _ in range(5)]
    assert [one.wait(5).body for one in waiting] == [BODY[:10]] * 5
    assert server.count == 2
    assert not cache_of(lb).fetches


def test_a_purge_during_the_fetch_forbids_stale_parts(lb: LoadBalancerFixture) -> None:
    server = Server(lb, SIE)
    ask(lb, "0-99")
    lb.advance(70)
    server.instead = Answer(503, b"no", after=1.0)
    waiting = lb.begin("GET", "http://h/a", headers={"Range": "bytes=0-9"})
    lb.advance(0.5)
    purged(cache_of(lb), Purge("all"))
    assert waiting.wait(5).status == 503


@pytest.mark.parametrize("how", ["client_no_cache = obey", "refresh = header Cache-Control"])
def test_who_demands_a_new_response_gets_no_stale_part(how: str) -> None:
    with started(f"memory = 16m\n{how}") as lb:
        server = Server(lb, SIE)
        ask(lb, "0-99")
        lb.advance(70)
        server.instead = Answer(503, b"no")
        assert ask(lb, "0-9", Cache_Control="no-cache").status == 503
        assert ask(lb, "0-9").status == 206


@pytest.mark.parametrize("folder", [False, True])
def test_separate_parts_of_a_whole_response_answer_without_range(
    tmp_path: Path, folder: bool
) -> None:
    body = BODY * (SMALL // 512)
    half = len(body) // 2
    with started(f"disk = {tmp_path} 64m" if folder else "memory = 16m") as lb:
        server = Server(lb, SIE, body)
        ask(lb, f"0-{half - 1}")
        ask(lb, f"{half}-{len(body) - 1}")
        assert len(cache_of(lb).store) == 2
        lb.advance(70)
        server.instead = Answer(503, b"no")
        whole = ask(lb, "")
        assert (whole.status, whole.body) == (200, body)
        middle = ask(lb, f"{half - 5}-{half + 4}")
        assert (middle.status, middle.body) == (206, body[half - 5 : half + 5])


@pytest.mark.parametrize(
    ("policy", "control", "rule"),
    [("", SWR, "stale-while-revalidate"), ("grace_refresh = 10m", "max-age=60", "grace_refresh")],
)
def test_stale_parts_answer_while_they_are_refreshed(policy: str, control: str, rule: str) -> None:
    with started(f"memory = 16m\n{policy}") as lb:
        server = Server(lb, control)
        ask(lb, "0-99")
        lb.advance(70)
        found = ask(lb, "10-19")
        assert (found.status, found.body) == (206, BODY[10:20])
        assert said(found) == f'hit; ttl=-10; detail="{rule}"'
        assert server.count == 2
        assert server.origin.requests[-1].header("Range") == "bytes=10-19"
        assert said(ask(lb, "0-99")) == 'hit; ttl=60; detail="combined parts"'
        assert (server.count, cache_of(lb).counters.stale) == (2, 1)


def test_one_refresh_of_a_part_runs_at_a_time(lb: LoadBalancerFixture) -> None:
    server = Server(lb, SWR)
    ask(lb, "0-99")
    lb.advance(70)
    shown = {**server.headers, "ETag": '"2"', "Content-Range": "bytes 0-9/1024"}
    server.instead = Answer(206, bytes(10), shown, after=1.0)
    assert [ask(lb, "0-9").body for _ in range(5)] == [BODY[:10]] * 5
    assert server.count == 2
    lb.advance(2)
    assert ask(lb, "0-9").body == bytes(10), "the part of the new representation replaced the old"
    assert not cache_of(lb).fetches


def test_a_refresh_that_fails_keeps_the_stale_part(lb: LoadBalancerFixture) -> None:
    server = Server(lb, f"{SWR}, stale-if-error=600")
    ask(lb, "0-99")
    lb.advance(70)
    server.instead = Answer(503, b"no", {"Cache-Control": "max-age=600"})
    for _ in range(3):
        assert ask(lb, "0-9").body == BODY[:10]
    cache: Any = cache_of(lb)
    assert not cache.fetches and not cache.fetching_count


def test_a_softly_purged_part_answers_while_it_is_refreshed(lb: LoadBalancerFixture) -> None:
    server = Server(lb, SWR)
    ask(lb, "0-99")
    cache_of(lb).purge(Purge("all"), soft=True)
    assert said(ask(lb, "0-99")) == 'hit; ttl=60; detail="soft purge"'
    assert server.count == 2
    assert said(ask(lb, "0-99")) == 'hit; ttl=60; detail="combined parts"'


# -- several ranges, If-Range and HEAD ------------------------------------------------------------

PARTIAL: list[tuple[str, dict[str, str], list[bytes]]] = [
    ("0-4,250-254", {}, [BODY[:5], BODY[250:255]]),
    ("0-4,2-9", {}, [BODY[:10]]),
    ("10-19", {"If_Range": '"1"'}, [BODY[10:20]]),
    ("10-19,210-219", {"If_Range": '"1"'}, [BODY[10:20], BODY[210:220]]),
    ("10-19", {"If_None_Match": '"2"'}, [BODY[10:20]]),
]
MISSING: list[tuple[str, dict[str, str]]] = [
    ("0-4,90-110", {}),
    ("0-4,300-304", {}),
    ("10-19", {"If_Range": '"2"'}),
    ("10-19", {"If_Range": 'W/"1"'}),
]


def parts_of(response: Response) -> list[bytes]:
    """The bodies of the parts of a 206."""
    kind = response.header("Content-Type")
    if not kind or not kind.startswith("multipart/byteranges"):
        return [response.body]
    mark = b"--" + kind.partition("boundary=")[2].encode()
    return [
        one.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")
        for one in response.body.split(mark)[1:-1]
    ]


@pytest.mark.parametrize(("failed", "why"), FAILED)
def test_stale_parts_answer_several_ranges_and_if_range(
    lb: LoadBalancerFixture, failed: Answer, why: str
) -> None:
    server = Server(lb, SIE)
    ask(lb, "0-99")
    ask(lb, "200-299")
    lb.advance(70)
    server.instead = failed
    for span, more, bodies in PARTIAL:
        found = lb.begin("GET", "http://h/a", headers=fields(span, more)).wait(30)
        assert (found.status, parts_of(found)) == (206, bodies)
        assert said(found).endswith(f'detail="{why}, stale-if-error"')
    assert cache_of(lb).counters.stale == len(PARTIAL)
    for span, more in MISSING:
        found = lb.begin("GET", "http://h/a", headers=fields(span, more)).wait(30)
        assert found.status >= 500 or found.body == b"late"
    assert cache_of(lb).counters.stale == len(PARTIAL)
    assert server.count == 2 + len(PARTIAL) + len(MISSING)


def test_several_ranges_get_no_stale_parts_that_must_be_validated() -> None:
    for control in (f"{SIE}, must-revalidate", f"{SIE}, no-cache", "max-age=60"):
        with started() as lb:
            server = Server(lb, control)
            ask(lb, "0-99")
            lb.advance(70)
            server.instead = Answer(503, b"no")
            assert ask(lb, "0-4,10-14").status == 503
            assert ask(lb, "0-4", If_Range='"1"').status == 503


def separate(lb: LoadBalancerFixture, control: str) -> tuple[Server, bytes]:
    """A server, and its body, which is stored in two parts that are not merged."""
    body = BODY * (SMALL // 512)
    server, half = Server(lb, control, body), len(body) // 2
    ask(lb, f"0-{half - 1}")
    ask(lb, f"{half}-{len(body) - 1}")
    return server, body


@pytest.mark.parametrize("folder", [False, True])
def test_a_head_gets_the_head_of_stale_parts_that_are_complete(
    tmp_path: Path, folder: bool
) -> None:
    with started(f"disk = {tmp_path} 64m" if folder else "memory = 16m") as lb:
        server, body = separate(lb, SIE)
        lb.advance(70)
        server.instead = Answer(503, b"no")
        found = lb.request("HEAD", "http://h/a")
        assert (found.status, found.body) == (200, b"")
        assert found.header("Content-Length") == str(len(body))
        assert said(found).endswith('detail="status 503, stale-if-error"')
        assert ask(lb, "0-4", If_Range='"2"').body == body, "the whole if If-Range does not match"
        assert parts_of(ask(lb, f"0-4,{len(body) - 5}-")) == [body[:5], body[-5:]]


def test_a_head_gets_nothing_of_parts_that_are_incomplete(lb: LoadBalancerFixture) -> None:
    server = Server(lb, SIE)
    ask(lb, "0-99")
    lb.advance(70)
    server.instead = Answer(503, b"no")
    assert lb.request("HEAD", "http://h/a").status == 503


@pytest.mark.parametrize(
    ("span", "more", "refreshed"),
    [
        ("10-14,20-24", {}, "bytes=10-14"),
        ("99999-,-5", {}, "bytes=1019-1023"),
        ("10-14", {"If_Range": '"1"'}, "bytes=10-14"),
    ],
)
def test_stale_parts_answer_several_ranges_and_if_range_while_they_are_refreshed(
    lb: LoadBalancerFixture, span: str, more: dict[str, str], refreshed: str
) -> None:
    server = Server(lb, SWR)
    ask(lb, "0-99")
    ask(lb, "1000-1023")
    lb.advance(70)
    assert said(ask(lb, span, **more)) == 'hit; ttl=-10; detail="stale-while-revalidate"'
    assert server.count == 3
    assert server.origin.requests[-1].header("Range") == refreshed
    assert not server.origin.requests[-1].header("If-Range")
    assert said(ask(lb, span, **more)) == 'hit; ttl=60; detail="combined parts"'
    assert server.count == 3


def test_a_head_of_stale_parts_refreshes_the_whole_response(lb: LoadBalancerFixture) -> None:
    server, body = separate(lb, SWR)
    lb.advance(70)
    found = lb.request("HEAD", "http://h/a", headers={"Range": "bytes=0-4"})
    assert said(found) == 'hit; ttl=-10; detail="stale-while-revalidate"'
    assert (found.status, found.header("Content-Length")) == (200, str(len(body)))
    lb.advance(1)
    assert not server.origin.requests[-1].header("Range")
    assert said(ask(lb, "")).startswith("hit; ttl=59")


def test_a_client_that_waits_no_more_gets_stale_parts() -> None:
    with started("memory = 16m\nwaiters = 1") as lb:
        server, body = separate(lb, SIE)
        lb.advance(70)
        server.instead = Answer(503, b"no", after=1.0)
        waiting = [lb.begin("GET", "http://h/a") for _ in range(4)]
        assert [one.wait(5).body for one in waiting] == [body] * 4
        assert server.count == 2 + 3
