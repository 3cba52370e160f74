"""Bodies both ways: framing, trailers, interim answers, back-pressure."""

from __future__ import annotations

import pytest

from lbproxy.http.h1 import RequestParser
from lbproxy.http.message import Limits, RequestHead
from lbproxy.proxy.unsent import unsent_bytes
from tests.proxy.http_kit import GET, OK, post, rigs

rig = pytest.fixture(rigs)

CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
EXPECT = "Expect: 100-continue\r\n"


def ours(r) -> list:
    """lbproxy's ends of all connections."""
    return [
        t
        for t in r.lb.reactor.connections
        if type(t.protocol).__module__.startswith("lbproxy.proxy")
    ]


def unsent(r) -> int:
    return sum(unsent_bytes(t) for t in ours(r))


def test_chunks_and_trailers_go_both_ways(rig):
    r = rig()
    raw = r.raw()
    client = r.client()
    client.send(CHUNKED + b"5;x=y\r\nhello\r\n")
    server = raw.connections[0]
    assert server.received.endswith(b"\r\n\r\n5\r\nhello\r\n")
    assert b"Transfer-Encoding: chunked\r\n" in server.received
    client.send(b"0\r\nX-Sum: 1\r\n\r\n")
    assert server.received.endswith(b"0\r\nX-Sum: 1\r\n\r\n")
    server.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n2\r\nhi\r\n")
    assert client.received.endswith(b"\r\n\r\n2\r\nhi\r\n")
    server.send(b"0\r\nX-T: 9\r\n\r\n")
    assert client.received.endswith(b"0\r\nX-T: 9\r\n\r\n")
    assert (r.log[0].bytes_in, r.log[0].bytes_out) == (5, 2)
    client.send(GET)
    assert server.received.count(b"HTTP/1.1") == 2


def test_a_body_until_close_becomes_chunks(rig):
    r = rig()
    client, server = r.talk()
    server.send(b"HTTP/1.0 200 OK\r\n\r\nab")
    server.send(b"cd")
    server.close()
    assert client.received.endswith(b"2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n")
    assert r.closes == ["ok"]
    assert not client.finished


def test_a_body_until_close_that_is_reset_is_cut(rig):
    r = rig()
    client, server = r.talk()
    server.send(b"HTTP/1.0 200 OK\r\n\r\nab")
    server.abort()
    assert client.reset
    assert not client.received.endswith(b"0\r\n\r\n")
    assert r.closes == ["server_gone"]


@pytest.mark.parametrize(
    ("method", "answer", "length"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 77\r\n\r\n", "77"),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", ""),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 77\r\n\r\n", "77"),
        ("HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", ""),
    ],
)
def test_answers_without_a_body(rig, method, answer, length):
    r = rig()
    raw = r.raw()
    client = r.client()
    for n in range(2):
        pending = client.request(method, GET.replace(b"GET", method.encode()))
        assert raw.connections[0].received.count(b"HTTP/1.1") == n + 1
        raw.connections[0].send(answer)
        response = pending.wait(1)
        assert (response.header("content-length"), response.body, response.closed) == (
            length,
            b"",
            False,
        )


def test_expect_is_the_servers_to_decide(rig):
    r = rig()
    raw = r.raw()
    client = r.client()
    client.send(post(length=5, headers=EXPECT))
    server = raw.connections[0]
    assert b"Expect: 100-continue" in server.received
    assert client.received == b""
    server.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert client.take().startswith(b"HTTP/1.1 100 Continue\r\n")
    client.send(b"hello")
    server.send(OK)
    assert client.received.endswith(b"hi")
    assert not client.finished


def test_expect_refused_without_100(rig):
    r = rig()
    raw = r.raw()
    client = r.client()
    client.send(post(length=5, headers=EXPECT))
    raw.connections[0].send(b"HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n")
    assert client.received.startswith(b"HTTP/1.1 417 ")
    assert client.finished
    assert raw.connections[0].closed


def test_expect_waits_for_the_server_not_for_the_client(rig):
    r = rig(app="timeout_response = 40s", web="timeout_body = 10s")
    raw = r.raw()
    client = r.client()
    client.send(post(length=5, headers=EXPECT))
    r.advance(39)
    assert client.received == b""
    r.advance(1.1)
    assert client.received.startswith(b"HTTP/1.1 504 ")
    other = r.client()
    other.send(post(length=5, headers=EXPECT))
    raw.connections[1].send(b"HTTP/1.1 100 Continue\r\n\r\n")
    other.take()
    r.advance(10.1)
    assert other.received.startswith(b"HTTP/1.1 408 ")
    impatient = r.client()
    impatient.send(post(length=5, headers=EXPECT))
    impatient.send(b"hell")
    r.advance(10.1)
    assert impatient.received.startswith(b"HTTP/1.1 408 ")


def test_interim_answers(rig):
    r = rig()
    client, server = r.talk()
    server.send(b"HTTP/1.1 103 Early Hints\r\nLink: </s.css>\r\n\r\n")
    assert client.take().startswith(b"HTTP/1.1 103 Early Hints\r\nLink: </s.css>\r\n")
    server.send(b"HTTP/1.1 102 Processing\r\n\r\n" + OK)
    assert [s[:3] for s in client.take().split(b"HTTP/1.1 ")[1:]] == [b"102", b"200"]
    old = r.client()
    old.send(GET.replace(b"1.1", b"1.0"))
    server.send(b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK)
    assert old.received.startswith(b"HTTP/1.1 200 ")


def test_a_client_that_does_not_read_stops_the_server(rig):
    r = rig()
    client, server = r.talk()
    client.pause()
    body = bytes(range(256)) * 20_000  # 5 MB
    server.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
    server.send(body)
    assert unsent(r) < 400_000
    assert unsent_bytes(server.transport) > 4_000_000
    client.resume()
    assert client.received.endswith(body)
    assert r.closes == ["ok"]
    client.send(GET)
    server.send(OK)
    assert client.received.endswith(b"hi")


def test_a_client_that_stops_reading_again_stops_the_server_again(rig):
    r = rig()
    client, server = r.talk()
    body = bytes(range(256)) * 12_000
    server.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (3 * len(body)))
    for _ in range(3):
        client.pause()
        server.send(body)
        assert unsent(r) < 400_000
        assert unsent_bytes(server.transport) > 2_000_000
        client.resume()
    assert client.received.endswith(3 * body)
    assert r.closes == ["ok"]


def test_a_server_that_does_not_read_stops_the_client(rig):
    r = rig()
    raw = r.raw()
    client = r.client()
    client.send(post(length=5_120_000))
    server = raw.connections[0]
    server.pause()
    body = bytes(range(256)) * 20_000
    client.send(body)
    assert unsent(r) < 400_000
    assert unsent_bytes(client.transport) > 4_000_000
    server.resume()
    assert server.received.endswith(body)
    server.send(OK)
    assert client.received.endswith(b"hi")


def test_a_body_that_waits_for_a_server_is_bounded(rig):
    r = rig(app="retry_buffer = 64k\ntimeout_connect = 5s\nretries = 0")
    raw = r.raw()
    r.lb.reactor.blackhole("10.0.0.1")
    client = r.client()
    client.send(post(b"x" * 2_000_000))
    assert unsent_bytes(client.transport) > 1_500_000
    assert not raw.connections
    r.advance(5.1)
    assert client.received.startswith(b"HTTP/1.1 504 ")
    assert r.closes == ["connect_timeout"]


def test_an_upload_much_larger_than_the_retry_buffer_arrives_whole(rig):
    r = rig(app="retry_buffer = 1k")
    origin = r.lb.origin("a", "10.0.0.1:8000")
    body = bytes(range(256)) * 4000
    client = r.client()
    assert client.request("POST", post(body)).wait().status == 200
    assert origin.requests[0].body == body


def test_early_answer_to_an_upload(rig):
    r = rig()
    raw = r.raw()
    client = r.client()
    client.send(post(b"x" * 10, length=1000))
    raw.connections[0].send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
    assert client.received.endswith(b"big")
    assert b"Connection: close" in client.received
    assert raw.connections[0].closed
    client.send(b"x" * 990)
    client.half_close()
    assert r.clients == 0
    assert (r.closes, r.log[0].status) == (["ok"], 413)


def test_answer_that_begins_before_the_upload_ends(rig):
    r = rig()
    raw = r.raw()
    client = r.client()
    client.send(CHUNKED + b"1\r\na\r\n")
    server = raw.connections[0]
    server.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
    client.send(b"1\r\nb\r\n")
    server.send(b"1\r\nb\r\n")
    client.send(b"0\r\n\r\n")
    server.send(b"0\r\n\r\n")
    assert client.received.endswith(b"1\r\na\r\n1\r\nb\r\n0\r\n\r\n")
    assert not client.finished
    assert r.state().connector.idle == 1


def test_targets_and_headers_a_server_sees(rig):
    r = rig(web="forwarded = x-forwarded rfc7239")
    raw = r.raw()
    client = r.client()
    client.send(
        b"GET http://Other.example:81/p?q HTTP/1.1\r\nHost: example.com\r\n"
        b"X-Forwarded-For: 6.6.6.6\r\nConnection: x-hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\n\r\n"
    )
    lines = raw.connections[0].received.decode().split("\r\n")
    assert lines[0] == "GET /p?q HTTP/1.1"
    assert "Host: other.example:81" in lines
    assert "X-Forwarded-For: 203.0.113.9" in lines
    assert "Via: 1.1 lbproxy" in lines
    assert any(
        line.startswith("Forwarded: for=203.0.113.9") or "203.0.113.9" in line for line in lines
    )
    assert not any("6.6.6.6" in line or "Hop" in line or "Keep-Alive" in line for line in lines)
    raw.connections[0].send(OK.replace(b"\r\n\r\n", b"\r\nConnection: x-own\r\nX-Own: 1\r\n\r\n"))
    assert b"Via: 1.1 lbproxy\r\n" in client.received
    assert b"X-Own" not in client.received


def test_http10_without_host_gets_the_servers(rig):
    r = rig()
    raw = r.raw()
    r.client().send(b"GET / HTTP/1.0\r\n\r\n")
    assert b"\r\nHost: 10.0.0.1:8000\r\n" in raw.connections[0].received


@pytest.mark.parametrize("framing", ["length", "close"])
def test_a_server_that_ended_is_not_read_again(rig, framing: str) -> None:
    """A slow client resumes the server's stream after the server's FIN: the end comes once."""
    r = rig()
    client, server = r.talk()
    client.pause()
    body = b"#" * 400_000
    length = b"Content-Length: 400000\r\n" if framing == "length" else b""
    server.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n" + length + b"\r\n" + body)
    server.half_close()
    r.advance(0.1)
    client.resume()
    r.advance(1)
    assert client.received.count(b"#") == len(body)
    assert r.closes == ["ok"]
    assert r.lb.reactor.errors == []


@pytest.mark.parametrize("requests", [1, 2])
def test_a_client_that_ended_is_not_read_again(rig, requests: int) -> None:
    """Reading pauses while a pipelined request waits; after the client's FIN it does not resume."""
    r = rig(web="abort_on_close = no")
    origin = r.raw()
    client = r.client()
    client.send(GET * requests)
    client.half_close()
    for number in range(requests):
        origin.connections[0].send(OK)
        r.advance(0.1)
        assert client.received.count(b"\r\n\r\nhi") == number + 1
    r.advance(1)
    assert r.closes == ["ok"] * requests
    assert client.finished
    assert r.lb.reactor.errors == []


def test_an_unknown_expectation_is_the_servers_to_judge(rig):
    """RFC 9110 §10.1.1 permits a 417, and does not demand it."""
    for word, expects in ((b"200-ok", False), (b"100-Continue", True)):
        raw = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nExpect: " + word + b"\r\n\r\n"
        head = RequestParser(Limits()).receive(raw)[0]
        assert isinstance(head, RequestHead) and head.expect_continue is expects
    r = rig()
    client, server = r.talk(post(b"x", headers="Expect: 200-ok\r\n"))
    assert b"\r\nExpect: 200-ok\r\n" in server.received
    server.send(b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n")
    assert client.received.startswith(b"HTTP/1.1 417 ")
    assert (r.closes, r.log[0].status) == (["ok"], 417)
