"""Keep-alive, pipelining, and what a client connection is refused for."""

from __future__ import annotations

import gc

import pytest

from lbproxy.proxy.unsent import unsent_bytes
from tests.proxy.http_kit import GET, OK, post, rigs

rig = pytest.fixture(rigs)


def request(version: str = "1.1", connection: str = "", path: str = "/") -> bytes:
    line = f"Connection: {connection}\r\n" if connection else ""
    return f"GET {path} HTTP/{version}\r\nHost: example.com\r\n{line}\r\n".encode()


@pytest.mark.parametrize(
    ("version", "connection", "stays"),
    [("1.1", "", True), ("1.1", "close", False), ("1.0", "", False), ("1.0", "keep-alive", True)],
)
def test_who_keeps_the_connection(rig, version, connection, stays):
    r = rig()
    r.lb.origin("a", "10.0.0.1:8000", b"hello")
    client = r.client()
    response = client.request("GET", request(version, connection)).wait()
    assert (response.status, response.body) == (200, b"hello")
    assert response.closed is not stays
    said = response.header("connection")
    assert said == {("1.1", True): "", ("1.0", True): "keep-alive"}.get((version, stays), "close")
    if stays:
        assert client.request("GET", request(version)).wait().status == 200


def test_http10_body_of_unknown_length_ends_with_the_connection(rig):
    r = rig()
    raw = r.raw()
    client = r.client()
    pending = client.request("GET", request("1.0", "keep-alive"))
    raw.connections[0].send(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    )
    response = pending.wait()
    assert (response.body, response.closed) == (b"abc", True)
    assert response.header("transfer-encoding") == ""


def test_pipelined_requests_are_answered_in_order_one_at_a_time(rig):
    r = rig()
    raw = r.raw()
    client = r.client()
    client.send(b"".join(request(path=f"/{n}") for n in range(5)))
    server = raw.connections[0]
    for n in range(5):
        assert server.received.count(b"HTTP/1.1") == n + 1
        server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d" % n)
    assert [part[-1:] for part in client.take().split(b"HTTP/1.1 200 OK")[1:]] == [
        b"0", b"1", b"2", b"3", b"4",
    ]  # fmt: skip
    assert len(raw.connections) == 1


def test_a_pipelining_client_is_not_read_without_end(rig):
    r = rig()
    raw = r.raw()
    client = r.client()
    client.send(GET * 50_000)  # about 2 MB
    (protocol,) = r.frontend.clients
    assert len(protocol._backlog) < 10_000
    assert client.transport._unsent()
    raw.connections[0].send(OK)
    assert raw.connections[0].received.count(b"GET") == 2


def heads() -> int:
    """How many heads of requests there are; other tests of this process may have left some."""
    gc.collect()
    return sum(type(one).__name__ == "RequestHead" for one in gc.get_objects())


def test_nothing_is_parsed_beyond_the_running_exchange(rig):
    """60 KB of tiny requests are one request and bytes, and reading pauses."""
    r = rig()
    raw = r.raw()
    client = r.client()
    tiny = b"GET / HTTP/1.1\r\nHost:a\r\n\r\n"
    count = 60 * 1024 // len(tiny)
    before = heads()
    client.send(tiny * count)
    (protocol,) = r.frontend.clients
    made = heads() - before
    assert not protocol._backlog and protocol._parser.pending and protocol._read_paused
    assert made < 20
    server = raw.connections[0]
    for answered in range(1, count + 1):
        assert server.received.count(b"GET") == answered
        server.send(b"HTTP/1.1 204 No Content\r\n\r\n")
        assert len(protocol._backlog) <= 2
    assert client.received.count(b"HTTP/1.1 204") == count
    assert not protocol._parser.pending and not protocol._read_paused


def test_a_pipelining_client_that_does_not_read_starts_nothing_new(rig):
    r = rig()
    origin = r.lb.origin("a", "10.0.0.1:8000", b"x" * 100_000)
    client = r.client()
    client.pause()
    client.send(GET * 100)
    assert len(origin.requests) < 6
    client.resume()
    assert len(origin.requests) == 100
    assert client.received.count(b"HTTP/1.1 200") == 100


def test_errors_come_after_the_answers_to_good_requests(rig):
    r = rig()
    raw = r.raw()
    client = r.client()
    client.send(GET + b"nonsense\r\n\r\n" + GET)
    assert client.received == b""
    raw.connections[0].send(OK)
    r.advance(0.1)
    first, second = client.received.split(b"HTTP/1.1 ")[1:]
    assert first.startswith(b"200")
    assert second.startswith(b"400")
    assert client.finished
    assert r.closes == ["ok", "bad_request"]


def test_half_closed_after_pipelining_gets_every_answer(rig):
    r = rig(web="abort_on_close = no")
    r.lb.origin("a", "10.0.0.1:8000", b"x")
    raw_client = r.client()
    raw_client.transport.write(GET + GET + GET)
    raw_client.half_close()
    assert raw_client.received.count(b"200 Reason") == 3
    assert r.clients == 0


def test_half_closed_while_waiting_gets_the_answer(rig):
    r = rig(web="abort_on_close = no")
    client, server = r.talk()
    client.half_close()
    server.send(OK)
    assert client.received.endswith(b"hi")
    assert r.clients == 0
    assert r.closes == ["ok"]


def test_an_idle_connection_holds_no_long_head(rig):
    r = rig()
    r.lb.origin("a", "10.0.0.1:8000", lambda request: b"hello")
    client = r.client()
    name = b"X-Held"
    head = b"GET / HTTP/1.1\r\nHost: example.com\r\n" + name + b": " + b"v" * 5000 + b"\r\n\r\n"
    assert client.request("GET", head).wait().status == 200
    r.lb.origins["a"].requests.clear()
    gc.collect()
    lines = [
        held for held in gc.get_objects() if type(held) is list and held and _is_of(held, name)
    ]
    assert lines == []
    assert not client.closed


def _is_of(lines, name):
    last = lines[-1]
    return type(last) is tuple and len(last) == 2 and type(last[0]) is bytes and last[0] == name


def test_idle_client_is_closed_without_a_word(rig):
    r = rig(web="timeout_keepalive = 20s\ntimeout_header = 5s")
    r.raw()
    silent = r.client()
    r.advance(5.1)
    assert silent.finished
    assert silent.received == b""
    client, server = r.talk()
    server.send(OK)
    client.take()
    r.advance(19)
    assert not client.finished
    r.advance(1.1)
    assert r.clients == 0
    assert client.received == b""


def test_incomplete_head_is_408(rig):
    r = rig(web="timeout_header = 5s")
    client = r.client()
    client.send(b"GET / HT")
    for _ in range(5):
        r.advance(1)
        client.send(b"T")
    r.advance(0.1)
    assert client.received.startswith(b"HTTP/1.1 408 ")
    r.advance(3)
    assert r.clients == 0
    assert r.closes == ["client_timeout"]


def test_next_head_that_began_during_the_answer_has_its_deadline(rig):
    r = rig(web="timeout_header = 5s\ntimeout_keepalive = 60s")
    client, server = r.talk()
    client.send(b"GET / H")
    server.send(OK)
    r.advance(5.2)
    assert client.received.count(b"HTTP/1.1 408") == 1


def test_max_requests_and_no_keepalive(rig):
    r = rig(web="max_requests = 2")
    r.lb.origin("a", "10.0.0.1:8000")
    client = r.client()
    assert client.request("GET", GET).wait().header("connection") == ""
    second = client.request("GET", GET).wait()
    assert (second.header("connection"), second.closed) == ("close", True)
    other = rig(web="timeout_keepalive = 0")
    other.lb.origin("a", "10.0.0.1:8000")
    assert other.client().request("GET", GET).wait().closed


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/3.0\r\nHost: a\r\n\r\n", 505),
        (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 40_000 + b"\r\n\r\n", 431),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 101\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
    ],
)  # fmt: skip
def test_bad_requests(rig, sent, status):
    r = rig(web="max_body = 100")
    r.raw()
    client = r.client()
    client.send(sent)
    assert client.received.startswith(b"HTTP/1.1 %d " % status)
    assert b"onnection: close" in client.received
    client.half_close()
    assert r.clients == 0
    assert len(r.log) == 1
    assert r.log[0].status == status


def test_body_over_the_limit_in_mid_stream(rig):
    r = rig(web="max_body = 10")
    raw = r.raw()
    client = r.client()
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
    client.send(b"6\r\n")
    assert client.received.startswith(b"HTTP/1.1 413 ")
    r.advance(0.1)
    assert raw.connections[0].closed
    assert r.closes == ["body_too_large"]


def test_lingering_close_is_bounded_and_delivers(rig):
    r = rig()
    raw = r.raw()
    client = r.client()
    client.send(post(b"x" * 1000, length=10**9))
    raw.connections[0].send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
    for _ in range(100):
        client.send(b"x" * 100_000)
    assert client.received.endswith(b"big")
    assert b"onnection: close" in client.received
    assert raw.connections[0].closed
    assert unsent_bytes(client.transport) > 4_000_000  # it is not read any more
    r.advance(2.1)
    assert r.clients == 0
    assert r.log[0].close.value == "ok"
    assert r.log[0].status == 413


def test_a_reset_behind_a_pipelined_request_ends_the_exchange_at_once(rig):
    """A second request stops reading; the client's reset must be seen all the same."""
    r = rig()
    client, server = r.talk()
    client.send(GET + GET)
    client.abort()
    assert r.clients == 0 and server.closed
    assert r.closes == ["client_gone"]
