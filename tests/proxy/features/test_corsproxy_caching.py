"""The cache in front of the targets of a CORS proxy, and what is never shared."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ada_url")

from lbproxy.cache.purge import Purge
from lbproxy.cors.keys import KeyRecord, KeyRing, hashed
from lbproxy.cors.quota import Quota
from lbproxy.limits.rate import Rate
from lbproxy.testing import LB, LoadBalancerFixture, Response
from lbproxy.testing.origin import Answer, Request
from tests.support.keyedcors import call as keyed_call
from tests.support.purging import purged

APP = "https://app.example.com"
OTHER = "https://other.example.com"
TEXT = """
[lbproxy]
guard_public = 10.1.0.0/24
[cache main]
memory = 1m
purge_from = 0.0.0.0/0
{section}
[frontend cors]
mode = corsproxy
listen = tcp:8090
cache = main
{more}
"""
FRESH = {"Cache-Control": "max-age=60"}

Make = Callable[..., LoadBalancerFixture]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Start a proxy with a cache; api.example.com is 10.1.0.1."""
    made = []

    def start(
        *records: KeyRecord, more: str = "origins = {APP}", section: str = ""
    ) -> LoadBalancerFixture:
        more = more.replace("{APP}", f"{APP} {OTHER}")
        if records:
            path = tmp_path / "keys.json"
            path.write_text(KeyRing(records).dump())
            more += f"\nkeys = {path}"
        lb = LB.from_config(TEXT.format(more=more, section=section))
        made.append(lb)
        lb.reactor.resolver.table["api.example.com"] = ["10.1.0.1"]
        lb.reactor.resolver.table["moved.example.com"] = ["10.1.0.2"]
        return lb

    yield start
    for lb in made:
        lb.close()


def key(name: str, **rules: Any) -> KeyRecord:
    return KeyRecord(name, hashed(name), **rules)


def call(
    lb: LoadBalancerFixture, url: str = "http://api.example.com/data", more: str = "", **given: Any
) -> Response:
    """See :func:`tests.support.keyedcors.call`; from ``APP``."""
    return keyed_call(lb, url, more, **{"Origin": APP, **given})


def status(response: Response) -> str:
    assert response.status == 200, response.body
    return response.header("X-Cache-Status")


def serve(lb: LoadBalancerFixture, headers: dict[str, str] | None = None) -> Any:
    return lb.origin("api", "10.1.0.1:80", Answer(200, b"data", headers or FRESH))


def test_hits_have_the_policy_of_their_caller(make: Make) -> None:
    lb = make()
    target = serve(lb, {**FRESH, "Access-Control-Allow-Origin": "*", "X-Frame-Options": "DENY"})
    assert status(call(lb)) == "MISS"
    found = call(lb, Origin=OTHER)
    assert status(found) == "HIT"
    assert found.header("Access-Control-Allow-Origin") == OTHER
    assert found.header("Vary") == "Origin"
    assert found.header("X-Final-URL") == "http://api.example.com/data"
    assert found.header("Content-Security-Policy") == "sandbox"
    assert found.header("X-Frame-Options") == ""
    assert "x-cache-status" in found.header("Access-Control-Expose-Headers")
    assert call(lb, Origin="https://evil.example").status == 403
    lb.advance(61.0)
    assert status(call(lb)) == "MISS"
    assert len(target.requests) == 2


def test_forms_of_one_target_share(make: Make) -> None:
    lb = make()
    target = serve(lb)
    assert status(call(lb)) == "MISS"
    response = lb.get("http://proxy:8090/http://api.example.com/data", headers={"Origin": APP})
    assert status(response) == "HIT"
    assert len(target.requests) == 1
    assert status(call(lb, "http://api.example.com/data?x=1")) == "MISS"


@pytest.mark.parametrize("headers", [{"Authorization": "Bearer x"}])
def test_calls_with_credentials_bypass_the_cache(make: Make, headers: dict[str, str]) -> None:
    lb = make()
    target = serve(lb, {"Cache-Control": "public, max-age=60"})
    assert status(call(lb)) == "MISS"
    assert status(call(lb, **headers)) == "BYPASS"
    assert status(call(lb, more="&reqHeaders=Authorization:x")) == "BYPASS"
    assert status(call(lb)) == "HIT"
    assert len(target.requests) == 3


@pytest.mark.parametrize("name", ["Set-Cookie", "WWW-Authenticate"])
@pytest.mark.parametrize("policy", ["refuse", "store", "strip"])
def test_responses_with_credentials_are_not_stored(make: Make, name: str, policy: str) -> None:
    lb = make(section=f"set_cookie = {policy}")
    target = serve(lb, {**FRESH, name: "x=y"})
    for _ in range(2):
        assert status(call(lb, more="&ttl=60")) == "MISS"
    assert len(target.requests) == 2


def test_changes_of_the_response_are_not_shared(make: Make) -> None:
    lb = make()
    target = serve(lb, {**FRESH, "Content-Type": "text/plain"})
    changed = call(lb, more="&resHeaders=content-type:text/css")
    assert changed.header("Content-Type") == "text/css"
    plain = call(lb)
    assert status(plain) == "HIT"
    assert plain.header("Content-Type") == "text/plain"
    assert call(lb, more="&resHeaders=content-type:a/b").header("Content-Type") == "a/b"
    assert len(target.requests) == 1


def test_changes_of_the_request_are_not_shared(make: Make) -> None:
    lb = make()
    target = serve(lb)
    for more in ("", "&reqHeaders=accept:a/b", "&reqHeaders=accept:c/d"):
        assert status(call(lb, more=more)) == "MISS"
        assert status(call(lb, more=more)) == "HIT"
    assert len(target.requests) == 3


def test_cache_by_key(make: Make) -> None:
    lb = make(key("a"), key("b"), more="cache_by_key = yes")
    target = serve(lb)
    assert [status(call(lb, X_Api_Key=name)) for name in "abab"] == ["MISS", "MISS", "HIT", "HIT"]
    assert len(target.requests) == 2


def test_keys_share_otherwise(make: Make) -> None:
    lb = make(key("a"), key("b"), more="")
    serve(lb)
    assert [status(call(lb, X_Api_Key=name)) for name in "ab"] == ["MISS", "HIT"]
    assert call(lb, X_Api_Key="c").status == 401


def test_rules_of_keys_hold_for_hits(make: Make) -> None:
    quota = Quota(requests=Rate(2, 3600, 2))
    lb = make(key("a"), key("b", targets=["api.example.com/v1/*"]), key("c", quota=quota), more="")
    serve(lb)
    assert status(call(lb, X_Api_Key="a")) == "MISS"
    assert call(lb, X_Api_Key="b").status == 403
    found = [call(lb, X_Api_Key="c").status for _ in range(3)]
    assert found == [200, 200, 429]


def test_a_redirect_in_the_cache_is_judged_for_each_key(make: Make) -> None:
    lb = make(key("a"), key("b", targets=["api.example.com"]), more="")
    lb.origin("api", "10.1.0.1:80", Answer(302, b"", {"Location": "http://moved.example.com/"}))
    moved = lb.origin("moved", "10.1.0.2:80", Answer(200, b"moved", FRESH))
    first = call(lb, X_Api_Key="a")
    assert (first.body, first.header("X-Final-URL")) == (b"moved", "http://moved.example.com/")
    hit = call(lb, X_Api_Key="a")
    assert status(hit) == "HIT"
    assert hit.header("X-Final-URL") == "http://moved.example.com/"
    refused = call(lb, X_Api_Key="b")
    assert refused.status == 403
    assert b"moved" not in refused.body
    assert len(moved.requests) == 1


def test_ttl_sets_the_lifetime(make: Make) -> None:
    lb = make(more="origins = {APP}\nttl_max = 100s")
    target = serve(lb, {"Expires": "0"})
    assert status(call(lb, more="&ttl=999999")) == "MISS"
    lb.advance(99.0)
    assert status(call(lb, more="&ttl=999999")) == "HIT"
    assert status(call(lb, more="&ttl=10")) == "MISS"  # what is stored is older
    assert status(call(lb, more="&ttl=0")) == "MISS"
    lb.advance(101.0)
    assert status(call(lb, more="&ttl=100")) == "MISS"
    assert len(target.requests) == 4


@pytest.mark.parametrize("control", ["no-store", "private", 'private="x"', "max-age=5, no-store"])
def test_ttl_does_not_override_the_target(make: Make, control: str) -> None:
    lb = make()
    target = serve(lb, {"Cache-Control": control})
    for _ in range(2):
        assert status(call(lb, more="&ttl=60")) == "MISS"
    assert len(target.requests) == 2


def test_an_error_does_not_get_a_lifetime(make: Make) -> None:
    lb = make()
    target = lb.origin("api", "10.1.0.1:80", Answer(500, b"", {}))
    for _ in range(2):
        assert call(lb, more="&ttl=60").status == 500
    assert len(target.requests) == 2


def test_purge_by_the_url_of_the_target(make: Make) -> None:
    lb = make()
    target = serve(lb)
    assert status(call(lb)) == "MISS"
    gone = call(lb, method="PURGE")
    assert gone.status == 200, gone.body
    assert b"1" in gone.body
    assert status(call(lb)) == "MISS"
    assert purged(lb.service.caches["main"], Purge("url", b"http://api.example.com/data")) == 1
    assert status(call(lb)) == "MISS"
    assert len(target.requests) == 3


def test_a_post_outdates_what_is_stored(make: Make) -> None:
    lb = make()
    target = serve(lb)
    assert status(call(lb)) == "MISS"
    assert status(call(lb, method="POST")) == "BYPASS"
    assert status(call(lb)) == "MISS"
    assert [one.method for one in target.requests] == ["GET", "POST", "GET"]


def test_one_fetch_for_calls_at_once(make: Make) -> None:
    lb = make()
    raw = lb.tcp_origin("raw", "10.1.0.1:80")
    text = b"GET /?url=http://api.example.com/ HTTP/1.1\r\nHost: p\r\nOrigin: %b\r\n\r\n"
    one, two = lb.connect("cors"), lb.connect("cors")
    one.send(text % APP.encode())
    two.send(text % OTHER.encode())
    assert len(raw.connections) == 1
    raw.connections[0].send(
        b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 2\r\n\r\nok"
    )
    first, second = one.take(), two.take()
    assert f"Access-Control-Allow-Origin: {APP}".encode() in first
    assert f"Access-Control-Allow-Origin: {OTHER}".encode() in second
    assert b"X-Cache-Status: MISS" in first
    assert b"X-Cache-Status: HIT" in second
    assert first.endswith(b"ok")
    assert second.endswith(b"ok")


def test_a_large_body_passes_two_slow_clients(make: Make) -> None:
    lb = make(section="max_object = 64k")
    target = lb.origin("api", "10.1.0.1:80", Answer(200, b"x" * 500_000, FRESH))
    for _ in range(2):
        response = call(lb)
        assert response.body == b"x" * 500_000
    assert len(target.requests) == 2


def test_a_websocket_passes_the_cache(make: Make) -> None:
    lb = make()
    raw = lb.tcp_origin("raw", "10.1.0.1:80")
    client = lb.connect("cors")
    client.send(
        b"GET /?url=ws://api.example.com/ HTTP/1.1\r\nHost: p\r\nOrigin: %b\r\n"
        b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n" % APP.encode()
    )
    raw.connections[0].send(
        b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello"
    )
    assert client.take().endswith(b"\r\n\r\nhello")


def echo(request: Request) -> Answer:
    return Answer(200, b"got " + request.body, FRESH)


def test_posts_by_the_digest_of_their_body(make: Make) -> None:
    lb = make(section="post = 1k")
    target = lb.origin("api", "10.1.0.1:80", echo)
    asked = {"method": "POST", "Content_Type": "application/json"}
    assert status(call(lb, body=b"one", **asked)) == "MISS"
    found = call(lb, body=b"one", **{**asked, "Origin": OTHER})
    assert (status(found), found.body) == ("HIT", b"got one")
    assert found.header("Access-Control-Allow-Origin") == OTHER
    assert status(call(lb, body=b"two", **asked)) == "MISS"
    assert status(call(lb, body=b"one", **{**asked, "Content_Type": "text/plain"})) == "MISS"
    assert status(call(lb, body=b"x" * 1025, **asked)) == "BYPASS"
    assert status(call(lb, body=b"one", **asked, Authorization="a")) == "BYPASS"
    assert status(call(lb, "http://api.example.com/other", body=b"one", **asked)) == "MISS"
    assert status(call(lb)) == "MISS"
    assert [one.body for one in target.requests][:2] == [b"one", b"two"]
    assert len(target.requests) == 7


def test_posts_of_other_keys_and_without_a_lifetime(make: Make) -> None:
    lb = make(key("a"), key("b"), more="cache_by_key = yes", section="post = 1k")
    lb.origin("api", "10.1.0.1:80", lambda request: Answer(200, request.body, {}))
    post = {"method": "POST", "body": b"x"}
    assert [status(call(lb, **post, X_Api_Key="a")) for _ in range(2)] == ["MISS", "MISS"]
    ttl = [status(call(lb, more="&ttl=60", **post, X_Api_Key=name)) for name in "aba"]
    assert ttl == ["MISS", "MISS", "HIT"]


@pytest.mark.parametrize("section", ["", "post = 1k"])
@pytest.mark.parametrize("method", [b"POST", b"PUT"])
def test_a_client_that_waits_for_a_100(make: Make, section: str, method: bytes) -> None:
    lb = make(section=section)
    lb.origin("api", "10.1.0.1:80", echo)
    client = lb.connect("cors")
    client.send(
        b"%b /?url=http://api.example.com/ HTTP/1.1\r\nHost: p\r\nOrigin: %b\r\n"
        b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\n" % (method, APP.encode())
    )
    assert client.take().startswith(b"HTTP/1.1 100 ")
    client.send(b"hi")
    answer = client.take()
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b"\r\n\r\ngot hi")


def test_the_log_has_the_part_of_the_cache(make: Make) -> None:
    lb = make(more="origins = {APP}\naccess_log = log json", section="bypass =\n    path /data")
    serve(lb)
    assert status(call(lb)) == "BYPASS"
    for _ in range(2):
        call(lb, "http://api.example.com/other")
    found = [json.loads(line)["cache"] for line in lb.log_lines()]
    assert found == ["bypass", "miss", "hit"]
