"""A feature that speaks another protocol to servers, in the place of the connector."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lbproxy.testing import LB
from tests.extending.conftest import Install

SOURCE = Path(__file__).parents[2] / "docs" / "examples" / "extending" / "gopher.py"
TEXT = """
[frontend web]
listen = tcp:80
backend = app
[backend app]
servers = a 10.0.0.1:70
retries = 1
gopher = yes
"""
GET = b"GET /menu?x=1 HTTP/1.1\r\nHost: h\r\n\r\n"


@pytest.fixture
def lb(install: Install) -> Any:
    """A load balancer whose server speaks Gopher."""
    install("gopher", SOURCE.read_text(), "Gopher")
    with LB.from_config(TEXT) as made:
        yield made
        assert made.server("app", "a").active == 0, "every lease is back"


def test_an_answer_until_the_end(lb: Any) -> None:
    server = lb.tcp_origin("a", "10.0.0.1:70")
    client = lb.connect("web")
    client.send(GET)
    connection = server.connections[0]
    assert connection.received == b"/menu\r\n"
    connection.send(b"iwelcome\r\n")
    connection.send(b".\r\n")
    connection.close()
    lb.advance(0.1)
    assert client.received.startswith(b"HTTP/1.1 200")
    assert b"iwelcome" in client.received and client.received.endswith(b"0\r\n\r\n")
    client.send(GET)
    assert len(server.connections) == 2, "one connection for each request"
    server.connections[1].close()
    lb.advance(2)
    server.connections[2].close()
    lb.advance(0.1)
    assert b"HTTP/1.1 502" in client.received, "a retry, and then an error page"


def test_a_silent_server_has_a_deadline(lb: Any) -> None:
    lb.tcp_origin("a", "10.0.0.1:70")
    client = lb.connect("web")
    client.send(GET)
    lb.advance(61)
    assert b"HTTP/1.1 504" in client.received


def test_without_it_servers_speak_http_again(lb: Any) -> None:
    assert lb.service.reload(TEXT.replace("gopher = yes\n", "")).ok
    lb.origin("a", "10.0.0.1:70")
    assert lb.get("http://h/").body == b"ok"


def test_a_route_has_timeouts_of_its_own(lb: Any) -> None:
    routes = "routes = default -> app timeout_response=3s retries=0\n"
    assert lb.service.reload(TEXT.replace("backend = app\n", routes)).ok
    server = lb.tcp_origin("a", "10.0.0.1:70")
    client = lb.connect("web")
    client.send(GET)
    assert server.connections[0].received == b"/menu\r\n"
    lb.advance(2.5)
    assert client.received == b""
    lb.advance(1)
    assert client.received.startswith(b"HTTP/1.1 504")
