"""Timeouts and limits of a route take the place of those of its backend; other routes keep them."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from lbproxy.errors import Kind
from lbproxy.http.message import Reply
from tests.proxy.http.test_http_tunnels import SWITCH, UPGRADE
from tests.proxy.http_kit import OK, TWO_SERVERS, Rig, rigs

rig = pytest.fixture(rigs)

BACKEND = "timeout_response = 10s\ntimeout_server = 20s\ntimeout_tunnel = 30s\nretries = 2"


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode()


def put(path: str, body: bytes, *, declared: bool) -> bytes:
    framing = f"Content-Length: {len(body)}" if declared else "Transfer-Encoding: chunked"
    head = f"PUT {path} HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n".encode()
    return head + (body if declared else b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))


def limited(rig: Any, options: str, more: str = "", **words: Any) -> Rig:
    r: Rig = rig(web=f"{more}\nroutes = path /own -> app {options}", app=f"{BACKEND}\n", **words)
    return r


def ends_after(r: Rig, seconds: float) -> bool:
    """Whether the request that runs ends now, and did not ``seconds`` before."""
    before = len(r.log)
    r.advance(seconds - 0.5)
    early = len(r.log) > before
    r.advance(1)
    return not early and len(r.log) > before


@pytest.mark.parametrize(("path", "seconds"), [("/own", 3), ("/", 10)])
def test_the_head_of_a_response(rig: Any, path: str, seconds: float) -> None:
    r = limited(rig, "timeout_response=3s")
    r.raw()
    r.client().send(get(path))
    assert ends_after(r, seconds)
    assert (r.log[0].close, r.log[0].status) == (Kind.RESPONSE_TIMEOUT, 504)
    assert r.log[0].detail == f"no response within {seconds} s"


@pytest.mark.parametrize(("path", "seconds"), [("/own", 4), ("/", 20)])
def test_silence_within_a_response(rig: Any, path: str, seconds: float) -> None:
    r = limited(rig, "timeout_server=4s")
    raw = r.raw()
    r.client().send(get(path))
    raw.connections[-1].send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
    assert ends_after(r, seconds)
    assert r.log[0].close is Kind.SERVER_TIMEOUT


@pytest.mark.parametrize(("path", "seconds"), [("/own", 5), ("/", 30)])
def test_silence_in_a_tunnel(rig: Any, path: str, seconds: float) -> None:
    r = limited(rig, "timeout_tunnel=5s")
    raw = r.raw()
    r.client().send(UPGRADE.replace(b"/ws", path.encode()))
    raw.connections[-1].send(SWITCH)
    assert ends_after(r, seconds)


def test_a_pooled_connection_has_the_deadlines_of_its_present_request(rig: Any) -> None:
    r = limited(rig, "timeout_response=3s")
    raw = r.raw()
    client = r.client()
    for path, seconds in (("/own", 3), ("/", 10), ("/own", 3)):
        client.send(get(path))
        (server,) = raw.connections
        assert server.received.startswith(get(path)[:8])
        server.received = b""
        r.advance(seconds - 1)
        server.send(OK)
    assert [one.close for one in r.log] == [Kind.OK] * 3


def test_a_reload_of_the_backend_reaches_what_the_route_leaves_to_it(rig: Any) -> None:
    r = limited(rig, "timeout_server=4s")
    r.raw()
    text = r._text.replace("timeout_response = 10s", "timeout_response = 6s")
    assert r.lb.service.reload(text).ok
    r._lead()
    r.client().send(get("/own"))
    assert ends_after(r, 6)


@pytest.mark.parametrize(("path", "seconds"), [("/own", 2), ("/", 5)])
def test_the_queue(rig: Any, path: str, seconds: float) -> None:
    r = limited(rig, "timeout_queue=2s", servers="a 10.0.0.1:8000 maxconn=1")
    r.raw()
    first = r.client()
    first.send(get("/"))
    r.client().send(get(path))
    assert ends_after(r, seconds)
    assert r.log[0].close is Kind.QUEUE_TIMEOUT
    assert r.log[0].detail == f"no server free for {seconds} s"
    first.close()


@pytest.mark.parametrize(("path", "attempts"), [("/own", 1), ("/", 3)])
def test_retries(rig: Any, path: str, attempts: int) -> None:
    r = limited(rig, "retries=0", servers=TWO_SERVERS)
    r.client().send(get(path))
    r.advance(5)
    assert (r.log[0].attempts, r.log[0].status) == (attempts, 502)


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_beyond_the_limit_of_the_route(rig: Any, declared: bool) -> None:
    r = limited(rig, "max_body=10", "max_body = 100")
    raw = r.raw()
    for path, size, status in (("/own", 10, 200), ("/own", 11, 413), ("/", 11, 200)):
        client = r.client()
        client.send(put(path, b"x" * size, declared=declared))
        if status == 200:
            raw.connections[-1].send(OK)
        assert client.received.startswith(b"HTTP/1.1 %d " % status), (path, size)
        client.close()
        r.advance(5)
    assert [one.close for one in r.log] == [Kind.OK, Kind.BODY_TOO_LARGE, Kind.OK]
    assert r.log[1].detail == "the route allows a body of 10 bytes"


def test_a_body_that_grows_beyond_the_limit_ends_its_request(rig: Any) -> None:
    r = limited(rig, "max_body=10")
    raw = r.raw()
    client = r.client()
    client.send(
        b"PUT /own HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n12345678\r\n"
    )
    assert raw.connections[-1].received.endswith(b"8\r\n12345678\r\n")
    client.send(b"8\r\n12345678\r\n")
    assert client.received.startswith(b"HTTP/1.1 413 ")
    assert raw.connections[-1].closed
    assert r.state().active == 0


def test_a_body_that_grows_further_does_not_end_the_answer_to_it(rig: Any) -> None:
    r = limited(rig, "max_body=10")
    waits: Deferred[Reply] = Deferred()
    for policy in r.frontend.policies._by_route:
        policy.hooks.failed = (lambda traffic, error: waits,)
    r.raw()
    client = r.client()
    chunk = b"8\r\n12345678\r\n"
    client.send(b"PUT /own HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk)
    for _ in range(3):
        client.send(chunk)
    assert client.received == b""  # the filter decides
    waits.callback(Reply(413, b"too much"))
    r.advance(1)
    assert client.received.startswith(b"HTTP/1.1 413 ")
    assert client.received.endswith(b"too much")
    assert r.closes == ["body_too_large"]


def test_without_options_a_route_has_no_limits(rig: Any) -> None:
    r = limited(rig, "priority=3")
    assert [one.limits for one in r.frontend.policies._by_route] == [None, None]
