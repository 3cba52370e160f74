"""A feature that answers in place of servers, and keeps bodies by a transform."""

from __future__ import annotations

from pathlib import Path

import pytest

from lbproxy.testing import LB
from tests.extending.conftest import Install

SOURCE = Path(__file__).parents[2] / "docs" / "examples" / "extending" / "memory.py"
TEXT = """
[frontend web]
listen = tcp:80
backend = app
[backend app]
servers = a 10.0.0.1:80
remember = 10s
"""
GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
PIECE = 10_000
CHUNK = b"2710\r\n" + b"x" * PIECE + b"\r\n"


@pytest.fixture
def toy(install: Install) -> None:
    """The feature, installed."""
    install("memory", SOURCE.read_text(), "Remember")


@pytest.mark.parametrize("more", ["", "hedge = 1s\n"])
def test_it_answers_for_a_while(toy: None, more: str) -> None:
    with LB.from_config(TEXT + more) as lb:
        origin = lb.origin("a", "10.0.0.1:80", lambda request: request.path.encode())
        for _ in range(3):
            assert lb.get("http://h/one").body == b"/one"
        assert len(origin.requests) == 1
        assert lb.get("http://h/two").body == b"/two"
        assert lb.request("POST", "http://h/one", body=b"x").body == b"/one", "not a GET"
        assert len(origin.requests) == 3
        lb.advance(11)
        assert lb.get("http://h/one").body == b"/one"
        assert len(origin.requests) == 4
        assert lb.backend("app").counts["remember"].remembered == 2
        assert lb.service.reload(TEXT.replace("remember = 10s\n", "")).ok
        lb.get("http://h/one")
        assert len(origin.requests) == 5


def test_a_hit_streams_and_a_miss_fills_while_it_streams(toy: None) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    with LB.from_config(TEXT) as lb:
        server = lb.tcp_origin("a", "10.0.0.1:80")
        client = lb.connect("web")
        client.send(GET)
        server.connections[0].send(head + CHUNK)
        assert len(client.take()) > PIECE, "the miss is not held back"
        for _ in range(63):
            server.connections[0].send(CHUNK)
        server.connections[0].send(b"0\r\n\r\n")
        client.take()
        slow = lb.connect("web")
        slow.pause()
        slow.send(GET)
        lb.advance(1)
        slow.resume()
        lb.advance(1)
        assert slow.received.endswith(b"x" * PIECE) and len(slow.received) > 64 * PIECE
        assert len(server.connections) == 1


def test_a_frontend_may_have_it(install: Install) -> None:
    text = SOURCE.read_text().replace(
        '    name = "remember"', '    name = "remember"\n    owner = "frontend"'
    )
    install("memory", text, "Remember")
    config = TEXT.replace("remember = 10s\n", "").replace(
        "backend = app", "backend = app\nremember = 10s"
    )
    with LB.from_config(config) as lb:
        origin = lb.origin("a", "10.0.0.1:80", lambda request: request.path.encode())
        for _ in range(2):
            assert lb.get("http://h/one").body == b"/one"
        assert len(origin.requests) == 1
        assert lb.service.reload(config + "hedge = 1s\n").ok
        lb.advance(11)
        assert lb.get("http://h/one").body == b"/one"
        assert len(origin.requests) == 2 and "hedge" in lb.backend("app").features
