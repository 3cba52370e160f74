"""A feature of a frontend that shares a limit with other worker processes."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from lbproxy.testing import LB
from lbproxy.workers.board import ADDRESSES, Board
from lbproxy.workers.shared import BoardShared
from tests.extending.conftest import Install

SOURCE = Path(__file__).parents[2] / "docs" / "examples" / "extending" / "atonce.py"
TEXT = """
[frontend web]
listen = tcp:80
backend = app
at_once = 3
[backend app]
servers = a 10.0.0.1:80
"""
GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"


@pytest.fixture
def toy(install: Install) -> None:
    """The feature, installed."""
    install("atonce", SOURCE.read_text(), "AtOnce")


def test_one_process(toy: None) -> None:
    with LB.from_config(TEXT) as lb:
        lb.origin("a", "10.0.0.1:80").hang()
        clients = [lb.connect("web") for _ in range(4)]
        for client in clients:
            client.send(GET)
        assert clients[3].received.startswith(b"HTTP/1.1 503")
        assert lb.service.frontend("web").counts["at_once"].at_once_refused == 1
        assert lb.service.reload(TEXT.replace("= 3", "= 4")).ok
        more = [lb.connect("web") for _ in range(2)]
        for client in more:
            client.send(GET)
        assert [c.received[9:12] for c in more] == [b"", b"503"], "those before the reload count"
        for client in clients:
            client.abort()
        lb.advance(0.1)
        again = lb.connect("web")
        again.send(GET)
        assert again.received == b"", "every place is given back once"


def test_two_processes_share_the_limit(toy: None) -> None:
    servers, keys = Board.create(2), Board.create(2, ADDRESSES)
    with ExitStack() as stack:
        stack.callback(servers.close)
        stack.callback(keys.close)
        both = []
        for row in range(2):
            shared = BoardShared(servers, keys, row, {}, b"secret", [])
            both.append(stack.enter_context(LB.from_config(TEXT, shared=shared)))
            both[row].origin("a", "10.0.0.1:80").hang()
        clients = [both[n % 2].connect("web") for n in range(6)]
        for client in clients:
            client.send(GET)
        refused = [client for client in clients if client.received.startswith(b"HTTP/1.1 503")]
        assert len(refused) == 3
        for client in clients:
            client.abort()
        for lb in both:
            lb.advance(0.1)
        assert both[1].service.frontend("web").features["at_once"].held == 0
