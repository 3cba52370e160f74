"""TCP sessions on real sockets, over our own transports and over Twisted's; TLS that ends one
direction only.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from OpenSSL import SSL

from lbproxy.service import LoadBalancer
from tests.support import tls
from tests.support.reactor import eventually, run
from tests.support.tls import issue, write

Talk = Callable[[Any], Any]
BIG = b"0123456789" * 300_000


def everything(sock: Any) -> bytes:
    """All that comes until the peer's end."""
    parts = []
    with contextlib.suppress(SSL.ZeroReturnError):
        while data := sock.recv(65536):
            parts.append(data)
    return b"".join(parts)


class Peer(threading.Thread):
    """One talk on one blocking socket; ``result`` is what it returned or raised."""

    def __init__(self, connect: Callable[[], Any], talk: Talk) -> None:
        super().__init__(daemon=True)
        self._connect = connect
        self._talk = talk
        self.result: Any = None
        self.start()

    def run(self) -> None:
        try:
            sock = self._connect()
            try:
                self.result = self._talk(sock)
            finally:
                sock.close()
        except Exception as error:
            self.result = error


def session(
    transport: str,
    client: Talk,
    server: Talk,
    *,
    listen: str = "tcp:0:interface=127.0.0.1",
    line: str = "",
    client_context: SSL.Context | None = None,
    server_context: SSL.Context | None = None,
) -> tuple[Any, Any, str]:
    """What client and server came to, and the session's close word."""
    listening = socket.create_server(("127.0.0.1", 0))
    listening.settimeout(60)
    number = listening.getsockname()[1]
    records: list[Any] = []

    def wrap(sock: socket.socket, context: SSL.Context | None, accepting: bool) -> Any:
        sock.settimeout(None)
        if context is None:
            return sock
        connection = SSL.Connection(context, sock)
        (connection.set_accept_state if accepting else connection.set_connect_state)()
        connection.do_handshake()
        return connection

    async def scenario(reactor: Any) -> tuple[Any, Any]:
        service = LoadBalancer.from_config(
            f"[lbproxy]\ntransport = {transport}\n[frontend t]\nmode = tcp\nlisten = {listen}\n"
            f"backend = raw\n[backend raw]\nservers = a 127.0.0.1:{number} {line}\n",
            reactor=reactor,
        )
        frontend = service.frontend("t")
        frontend.write_log = records.append
        service.startService()
        address = service.listeners[0].address
        assert address is not None
        far = Peer(lambda: wrap(listening.accept()[0], server_context, True), server)
        near = Peer(
            lambda: wrap(
                socket.create_connection(("127.0.0.1", address.port), 60), client_context, False
            ),
            client,
        )
        await eventually(reactor, lambda: not near.is_alive() and not far.is_alive())
        await eventually(reactor, lambda: not frontend.clients)
        await service.stopService()
        close = getattr(service.network, "close", None)
        if close is not None:
            close()
        return near.result, far.result

    try:
        near, far = run(scenario)
    finally:
        listening.close()
    (record,) = records
    return near, far, record.close.value


def ask(sock: socket.socket) -> bytes:
    sock.sendall(BIG)
    sock.shutdown(socket.SHUT_WR)
    return everything(sock)


def answer(sock: Any) -> bytes:
    data = everything(sock)
    sock.sendall(data[::-1])
    if isinstance(sock, SSL.Connection):
        sock.shutdown()
    return data


BOTH = pytest.mark.parametrize("transport", ["epoll", "twisted"])


@BOTH
def test_half_close(transport: str) -> None:
    near, far, close = session(transport, ask, answer)
    assert (far, near, close) == (BIG, BIG[::-1], "ok")


def reset(sock: socket.socket) -> None:
    sock.sendall(b"x")
    sock.recv(1)  # so that both connections are made
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@BOTH
@pytest.mark.parametrize("who", ["client", "server"])
def test_resets_are_passed_on(transport: str, who: str) -> None:
    def bereft(sock: socket.socket) -> bytes:
        sock.sendall(b"y")
        return everything(sock)

    talks = (reset, bereft) if who == "client" else (bereft, reset)
    near, far, close = session(transport, *talks)
    other = far if who == "client" else near
    assert isinstance(other, ConnectionResetError)
    assert close == f"{who}_gone"


@BOTH
def test_a_reset_after_the_server_s_fin_is_no_failure(transport: str) -> None:
    """The server has sent all it had; its reset only answers what the client sends too late."""
    half_closed = threading.Event()

    def short(sock: socket.socket) -> None:
        sock.recv(1)
        sock.sendall(b"answer")
        sock.shutdown(socket.SHUT_WR)
        half_closed.wait(60)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def late(sock: socket.socket) -> bytes:
        sock.sendall(b"x")
        data = everything(sock)
        half_closed.set()
        with contextlib.suppress(OSError):
            for _ in range(100):
                sock.sendall(b"too late")
                time.sleep(0.01)
        return data

    near, _, close = session(transport, late, short)
    assert (near, close) == (b"answer", "ok")


@pytest.fixture
def server_context(tmp_path: Path) -> SSL.Context:
    path = write(issue("a.example"), tmp_path)
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.use_certificate_chain_file(path)
    context.use_privatekey_file(path)
    return context


def test_a_tls_server_hears_the_end_and_its_answer_is_not_lost(
    tmp_path: Path, server_context: SSL.Context
) -> None:
    """Our own TLS ends one direction, as RFC 8446 lets it."""
    line = f"tls ca={tls.ca_file(tmp_path)} sni=a.example"
    near, far, close = session("epoll", ask, answer, line=line, server_context=server_context)
    assert (far, near, close) == (BIG, BIG[::-1], "ok")


def test_nothing_written_to_a_tls_server_is_lost_on_twisted_s_transports(
    tmp_path: Path, server_context: SSL.Context
) -> None:
    """There the whole connection is closed, after what was written."""
    line = f"tls ca={tls.ca_file(tmp_path)} sni=a.example"
    near, far, _ = session("twisted", ask, everything, line=line, server_context=server_context)
    assert (far, near) == (BIG, b"")


def test_a_tls_client_may_end_its_direction(tmp_path: Path) -> None:
    def ask_tls(sock: SSL.Connection) -> bytes:
        sock.sendall(BIG)
        sock.shutdown()
        return everything(sock)

    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    pem = write(issue("a.example"), tmp_path)
    near, far, close = session(
        "epoll",
        ask_tls,
        answer,
        listen=f"tls:0:interface=127.0.0.1 certificates={pem}",
        client_context=context,
    )
    assert (far, near, close) == (BIG, BIG[::-1], "ok")
