"""What happens to a client connection after an answer: it is kept, closed at once, or lingers."""

from __future__ import annotations

from typing import Any

import pytest

from lbproxy.http.message import Reply
from lbproxy.proxy.http.clientend import LINGER_BYTES
from tests.proxy.http_kit import GET, OK, post, rigs

rig = pytest.fixture(rigs)

REPLY = "routes = path / -> reply 200 hi"
LAST = GET[:-2] + b"Connection: close\r\n\r\n"


@pytest.mark.parametrize("web", ["", REPLY])
def test_a_client_that_has_sent_all_is_closed_at_once(rig, web: str) -> None:
    r = rig(web=web)
    r.lb.origin("a", "10.0.0.1:8000", b"hi")
    client = r.client()
    client.send(LAST)
    assert client.received.endswith(b"hi") and client.finished
    assert r.clients == 0


@pytest.mark.parametrize("web", ["", REPLY])
def test_a_client_that_has_sent_more_may_read_its_answer(rig, web: str) -> None:
    """A reset in answer to the second request would destroy the answer to the first."""
    r = rig(web=f"max_requests = 1\n{web}")
    r.lb.origin("a", "10.0.0.1:8000", b"hi")
    client = r.client()
    client.send(GET + GET)
    assert client.received.count(b"hi") == 1 and client.finished
    assert r.clients == 1
    client.send(b"x" * 1000)  # is read and dropped
    client.half_close()
    assert r.clients == 0, "its end is seen at once, not after two seconds"


@pytest.mark.parametrize("more", [0, 1])
def test_a_megabyte_after_the_last_answer_is_read(rig, more: int) -> None:
    r = rig()
    client = r.client()
    client.send(b"nonsense\r\n\r\n")
    assert client.received.startswith(b"HTTP/1.1 400 ")
    client.send(b"x" * LINGER_BYTES)
    client.send(b"x" * more)
    client.half_close()
    assert r.clients == more
    r.advance(2.1)
    assert r.clients == 0


def test_a_connection_whose_request_stalled_is_closed(rig) -> None:
    r = rig(web="timeout_body = 5s")
    client, _ = r.talk(post(b"ab", length=4))
    r.advance(5.1)
    assert client.received.startswith(b"HTTP/1.1 408 ")
    assert b"\r\nConnection: close\r\n" in client.received
    client.send(b"cd" + GET)
    assert client.received.count(b"HTTP/1.1") == 1
    client.half_close()
    assert r.clients == 0
    assert r.closes == ["client_timeout"]


def test_a_client_that_has_sent_its_body_waits_for_the_server_alone(rig) -> None:
    r = rig(web="timeout_body = 5s", app="timeout_response = 60s")
    client, server = r.talk(post(b"ab", length=4))
    client.send(b"cd")
    r.advance(30)
    assert client.received == b""
    server.send(OK)
    assert client.received.endswith(b"hi") and not client.finished


def test_a_client_whose_body_the_server_does_not_take_has_no_deadline(rig) -> None:
    r = rig(web="timeout_body = 5s", app="timeout_server = 60s")
    size = 2_000_000
    client, server = r.talk(post(length=size))
    server.transport.pauseProducing()
    client.send(b"x" * size)
    r.advance(30)
    assert client.received == b"" and r.closes == []
    server.transport.resumeProducing()
    r.advance(0.1)
    server.send(OK)
    assert client.received.endswith(b"hi")


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_last_of_max_requests_closes(rig, count: int) -> None:
    r = rig(web=f"max_requests = {count}")
    r.lb.origin("a", "10.0.0.1:8000", b"x")
    client = r.client()
    for number in range(1, count + 1):
        closes = client.request("GET", GET).wait().header("connection") == "close"
        assert closes is (number == count)
    assert r.clients == 0


def test_a_produced_reply_to_a_stalled_request_says_that_it_is_the_last(rig) -> None:
    class Page:
        def failed(self, traffic: Any, error: Any) -> Reply:
            return Reply(503, iter((b"so", b"rry")))

    r = rig(web="timeout_body = 5s", filters=[Page()])
    client, _ = r.talk(post(b"ab", length=4))
    r.advance(5.1)
    assert client.received.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nConnection: close\r\n" in client.received
    assert client.finished


def test_a_client_that_sends_and_does_not_read_has_its_own_deadline(rig) -> None:
    r = rig(web="timeout_client = 5s\ntimeout_body = 60s")
    client, server = r.talk(post(b"ab", length=4))
    client.pause()
    server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\n" + b"x" * 900_000)
    client.send(b"c")
    client.send(b"d")
    r.advance(10.5)  # what the system took in the meantime counted as reading
    assert r.closes == ["client_stalled"]
