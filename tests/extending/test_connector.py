"""A second protocol to servers as a connector: its limit of streams changes while it runs."""

from __future__ import annotations

from typing import Any

import pytest

from tests.extending.muxkit import ask, servers, two_streams
from tests.proxy.http_kit import rigs
from tests.proxy.mux import LEAVE, LIMIT

rig = pytest.fixture(rigs)


@pytest.fixture
def r(rig: Any) -> Any:
    return two_streams(rig)


def test_a_higher_limit_holds_at_once_for_all_connections_to_come(r: Any) -> None:
    ask(r, b"/1")
    (first,) = servers(r)
    first.say(LIMIT, b"4")
    ask(r, b"/2", b"/3", b"/4", b"/5")
    assert [len(one.read()) for one in servers(r)] == [4, 1]


def test_a_lower_limit_ends_no_stream(r: Any) -> None:
    clients = ask(r, b"/1", b"/2")
    (first,) = servers(r)
    first.say(LIMIT, b"1")
    assert sorted(first.read()) == [b"/1", b"/2"]
    clients += ask(r, b"/3")
    assert len(servers(r)) == 2
    first.answer(b"/1")
    clients += ask(r, b"/4")
    assert first.read() == [b"/2"], "still as many as it allows"
    first.answer(b"/2")
    ask(r, b"/5")
    assert first.read() == [b"/5"]


def test_a_connection_that_leaves_finishes_its_streams_and_gets_no_new_ones(r: Any) -> None:
    (one,) = ask(r, b"/1")
    (first,) = servers(r)
    first.say(LEAVE)
    (two,) = ask(r, b"/2")
    assert first.read() == [b"/1"]
    assert not first.connection.finished
    first.answer(b"/1")
    assert one.received.endswith(b"/1\r\n0\r\n\r\n")
    assert first.connection.finished
    second = servers(r)[1]
    second.read()
    second.answer(b"/2")
    assert b"200 OK" in two.received


def test_new_terms_end_no_stream(r: Any) -> None:
    (one,) = ask(r, b"/1")
    r.state().connector.renew()
    ask(r, b"/2")
    first, second = servers(r)
    assert (first.read(), second.read()) == ([b"/1"], [b"/2"])
    first.answer(b"/1")
    assert b"200 OK" in one.received
    assert first.connection.finished
