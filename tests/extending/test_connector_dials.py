"""A second protocol to servers as a connector: several requests share a dial."""

from __future__ import annotations

from typing import Any

import pytest

from tests.extending.muxkit import ask, servers, two_streams
from tests.proxy.http_kit import rigs

rig = pytest.fixture(rigs)


@pytest.fixture
def r(rig: Any) -> Any:
    return two_streams(rig)


def test_those_who_share_a_dial_go_on_when_one_of_them_leaves(r: Any) -> None:
    r.lb.reactor.slow("10.0.0.1", 0.05)
    one, two = ask(r, b"/1", b"/2")
    assert r.state().connector.waiting == 2
    one.abort()
    r.advance(1)
    (server,) = servers(r)
    assert server.read() == [b"/2"]
    server.answer(b"/2")
    r.advance(1)
    assert b"200 OK" in two.received


def test_a_dial_that_nobody_waits_for_is_given_up(r: Any) -> None:
    r.lb.reactor.slow("10.0.0.1", 0.05)
    for client in ask(r, b"/1", b"/2"):
        client.abort()
    r.advance(1)
    assert (r.state().connector.waiting, r.state().connector.idle) == (0, 0)
    assert all(one.connection.finished for one in servers(r))


def test_a_connection_that_carries_no_stream_is_a_failed_dial(r: Any) -> None:
    r.state().connector.streams = 0
    (one,) = ask(r, b"/1")
    r.advance(1)
    assert b"502 Bad Gateway" in one.received
    assert r.closes == ["connect_failed"]
