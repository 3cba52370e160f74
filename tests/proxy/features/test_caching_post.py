"""Responses to POST, stored by the digest of the body."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lbproxy.testing import LB, LoadBalancerFixture
from lbproxy.testing.origin import Answer, HTTPOrigin, Request
from tests.support.caching import config_with

MINUTE = {"Cache-Control": "max-age=60", "ETag": '"v1"'}

Start = Callable[[str], tuple[LoadBalancerFixture, HTTPOrigin]]


def echo(request: Request) -> Answer:
    return Answer(200, request.body or b"none", MINUTE)


@pytest.fixture
def start() -> Iterator[Start]:
    made = []

    def begin(cache: str) -> tuple[LoadBalancerFixture, HTTPOrigin]:
        lb = LB.from_config(config_with(cache))
        made.append(lb)
        return lb, lb.origin("a", "10.0.0.1:80", echo)

    yield begin
    for one in made:
        one.close()


def post(lb: LoadBalancerFixture, body: bytes, **headers: str) -> Any:
    pairs = {name.replace("_", "-"): value for name, value in headers.items()}
    return lb.request("POST", "http://h/search", body=body, headers=pairs)


def test_the_body_is_part_of_the_key(start: Start) -> None:
    lb, origin = start("post = 64k")
    assert [post(lb, one).body for one in (b"a", b"b", b"a", b"b")] == [b"a", b"b", b"a", b"b"]
    assert [one.body for one in origin.requests] == [b"a", b"b"]
    assert [one.method for one in origin.requests] == ["POST", "POST"]
    assert post(lb, b"a", Content_Type="text/x").body == b"a"
    assert len(origin.requests) == 3, "the type says what the body means"
    assert lb.get("http://h/search").body == b"none"


def test_conditions_and_ranges_have_no_meaning_for_it(start: Start) -> None:
    lb, origin = start("post = 64k")
    post(lb, b"abc")
    found = post(lb, b"abc", If_None_Match='"v1"', Range="bytes=0-1")
    assert (found.status, found.body, len(origin.requests)) == (200, b"abc", 1)
    lb.advance(61)
    assert post(lb, b"abc").body == b"abc"
    assert origin.requests[1].header("If-None-Match") == ""


def test_it_invalidates_nothing(start: Start) -> None:
    lb, origin = start("post = 64k")
    lb.get("http://h/search")
    post(lb, b"abc")
    lb.get("http://h/search")
    assert [one.method for one in origin.requests] == ["GET", "POST"]


@pytest.mark.parametrize(("cache", "size"), [("", 1), ("post = 10", 11)])
def test_other_posts_go_to_servers_and_invalidate(start: Start, cache: str, size: int) -> None:
    lb, origin = start(cache)
    lb.get("http://h/search")
    for _ in range(2):
        assert post(lb, b"x" * size).body == b"x" * size
    lb.get("http://h/search")
    assert [one.method for one in origin.requests] == ["GET", "POST", "POST", "GET"]


def test_a_lifetime_must_be_stated(start: Start) -> None:
    lb, origin = start("post = 64k")
    modified = {"Last-Modified": "Thu, 01 Jan 1960 00:00:00 GMT"}
    origin.handler = Answer(200, b"x", modified)
    for _ in range(2):
        found = post(lb, b"abc")
    assert "POST without stated freshness (RFC 9110 section 9.3.3)" in found.header("Cache-Status")
    assert len(origin.requests) == 2


def test_equal_posts_share_one_fetch(start: Start) -> None:
    lb, origin = start("post = 64k")
    origin.handler = lambda request: Answer(200, request.body, MINUTE, after=1.0)
    pending = [lb.begin("POST", "http://h/search", body=b"abc") for _ in range(3)]
    assert [one.wait().body for one in pending] == [b"abc"] * 3
    assert len(origin.requests) == 1


def test_a_body_that_comes_in_pieces(start: Start) -> None:
    lb, origin = start("post = 64k")
    for _ in range(2):
        client = lb.connect("web")
        head = b"POST /search HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n"
        client.send(head + b"Expect: 100-continue\r\n\r\n")
        lb.advance(0.1)
        assert b"100 Continue" in client.received
        client.send(b"abc")
        lb.advance(0.1)
        client.send(b"def")
        lb.advance(0.1)
        assert client.received.endswith(b"abcdef")
        assert client.received.count(b"100 Continue") == 1
        client.close()
    assert [one.body for one in origin.requests] == [b"abcdef"]
