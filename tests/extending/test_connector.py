"""A second protocol to servers as a connector: its limit of streams changes while it runs."""

from __future__ import annotations

from typing import Any

import pytest

from tests.extending.mux import MuxConnector
from tests.proxy.http_kit import GET, A, rigs
from tests.proxy.mux import DATA, HEAD, LEAVE, LIMIT, Frames, frame, read_head

rig = pytest.fixture(rigs)


class Server:
    """The script's end of one connection."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.frames = Frames()
        self.seen = 0
        self.open: dict[bytes, int] = {}

    def read(self) -> list[bytes]:
        """The paths of the requests that have come and are not answered."""
        received = self.connection.received
        new, self.seen = received[self.seen :], len(received)
        for stream, kind, _, payload in self.frames.receive(new):
            if kind == HEAD:
                self.open[read_head(payload)[0][1]] = stream
        return list(self.open)

    def answer(self, path: bytes) -> None:
        stream = self.open.pop(path)
        self.connection.send(frame(stream, HEAD, b"200 OK"))
        self.connection.send(frame(stream, DATA, path, last=True))

    def say(self, kind: int, payload: bytes = b"") -> None:
        self.connection.send(frame(0, kind, payload))


@pytest.fixture
def r(rig: Any) -> Any:
    made = rig(app="retries = 0")
    made.backend.use_connectors(lambda terms, server: MuxConnector(terms, server, 2))
    made.raw()
    return made


def ask(r: Any, *paths: bytes) -> list[Any]:
    """A client of its own for each path."""
    clients = [r.client() for _ in paths]
    for client, path in zip(clients, paths, strict=True):
        client.send(GET.replace(b"/", path, 1))
    return clients


def servers(r: Any) -> list[Server]:
    return [Server(connection) for connection in r.lb.origins[A].connections]


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
