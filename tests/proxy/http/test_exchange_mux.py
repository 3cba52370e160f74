"""Exchanges on multiplexed connections: many at once, in any order, on either side."""

from __future__ import annotations

from typing import Any

import pytest

from lbproxy.proxy.unsent import unsent_bytes
from lbproxy.testing.client import open_client
from tests.extending.mux import MuxConnector
from tests.proxy.http_kit import GET, OK, A, post, rigs
from tests.proxy.mux import (
    DATA,
    HEAD,
    PAUSE,
    RESET,
    Frames,
    MuxClient,
    MuxProxyFactory,
    frame,
    read_head,
)

rig = pytest.fixture(rigs)


def mux_client(r: Any) -> MuxClient:
    """A multiplexing client of the rig's frontend."""
    reactor = r.lb.reactor
    if ("0.0.0.0", 9090) not in reactor.ports:
        reactor.listenTCP(9090, MuxProxyFactory(r.frontend, None, None))
    client = open_client(reactor, "127.0.0.1", 9090, client_ip="203.0.113.9")
    r.lb._clients.append(client)
    return MuxClient(client)


class MuxServer:
    """The script's end of a multiplexed server connection."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self._frames = Frames()
        self.streams: dict[int, int] = {}  # by the number in the path
        self.body: dict[int, bytes] = {}
        self.reset: list[int] = []
        self.paused: list[int] = []

    def read(self) -> MuxServer:
        """Take what has come."""
        data, self.connection.received = self.connection.received, b""
        for stream, kind, _, payload in self._frames.receive(data):
            if kind == HEAD:
                self.streams[int(read_head(payload)[0][1][1:] or 0)] = stream
            elif kind == DATA:
                self.body[stream] = self.body.get(stream, b"") + payload
            elif kind == RESET:
                self.reset.append(stream)
            elif kind == PAUSE:
                self.paused.append(stream)
        return self

    def answer(self, path: int, body: bytes = b"hi") -> None:
        """A whole response."""
        stream = self.streams[path]
        self.connection.send(
            frame(stream, HEAD, b"200 OK\nX-A: b") + frame(stream, DATA, body, last=True)
        )


def path_of(connection: Any) -> int:
    """Which request came out of an HTTP/1 connection."""
    return int(connection.received.split(b" ")[1][1:])


def test_ten_exchanges_on_one_client_connection_in_any_order(rig):
    r = rig()
    raw = r.raw()
    mux = mux_client(r)
    mux.get(*range(1, 11))
    assert len(raw.connections) == r.state().active == 10
    order = [3, 1, 4, 10, 5, 9, 2, 6, 8, 7]
    by_path = {path_of(connection): connection for connection in raw.connections}
    for path in order:
        by_path[path].send(OK.replace(b"hi", b"%02d" % path))
    mux.read()
    assert mux.done == order
    assert mux.body == {path: b"%02d" % path for path in order}
    assert r.closes == ["ok"] * 10
    assert r.state().connector.idle == 10
    mux.get(11)
    assert len(raw.connections) == 10


def test_one_reset_disturbs_nobody(rig):
    r = rig(app="retries = 0")
    raw = r.raw()
    mux = mux_client(r)
    mux.get(1, 2, 3)
    one, two, three = sorted(raw.connections, key=path_of)
    mux.client.send(frame(2, RESET))
    assert two.closed
    one.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab")
    one.abort()
    three.send(OK)
    mux.read()
    assert mux.reset == [1]
    assert mux.done == [3]
    assert r.closes == ["client_gone", "server_gone", "ok"]
    assert r.clients == 1


def test_one_stream_that_is_not_read_holds_up_nobody(rig):
    r = rig()
    raw = r.raw()
    mux = mux_client(r)
    mux.get(1, 2)
    slow, quick = sorted(raw.connections, key=path_of)
    mux.client.send(frame(1, PAUSE))
    slow.send(b"HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\n" + b"x" * 900_000)
    quick.send(OK)
    mux.read()
    assert mux.done == [2]
    assert len(mux.body.get(1, b"")) < 200_000
    assert slow.transport._unsent()


def test_uploads_interleave(rig):
    r = rig()
    raw = r.raw()
    mux = mux_client(r)
    for n in (1, 2):
        mux.client.send(frame(n, HEAD, b"POST /%d host" % n))
    for part in (b"a", b"b", b"c"):
        for n in (1, 2):
            mux.client.send(frame(n, DATA, part * n, last=part == b"c"))
    one, two = sorted(raw.connections, key=path_of)
    assert one.received.endswith(b"1\r\na\r\n1\r\nb\r\n1\r\nc\r\n0\r\n\r\n")
    assert two.received.endswith(b"2\r\naa\r\n2\r\nbb\r\n2\r\ncc\r\n0\r\n\r\n")


def test_a_client_that_leaves_ends_all_its_exchanges(rig):
    r = rig()
    raw = r.raw()
    mux = mux_client(r)
    mux.get(1, 2, 3)
    mux.client.abort()
    assert r.closes == ["client_gone"] * 3
    assert all(connection.closed for connection in raw.connections)
    assert r.state().active == 0


def share(r: Any, capacity: int) -> None:
    """Let server connections carry ``capacity`` streams each."""
    r.backend.use_connectors(lambda terms, server: MuxConnector(terms, server, capacity))


def shared(rig: Any, capacity: int = 100, **more: Any) -> Any:
    """A rig whose server connections are multiplexed."""
    r = rig(**more)
    share(r, capacity)
    r.raw()
    return r


def numbered(path: int) -> bytes:
    return GET.replace(b"/", b"/%d" % path, 1)


def test_http1_clients_share_one_server_connection(rig):
    r = shared(rig)
    clients = [r.client() for _ in range(5)]
    for n, client in enumerate(clients):
        client.send(numbered(n))
    raw = r.lb.origins[A]
    assert len(raw.connections) == 1
    server = MuxServer(raw.connections[0]).read()
    for n in (4, 2, 0, 1, 3):
        server.answer(n, b"to %d" % n)
        assert clients[n].received.endswith(b"\r\nto %d\r\n0\r\n\r\n" % n)
    assert r.closes == ["ok"] * 5
    assert r.state().active == 0
    clients[0].send(numbered(9))
    server.read().answer(9)
    assert len(raw.connections) == 1


def test_those_who_come_while_it_is_dialled_share_it(rig):
    r = shared(rig, capacity=2)
    r.lb.reactor.slow("10.0.0.1", 0.05)
    clients = [r.client() for _ in range(5)]
    for n, client in enumerate(clients):
        client.send(numbered(n))
    r.advance(1)
    raw = r.lb.origins[A]
    assert len(raw.connections) == 3
    for connection in raw.connections:
        server = MuxServer(connection).read()
        for path in server.streams:
            server.answer(path)
    r.advance(1)
    assert r.closes == ["ok"] * 5


def test_capacity_is_kept(rig):
    r = shared(rig, capacity=2)
    clients = [r.client() for _ in range(3)]
    for n, client in enumerate(clients):
        client.send(numbered(n))
    raw = r.lb.origins[A]
    first = MuxServer(raw.connections[0]).read()
    assert sorted(first.streams) == [0, 1]
    assert len(raw.connections) == 2
    first.answer(0)
    clients[0].send(numbered(7))
    clients[0].send(numbered(8))
    assert sum(sorted(MuxServer(c).read().streams) != [] for c in raw.connections) == 2


def test_a_reset_of_one_stream_is_one_failure(rig):
    r = shared(rig, app="retries = 0")
    one, two = r.client(), r.client()
    one.send(numbered(1))
    two.send(numbered(2))
    server = MuxServer(r.lb.origins[A].connections[0]).read()
    server.connection.send(frame(server.streams[1], RESET))
    server.answer(2)
    assert b"502" in one.received
    assert b"200 OK" in two.received
    assert r.closes == ["server_gone", "ok"]


def test_a_client_that_leaves_resets_its_stream_only(rig):
    r = shared(rig)
    one, two = r.client(), r.client()
    one.send(numbered(1))
    two.send(numbered(2))
    server = MuxServer(r.lb.origins[A].connections[0]).read()
    one.abort()
    server.read()
    assert server.reset == [server.streams[1]]
    server.answer(2)
    assert b"200 OK" in two.received


def test_a_lost_connection_fails_all_and_they_are_tried_again(rig):
    r = shared(rig)
    clients = [r.client() for _ in range(3)]
    for n, client in enumerate(clients):
        client.send(numbered(n))
    raw = r.lb.origins[A]
    raw.connections[0].abort()
    r.advance(0.3)
    for connection in raw.connections[1:]:
        server = MuxServer(connection).read()
        for path in server.streams:
            server.answer(path)
    assert r.closes == ["ok"] * 3


def test_a_failed_dial_fails_all_who_waited(rig):
    r = rig(app="retries = 0")
    share(r, 10)
    clients = [r.client() for _ in range(3)]
    for client in clients:
        client.send(GET)
    r.advance(0)
    assert [b"502" in client.received for client in clients] == [True] * 3
    assert r.state().active == 0


def test_back_pressure_of_one_client_pauses_one_stream(rig):
    r = shared(rig)
    slow, quick = r.client(), r.client()
    slow.send(numbered(1))
    quick.send(numbered(2))
    slow.pause()
    server = MuxServer(r.lb.origins[A].connections[0]).read()
    stream = server.streams[1]
    server.connection.send(frame(stream, HEAD, b"200 OK"))
    for _ in range(20):
        server.connection.send(frame(stream, DATA, b"x" * 10_000))
    assert server.read().paused == [stream]
    server.answer(2)
    assert b"200 OK" in quick.received


def test_a_server_connection_that_is_full_stops_its_clients(rig):
    r = shared(rig)
    client = r.client()
    client.send(post(length=3_000_000).replace(b"/", b"/1", 1))
    connection = r.lb.origins[A].connections[0]
    connection.pause()
    client.send(b"x" * 3_000_000)
    assert unsent_bytes(client.transport) > 2_000_000
    connection.resume()
    server = MuxServer(connection).read()
    assert len(next(iter(server.body.values()))) == 3_000_000
    server.answer(1)
    assert b"200 OK" in client.received


def test_a_response_deadline_is_per_stream(rig):
    r = shared(rig, app="timeout_response = 5s")
    one, two = r.client(), r.client()
    one.send(numbered(1))
    r.advance(3)
    two.send(numbered(2))
    r.advance(2.1)
    assert b"504" in one.received
    server = MuxServer(r.lb.origins[A].connections[0]).read()
    server.answer(2)
    assert b"200 OK" in two.received


def test_multiplexed_on_both_sides(rig):
    r = shared(rig)
    mux = mux_client(r)
    mux.get(*range(1, 11))
    (connection,) = r.lb.origins[A].connections
    server = MuxServer(connection).read()
    for path in range(10, 0, -1):
        server.answer(path, b"%d" % path)
    mux.read()
    assert mux.done == list(range(10, 0, -1))
    assert mux.body[7] == b"7"


def test_a_post_body_through_a_multiplexed_connection(rig):
    r = shared(rig)
    client = r.client()
    client.send(post(b"x" * 300_000))
    server = MuxServer(r.lb.origins[A].connections[0]).read()
    assert server.body == {1: b"x" * 300_000}
    server.answer(0)
    assert b"200 OK" in client.received
