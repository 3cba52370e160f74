"""``abort_on_close``: a client that closes its sending side before the response begins."""

from __future__ import annotations

import errno
import socket
import struct
from typing import Any

import pytest
from OpenSSL import SSL
from twisted.internet.defer import Deferred

from lbproxy.service import LoadBalancer
from tests.proxy.http_kit import GET, OK, TWO_SERVERS, B, Rig, post, rigs
from tests.support import tls
from tests.support.reactor import eventually, run, sleep

rig = pytest.fixture(rigs)

UPGRADE = GET[:-2] + b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n"
SWITCH = b"HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
BUSY = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"
NO = "abort_on_close = no"


class Waiting:
    """A filter that waits in ``phase`` until the script fires ``waits``."""

    def __init__(self, phase: str) -> None:
        self.waits: Deferred[None] = Deferred()
        setattr(self, phase, lambda traffic: self.waits)


class State:
    """A request whose response has not begun: ``go_on()`` lets it be answered."""

    def __init__(self, rig: Any, name: str, web: str) -> None:
        self.detail = "left before the response began"
        getattr(self, name)(rig, web)

    def queued(self, rig: Any, web: str) -> None:
        r = self.r = rig(web=web, servers="a 10.0.0.1:8000 maxconn=1")
        r.raw()
        first = r.client()
        first.send(GET)
        (server,) = r.lb.origins["10.0.0.1:8000"].connections
        self.send(r.client())

        def go_on() -> None:
            server.send(OK)
            r.advance(0.1)
            if b"/asked" in server.received:
                server.send(OK)

        self.go_on, self.detail = go_on, "left while it was queued"

    def dialling(self, rig: Any, web: str) -> None:
        r = self.r = rig(web=web)
        self.answering()
        r.lb.reactor.blackhole("10.0.0.1")
        self.send(r.client())

        def go_on() -> None:
            r.lb.reactor.heal()
            r.advance(10)

        self.go_on = go_on

    def retry_pause(self, rig: Any, web: str) -> None:
        r = self.r = rig(
            web=web, servers=TWO_SERVERS, app="retry_on = connect 503\nretry_backoff = 2s"
        )
        r.backend.random = lambda: 1.0
        busy, other = r.raw(), r.lb.tcp_origin(B, B, lambda data: OK)
        self.send(r.client())
        if not busy.connections:  # the balancer began with the other one
            self.client.abort()
            self.send(r.client())
        busy.connections[0].send(BUSY)
        other.connections.clear()
        self.go_on = lambda: r.advance(20)
        self.detail = "left while it waited for a retry"

    def sent(self, rig: Any, web: str) -> None:
        r = self.r = rig(web=web)
        raw = r.raw()
        self.send(r.client())
        self.go_on = lambda: raw.connections[0].closed or raw.connections[0].send(OK)

    def sent_body(self, rig: Any, web: str) -> None:
        r = self.r = rig(web=web)
        raw = r.raw()
        self.client = r.client()
        self.client.send(post(b"whole"))
        self.go_on = lambda: raw.connections[0].closed or raw.connections[0].send(OK)

    def held_body(self, rig: Any, web: str) -> None:
        """The server does not read the body, which is complete and in the transport's buffer."""
        r = self.r = rig(web=web, app="retry_buffer = 1m\npool_size = 0")
        raw = r.raw()
        for pieces in range(1, 100):
            self.client = r.client()
            self.client.send(post(length=pieces * 10_000))
            raw.connections[-1].pause()
            for _ in range(pieces):
                self.client.send(b"x" * 10_000)
            (connection,) = r.frontend.clients
            if connection._hold:
                break
            self.client.abort()
            r.advance(0.1)
        assert connection._exchange.traffic.request_ended

        def go_on() -> None:
            if not raw.connections[-1].closed:
                raw.connections[-1].resume()
                raw.connections[-1].send(OK)

        self.go_on = go_on

    def interim(self, rig: Any, web: str) -> None:
        self.sent(rig, web)
        self.r.lb.origins["10.0.0.1:8000"].connections[0].send(
            b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
        )

    def early_filter(self, rig: Any, web: str) -> None:
        self._filtered(rig, web, "early")

    def request_filter(self, rig: Any, web: str) -> None:
        self._filtered(rig, web, "request")

    def server_request_filter(self, rig: Any, web: str) -> None:
        self._filtered(rig, web, "server_request")
        self.detail = "left before the response began"

    def response_filter(self, rig: Any, web: str) -> None:
        self._filtered(rig, web, "response")

    def _filtered(self, rig: Any, web: str, phase: str) -> None:
        one = Waiting(phase)
        r = self.r = rig(web=web, filters=[one])
        self.answering()
        self.send(r.client())
        r.advance(0.1)

        def go_on() -> None:
            if not one.waits.called:
                one.waits.callback(None)
            r.advance(0.1)

        self.go_on, self.detail = go_on, "left while a filter ran"

    def answering(self) -> None:
        self.r.lb.tcp_origin("10.0.0.1:8000", "10.0.0.1:8000", lambda data: OK)

    def send(self, client: Any) -> None:
        self.client = client
        client.send(GET.replace(b"/", b"/asked", 1))


STATES = [
    "queued",
    "dialling",
    "retry_pause",
    "sent",
    "sent_body",
    "held_body",
    "interim",
    "early_filter",
    "request_filter",
    "server_request_filter",
    "response_filter",
]


def records(r: Rig) -> list[tuple[str, str]]:
    return [(record.close.value, record.detail) for record in r.log]


@pytest.mark.parametrize("state", STATES)
def test_a_fin_ends_the_request_in_every_state(rig, state: str) -> None:
    s = State(rig, state, "")
    before = len(s.r.log)
    s.client.half_close()
    assert records(s.r)[before:] == [("client_gone", s.detail)]
    assert s.client.finished
    s.go_on()
    assert b" 200 " not in s.client.received
    assert s.r.state().counters.failed <= (state == "retry_pause"), "not the server's fault"


@pytest.mark.parametrize("state", STATES)
def test_no_lets_the_request_go_on_in_every_state(rig, state: str) -> None:
    s = State(rig, state, NO)
    before = len(s.r.log)
    s.client.half_close()
    assert len(s.r.log) == before
    s.go_on()
    assert s.client.received.endswith(OK[-6:])
    assert s.r.closes[-1] == "ok"
    assert s.client.finished


@pytest.mark.parametrize("web", ["", NO])
@pytest.mark.parametrize("state", STATES)
def test_a_reset_ends_the_request_in_every_state(rig, state: str, web: str) -> None:
    s = State(rig, state, web)
    before = len(s.r.log)
    s.client.abort()
    assert s.r.closes[before:] == ["client_gone"]


def test_a_fin_after_the_response_has_begun(rig) -> None:
    r = rig()
    client, server = r.talk()
    server.send(OK[:-1])
    client.half_close()
    server.send(OK[-1:])
    assert client.received.endswith(b"hi")
    assert r.closes == ["ok"]


def test_the_last_of_pipelined_requests_is_the_one_that_a_fin_ends(rig) -> None:
    """The twin of ``test_half_closed_after_pipelining_gets_every_answer``."""
    r = rig()
    r.raw()
    client = r.client()
    client.transport.write(GET + GET + GET)
    client.half_close()
    (server,) = r.lb.origins["10.0.0.1:8000"].connections
    assert r.closes == []
    server.send(OK)
    server.send(OK)
    assert client.received.count(b"200 OK") == 2
    assert r.closes == ["ok", "ok", "client_gone"]
    assert server.received.count(b"GET ") == 2
    assert client.finished


def test_a_fin_told_while_the_last_request_waits(rig) -> None:
    """lbproxy does not read on while it waits, but a transport may know the FIN already."""
    r = rig()
    r.raw()
    client = r.client()
    client.send(GET + GET)
    (connection,) = r.frontend.clients
    connection.readConnectionLost()
    (server,) = r.lb.origins["10.0.0.1:8000"].connections
    server.send(OK)
    assert records(r) == [("ok", ""), ("client_gone", "left before the request began")]
    assert server.received.count(b"GET ") == 1
    assert client.finished


def test_a_fin_inside_the_next_request_ends_that_one(rig) -> None:
    """The one before it is answered."""
    r = rig()
    r.raw()
    client = r.client()
    client.transport.write(GET + GET[:9])
    client.half_close()
    (server,) = r.lb.origins["10.0.0.1:8000"].connections
    assert r.closes == []
    server.send(OK)
    assert client.received.startswith(b"HTTP/1.1 200 OK")
    assert r.closes == ["ok", "bad_request"]


def test_a_fin_before_the_101(rig) -> None:
    """The twin of ``test_half_close_before_the_101``."""
    r = rig()
    raw = r.raw()
    client = r.client()
    client.send(UPGRADE + b"bye")
    client.half_close()
    assert raw.connections[0].closed
    assert r.closes == ["client_gone"]


def test_the_default_is_yes_and_reload_changes_it(rig) -> None:
    r = rig()
    assert r.frontend.abort_on_close
    client, server = r.talk()
    server.send(OK)
    r.reload(NO)
    client.send(GET)
    client.half_close()
    server.send(OK)
    assert client.received.count(b"200 OK") == 2


def exchange(transport: str, answers: str, how: str, pem: Any) -> tuple[bytes, str]:
    """What a client receives that sends a request and then ``how`` on a real socket, and the
    request's close reason.  The server answers half a second later."""
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setblocking(False)
    listen = f"tls:0:interface=127.0.0.1 certificates={pem}" if pem else "tcp:0:interface=127.0.0.1"
    logged: list[Any] = []

    async def scenario(reactor: Any) -> bytes:
        service = LoadBalancer.from_config(
            f"[lbproxy]\ntransport = {transport}\n[frontend web]\nlisten = {listen}\n"
            f"abort_on_close = {answers}\nbackend = app\n[backend app]\n"
            f"servers = a 127.0.0.1:{listening.getsockname()[1]}\n",
            reactor=reactor,
        )
        frontend = service.frontend("web")
        frontend.write_log = logged.append
        service.startService()
        sock: Any = socket.create_connection(("127.0.0.1", service.listeners[0].address.port), 60)
        sock.setblocking(False)
        if pem:
            context = SSL.Context(SSL.TLS_CLIENT_METHOD)
            sock = SSL.Connection(context, sock)
            sock.set_connect_state()
            await eventually(reactor, lambda: tried(sock.do_handshake) is None)
        await eventually(reactor, lambda: tried(lambda: sock.send(GET)) == len(GET))
        await eventually(reactor, lambda: frontend.counters.requests == 1)
        accepted: list[socket.socket] = []

        def connected() -> bool:
            found = tried(listening.accept)
            accepted.extend(found[:1])
            return bool(found)

        await eventually(reactor, connected)
        (server,) = accepted
        if how == "fin":
            sock.shutdown() if pem else sock.shutdown(socket.SHUT_WR)
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()
        await sleep(reactor, 0.2)
        tried(lambda: server.sendall(OK))
        await eventually(reactor, lambda: bool(logged))
        received = b""
        if how == "fin":
            await sleep(reactor, 0.1)
            received = tried(lambda: sock.recv(4096)) or b""
            sock.close()
        server.close()
        await service.stopService()
        close = getattr(service.network, "close", None)
        if close is not None:
            close()
        return received

    try:
        received = run(scenario)
    finally:
        listening.close()
    (record,) = logged
    return received, record.close.value


def tried(call: Any) -> Any:
    """What ``call()`` returns; b"" if there is nothing to do yet or ever."""
    try:
        return call()
    except (SSL.WantReadError, SSL.WantWriteError, SSL.ZeroReturnError, BlockingIOError):
        return b""
    except OSError as error:
        assert error.errno in (errno.ECONNRESET, errno.EPIPE)
        return b""


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("transport", ["epoll", "twisted"])
def test_on_sockets(transport: str, secure: bool, tmp_path: Any) -> None:
    pem = tls.write(tls.issue("a.example"), tmp_path) if secure else None
    assert exchange(transport, "yes", "fin", pem) == (b"", "client_gone")
    assert exchange(transport, "yes", "reset", pem) == (b"", "client_gone")
    assert exchange(transport, "no", "reset", pem) == (b"", "client_gone")
    received, close = exchange(transport, "no", "fin", pem)
    if secure and transport == "twisted":  # Twisted's TLS ends both directions at once
        assert close == "client_gone"
    else:
        assert (received[-2:], close) == (b"hi", "ok")
