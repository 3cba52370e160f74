"""Responses without a body whose headers frame one (RFC 9112 §6.3, rules 1 and 2)."""

from __future__ import annotations

import pytest

from tests.proxy.http_kit import GET, OK, rigs

rig = pytest.fixture(rigs)

CHUNKED = b"Transfer-Encoding: chunked\r\n"


def request(method: str) -> bytes:
    return f"{method} /x HTTP/1.1\r\nHost: example.com\r\n\r\n".encode()


@pytest.mark.parametrize("tail", [b"", b"0\r\n\r\n"])
@pytest.mark.parametrize(
    ("method", "head"),
    [
        ("DELETE", b"HTTP/1.1 204 No Content\r\n" + CHUNKED),
        ("GET", b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\nContent-Length: 5\r\n"),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: gzip, chunked\r\n"),
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n" + CHUNKED),
    ],
)
def test_the_client_gets_it_without_the_framing(rig, method, head, tail):
    r = rig()
    server = r.raw()
    client = r.client()
    client.send(request(method))
    server.connections[0].send(head + b"\r\n" + tail)
    answer = client.take()
    assert answer.startswith(head.partition(b"\r\n")[0])
    assert answer.endswith(b"\r\n\r\n")
    assert b"content-length" not in answer.lower()
    assert b"transfer-encoding" not in answer.lower()
    assert r.closes == ["ok"]
    assert r.state().counters.failed == 0

    client.send(GET)  # the server may still send the body that it has announced
    server.connections[0].send(tail)
    server.connections[1].send(OK)
    assert client.take().endswith(b"hi")


def test_an_interim_response_that_frames_a_body(rig):
    r = rig()
    client, server = r.talk()
    server.send(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n" + CHUNKED + b"\r\n" + OK)
    answer = client.take()
    assert answer.startswith(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n")
    assert b"transfer-encoding" not in answer.lower()
    assert answer.endswith(b"hi")
    client.send(GET)
    assert len(r.lb.origins["10.0.0.1:8000"].connections) == 2


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
def test_a_304_may_describe_the_body_that_it_lacks(rig, head):
    r = rig()
    client, server = r.talk()
    server.send(head)
    client.send(GET)
    server.send(OK)
    assert client.take().endswith(b"hi")


def test_the_body_of_an_interim_response_is_no_answer(rig):
    r = rig()
    client, server = r.talk()
    server.send(b"HTTP/1.1 103 x\r\nContent-Length: 2\r\n\r\nhi" + OK)
    assert b"HTTP/1.1 502 " in client.take()
