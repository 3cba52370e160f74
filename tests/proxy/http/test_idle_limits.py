"""Pooled connections are given up before their server closes them."""

from __future__ import annotations

from typing import Any

import pytest

from lbproxy.http.idlelimit import MEMORY_S
from tests.proxy.http_kit import GET, OK, A, post, rigs

rig = pytest.fixture(rigs)


def announcing(seconds: int) -> bytes:
    return OK.replace(b"\r\n\r\n", b"\r\nKeep-Alive: timeout=%d\r\n\r\n" % seconds)


def connections(r: Any) -> list[Any]:
    return r.lb.origins[A].connections


def test_the_announced_timeout_ends_idle_connections_early(rig):
    r = rig(web="timeout_keepalive = 60s")
    client, server = r.talk()
    server.send(announcing(5))
    assert b"Keep-Alive" not in client.received
    r.advance(3.9)
    assert not server.finished
    r.advance(0.3)
    assert server.finished
    client.send(GET)
    assert len(connections(r)) == 2


def test_a_request_that_cannot_be_replayed_wants_a_fresh_connection(rig):
    r = rig(web="timeout_keepalive = 60s")
    client, server = r.talk()
    server.send(announcing(5))
    r.advance(1.5)
    client.send(post(b"pay"))
    assert b"POST" in server.received, "it has been idle for less than half of 4 s"
    server.send(announcing(5))
    r.advance(2.5)
    client.send(post(b"pay"))
    assert server.received.count(b"POST") == 1
    assert len(connections(r)) == 2
    connections(r)[1].send(announcing(5))
    client.send(GET)
    assert not server.finished, "requests that can be replayed still use it"
    assert r.closes == ["ok"] * 3


PUT = b"PUT / HTTP/1.1\r\nHost: a\r\n"


@pytest.mark.parametrize(
    ("request_bytes", "fresh"),
    [
        (PUT + b"Content-Length: 8\r\n\r\n12345678", False),
        (PUT + b"Content-Length: 8\r\n\r\n1234", False),
        (PUT + b"Content-Length: 9\r\n\r\n123456789", True),
        (PUT + b"Content-Length: 9\r\n\r\n1234", True),
        (PUT + b"Transfer-Encoding: chunked\r\n\r\n4\r\n1234\r\n", True),
        (PUT + b"Transfer-Encoding: chunked\r\n\r\n4\r\n1234\r\n0\r\n\r\n", False),
    ],
)
def test_so_does_one_whose_body_is_not_kept(rig, request_bytes, fresh):
    r = rig(web="timeout_keepalive = 60s", app="retry_buffer = 8")
    client, server = r.talk()
    server.send(announcing(5))
    r.advance(2.5)
    client.send(request_bytes)
    assert len(connections(r)) == 1 + fresh
    assert (b"PUT" in server.received) is not fresh


def test_observed_closes_are_learned_and_forgotten(rig):
    r = rig(app="pool_idle = 60s", web="timeout_keepalive = 3600s")
    client, _ = r.talk()
    for _ in range(2):
        connections(r)[-1].send(OK)
        r.advance(10)
        assert not connections(r)[-1].finished
        connections(r)[-1].close()
        client.send(GET)
    assert r.state().connector.rest_s == pytest.approx(9, abs=0.1)
    connections(r)[-1].send(OK)
    r.advance(9.1)
    assert connections(r)[-1].finished
    r.advance(MEMORY_S)
    assert (r.state().connector.rest_s, r.state().connector.careful) == (60.0, False)


def test_a_server_that_restarts_teaches_nothing(rig):
    r = rig(app="pool_idle = 60s")
    raw = r.raw()
    clients = [r.client() for _ in range(5)]
    for client in clients:
        client.send(GET)
    for connection in raw.connections:
        connection.send(OK)
    r.advance(3)
    for connection in raw.connections:
        connection.close()
    assert r.state().connector.rest_s == 60.0


def test_a_reload_of_pool_idle_keeps_what_was_announced(rig):
    r = rig()
    _, server = r.talk()
    server.send(announcing(5))
    text = r._text.replace("[backend app]\n", "[backend app]\npool_idle = 3s\n")
    assert r.lb.service.reload(text).ok
    assert r.state().connector.rest_s == 3.0
    r._lead()


def test_a_server_that_announces_nothing_is_used_as_before(rig):
    r = rig(web="timeout_keepalive = 60s")
    client, server = r.talk()
    server.send(OK)
    r.advance(25)
    client.send(post(b"pay"))
    assert server.received.count(b"POST") == 1
