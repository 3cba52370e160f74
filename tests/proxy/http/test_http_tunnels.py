"""Upgrade and CONNECT: from HTTP to opaque bytes, or not."""

from __future__ import annotations

import pytest

from lbproxy.proxy.unsent import unsent_bytes
from tests.proxy.http_kit import GET, OK, A, post, rigs

rig = pytest.fixture(rigs)

UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: x\r\n\r\n"
)
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
CONNECT = b"CONNECT db.example:5432 HTTP/1.1\r\nHost: db.example:5432\r\n\r\n"


def tunnel(r, request=UPGRADE, answer=SWITCH):
    raw = r.lb.origins.get(A) or r.raw()
    client = r.client()
    client.send(request)
    server = raw.connections[-1]
    server.take = lambda: _take(server)
    server.take()
    server.send(answer)
    head = client.take()
    return client, server, head


def _take(server) -> bytes:
    data, server.received = server.received, b""
    return data


def test_bytes_go_both_ways(rig):
    r = rig()
    client, server, head = tunnel(r)
    assert head.startswith(b"HTTP/1.1 101 ")
    assert b"Connection: upgrade\r\nUpgrade: websocket\r\n" in head
    client.send(b"ping")
    assert server.take() == b"ping"
    server.send(b"GET / HTTP/1.1\r\n\r\n")
    assert client.take() == b"GET / HTTP/1.1\r\n\r\n"
    client.close()
    assert server.finished
    server.close()
    assert r.closes == ["ok"]
    assert (r.log[0].bytes_in, r.log[0].bytes_out, r.log[0].status) == (4, 18, 101)
    assert r.state().counters.ok == 1


def test_the_server_sees_the_wish_and_no_other_hop_headers(rig):
    r = rig()
    raw = r.raw()
    r.client().send(UPGRADE)
    assert b"Connection: upgrade\r\nUpgrade: websocket\r\n" in raw.connections[0].received


def test_data_that_comes_with_the_101_and_before_it(rig):
    r = rig()
    raw = r.raw()
    client = r.client()
    client.send(UPGRADE + b"early")
    server = raw.connections[0]
    assert server.received.endswith(b"\r\n\r\n")
    server.send(SWITCH + b"late")
    assert client.received.endswith(b"\r\n\r\nlate")
    assert server.received.endswith(b"\r\n\r\nearly")
    assert (r.frontend.counters.requests, r.log) == (1, [])


def test_too_much_before_the_101_is_refused(rig):
    r = rig()
    raw = r.raw()
    client = r.client()
    client.send(UPGRADE + b"x" * 400_000)
    assert client.received.startswith(b"HTTP/1.1 400 ")
    r.advance(0.1)
    assert raw.connections[0].closed


@pytest.mark.parametrize("first", ["client", "server"])
def test_half_close_passes_and_both_end_it(rig, first):
    r = rig()
    client, server, _ = tunnel(r)
    one, other = (client, server) if first == "client" else (server, client)
    one.half_close()
    assert other.finished
    assert not other.closed
    assert not one.finished
    other.send(b"still here")
    assert one.received.endswith(b"still here")
    other.half_close()
    assert one.finished
    assert r.closes == ["ok"]
    assert r.clients == 0


def test_half_close_before_the_101(rig):
    r = rig(web="abort_on_close = no")
    raw = r.raw()
    client = r.client()
    client.send(UPGRADE + b"bye")
    client.half_close()
    raw.connections[0].send(SWITCH)
    assert raw.connections[0].received.endswith(b"bye")
    assert raw.connections[0].finished


def test_a_reset_server_resets_the_client(rig):
    r = rig()
    client, server, _ = tunnel(r)
    server.abort()
    assert client.reset
    assert r.closes == ["server_gone"]


def test_a_reset_client_takes_the_server_with_it(rig):
    r = rig()
    client, server, _ = tunnel(r)
    client.abort()
    assert server.finished
    assert r.closes == ["client_gone"]
    assert r.state().counters.failed == 0


def test_silence_ends_it(rig):
    r = rig(app="timeout_tunnel = 100s", web="timeout_keepalive = 1s\ntimeout_body = 1s")
    client, server, _ = tunnel(r)
    for _ in range(3):
        r.advance(90)
        client.send(b"x")
        r.advance(90)
        server.send(b"y")
    r.advance(99)
    assert not client.finished
    r.advance(1.1)
    assert client.finished
    assert server.closed
    assert r.closes == ["server_timeout"]


@pytest.mark.parametrize("slow", ["client", "server"])
def test_back_pressure(rig, slow):
    r = rig()
    client, server, _ = tunnel(r)
    reader, writer = (client, server) if slow == "client" else (server, client)
    reader.pause()
    data = bytes(range(256)) * 10_000
    writer.send(data)
    assert unsent_bytes(writer.transport) > 2_000_000
    reader.resume()
    assert reader.received == data


def test_a_server_may_refuse(rig):
    r = rig()
    client, server, head = tunnel(r, answer=OK)
    assert head.startswith(b"HTTP/1.1 200 ")
    client.send(GET)
    assert server.received.startswith(b"GET / ")
    server.send(OK)
    assert client.received.endswith(b"hi")


def test_pipelined_after_a_refused_upgrade(rig):
    r = rig()
    raw = r.raw()
    client = r.client()
    client.send(UPGRADE + GET)
    raw.connections[0].send(OK)
    raw.connections[0].send(OK)
    assert client.received.count(b"200 OK") == 2


@pytest.mark.parametrize("word", ["none", "websocket", "any"])
@pytest.mark.parametrize("protocol", [b"h2c", b"websocket, h2c"])
def test_h2c_never(rig, word, protocol):
    r = rig(web=f"upgrade = {word}")
    raw = r.raw()
    client = r.client()
    client.send(UPGRADE.replace(b"websocket", protocol, 1) + GET)
    server = raw.connections[0]
    assert b"h2c" not in server.received
    assert (b"pgrade" in server.received) is (word != "none" and protocol != b"h2c")
    server.send(OK)
    server.send(OK)
    assert client.received.count(b"200 OK") == 2


def test_an_upgrade_with_a_body_that_is_not_passed_on(rig):
    r = rig(web="upgrade = none")
    raw = r.raw()
    client = r.client()
    request = UPGRADE.replace(b"GET", b"POST").replace(b"Sec-", b"Content-Length: 4\r\nSec-")
    client.send(request)
    client.send(b"bo")
    client.send(b"dy")
    raw.connections[0].send(OK)
    client.send(GET)
    assert raw.connections[0].received.count(b"HTTP/1.1") == 2


def test_much_behind_an_upgrade_that_is_not_passed_on(rig) -> None:
    """Pipelined requests wait unread; the bound of what precedes a tunnel is not for them."""
    r = rig(web="upgrade = none")
    upgrade = b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    client, server = r.talk(post(b"ab", length=4).replace(b"\r\n\r\n", b"\r\n" + upgrade))
    client.send(b"cd" + post(b"x" * 400_000))
    assert client.received == b""
    server.send(OK)
    r.advance(0.1)
    assert server.received.endswith(b"x" * 400_000)
    server.send(OK)
    assert client.received.count(b"HTTP/1.1 200 ") == 2


def test_101_nobody_asked_for(rig):
    r = rig()
    client, server = r.talk()
    server.send(SWITCH)
    assert client.received.startswith(b"HTTP/1.1 502 ")
    assert r.closes == ["bad_response"]
    assert r.state().counters.failed == 1


def test_connect_is_refused_and_what_follows_is_not_http(rig):
    r = rig()
    raw = r.raw()
    client = r.client()
    client.send(CONNECT + GET)
    assert client.received.startswith(b"HTTP/1.1 405 ")
    assert b"Allow: " in client.received
    assert client.finished
    assert not raw.connections


def test_connect_may_be_forwarded(rig):
    r = rig(web="connect = forward")
    client, server, head = tunnel(r, CONNECT, b"HTTP/1.1 200 Established\r\n\r\nhello")
    assert head.startswith(b"HTTP/1.1 200 Established\r\n")
    assert head.endswith(b"\r\n\r\nhello")
    assert b"ontent-" not in head
    client.send(b"\x16\x03")
    assert server.take() == b"\x16\x03"
    server.close()
    assert client.finished
    client.close()
    assert r.closes == ["ok"]


def test_connect_refused_by_the_server_ends_the_connection(rig):
    r = rig(web="connect = forward")
    client, _, head = tunnel(r, CONNECT, b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 403 ")
    assert client.finished


def test_a_tunnel_is_killed_with_its_server(rig):
    r = rig(app="on_down = close")
    client, _, _ = tunnel(r)
    r.backend.group.set_health(r.state(), False)
    r.advance(0)
    assert client.reset
    assert r.closes == ["server_down"]
