"""As :mod:`tests.proxy.test_no_cycles`, over real sockets: TLS on both sides, and fast dials.

On the memory transports of the other tests nothing runs of ``net/`` but the timers.
"""

from __future__ import annotations

import contextlib
import gc
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from lbproxy.service import LoadBalancer
from tests.proxy.test_no_cycles import UPGRADE, alive
from tests.siege.attacks import client_hello
from tests.support import tls
from tests.support.ports import free_ports
from tests.support.reactor import eventually, run, sleep

pytestmark = pytest.mark.live

TEXT = """\
[frontend web]
listen =
    tcp:0:interface=127.0.0.1
    tls:0:interface=127.0.0.1 certificates={pem}
timeout_handshake = 1s
routes =
    path /plain* -> plain
    path /refused -> refused
    path /wrong -> wrong
    default -> secure
[frontend raw]
mode = tcp
listen =
    tcp:0:interface=127.0.0.1
    tls:0:interface=127.0.0.1 certificates={pem}
backend = raw
[backend secure]
servers = a 127.0.0.1:{secure} tls ca={ca} sni=site.test
pool_size = 0
retries = 0
[backend plain]
servers = a 127.0.0.1:{plain}
pool_size = 0
retries = 0
[backend refused]
servers = a 127.0.0.1:{closed}
retries = 1
[backend wrong]
servers = a 127.0.0.1:{secure} tls ca={ca} sni=other.test
retries = 1
[backend raw]
mode = tcp
servers = a 127.0.0.1:{secure} tls ca={ca} sni=site.test
"""
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)


def reset(sock: socket.socket) -> None:
    """Close with a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


class Origin:
    """Answers as the path says, in threads; with ``context`` over TLS."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        sock.settimeout(60)
        with contextlib.suppress(OSError):
            if self._context is not None:
                sock = self._context.wrap_socket(sock, server_side=True)
            with sock:
                self._answer(sock)

    def _answer(self, sock: socket.socket) -> None:
        head = sock.recv(65536)
        if b"/reset" in head:
            reset(sock)
        elif b"/half" in head:
            sock.sendall(OK.replace(b"2", b"9", 1)[:-1])
        elif b"Upgrade:" in head:
            sock.sendall(SWITCH)
            sock.sendall(sock.recv(65536))
        else:
            sock.sendall(OK)

    def stop(self) -> None:
        """Accept no more."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


class Ports:
    """Where the load balancer listens, and how clients trust it."""

    def __init__(self, service: Any, context: ssl.SSLContext) -> None:
        self.http, self.https, self.raw, self.raw_tls = (
            one.address.port for one in service.listeners
        )
        self.context = context

    def connect(self, port: int) -> socket.socket:
        return socket.create_connection(("127.0.0.1", port), 60)

    def secure(self, port: int) -> ssl.SSLSocket:
        return self.context.wrap_socket(self.connect(port), server_hostname="site.test")


def ask(sock: socket.socket, path: str) -> bytes:
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
    return sock.recv(65536)


def over_tls(path: str) -> Callable[[Ports], None]:
    def act(ports: Ports) -> None:
        with contextlib.suppress(OSError), ports.secure(ports.https) as sock:
            ask(sock, path)

    act.__name__ = f"tls{path.replace('/', '_')}"
    return act


def in_the_clear(path: str) -> Callable[[Ports], None]:
    def act(ports: Ports) -> None:
        with contextlib.suppress(OSError), ports.connect(ports.http) as sock:
            ask(sock, path)

    act.__name__ = f"clear{path.replace('/', '_')}"
    return act


def client_resets(ports: Ports) -> None:
    sock = ports.connect(ports.https)
    secure = ports.context.wrap_socket(sock, server_hostname="site.test")
    secure.sendall(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nhalf")
    reset(secure)


def upgraded(ports: Ports) -> None:
    with ports.secure(ports.https) as sock:
        sock.sendall(UPGRADE)
        assert sock.recv(65536).startswith(b"HTTP/1.1 101")
        sock.sendall(b"hello")
        sock.recv(65536)


def hello_and_leave(ports: Ports) -> None:
    with ports.connect(ports.https) as sock:
        sock.sendall(client_hello())
        sock.recv(65536)


def hello_and_stay(ports: Ports) -> None:
    with ports.connect(ports.https) as sock:
        sock.sendall(client_hello())
        while sock.recv(65536):  # until timeout_handshake
            pass


def no_hello(ports: Ports) -> None:
    with contextlib.suppress(OSError), ports.connect(ports.https) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
        sock.recv(65536)


def silent(ports: Ports) -> None:
    ports.connect(ports.https).close()


def session(ports: Ports) -> None:
    with ports.connect(ports.raw) as sock:
        ask(sock, "/")


def session_over_tls(ports: Ports) -> None:
    with ports.secure(ports.raw_tls) as sock:
        ask(sock, "/")


def session_that_resets(ports: Ports) -> None:
    sock = ports.connect(ports.raw)
    ask(sock, "/half")
    reset(sock)


ACTS: list[Callable[[Ports], None]] = [
    *map(over_tls, ["/", "/plain", "/refused", "/wrong", "/reset", "/half", "/plain/reset"]),
    *map(in_the_clear, ["/", "/plain", "/refused", "/wrong", "/reset", "/half"]),
    client_resets, upgraded, hello_and_leave, hello_and_stay, no_hello, silent,
    session, session_over_tls, session_that_resets,
]  # fmt: skip


@pytest.fixture(scope="module")
def origins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The words of the configuration that name files and ports."""
    folder = tmp_path_factory.mktemp("cycles")
    pem = tls.write(tls.issue("site.test"), folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    plain, secure = Origin(), Origin(context)
    (closed,) = free_ports(1)
    yield {
        "pem": pem, "ca": tls.ca_file(Path(folder)), "plain": plain.port, "secure": secure.port,
        "closed": closed,
    }  # fmt: skip
    plain.stop()
    secure.stop()


@pytest.mark.parametrize("act", ACTS, ids=lambda one: one.__name__)
def test_sockets(act: Callable[[Ports], None], origins: dict[str, Any]) -> None:
    context = ssl.create_default_context()
    tls.authority().configure_trust(context)

    async def scenario(reactor: Any) -> None:
        service = LoadBalancer.from_config(TEXT.format(**origins), reactor=reactor)
        service.startService()
        ports = Ports(service, context)
        pool = ThreadPool(1, 1)
        pool.start()

        async def once() -> None:
            await deferToThreadPool(reactor, pool, act, ports)
            fronts = [service.frontend(name) for name in ("web", "raw")]
            await eventually(reactor, lambda: not any(f.limits.active for f in fronts))
            await sleep(reactor, 0.3)  # timers let go of what they had

        try:
            await once()  # what is made once and kept
            before = alive()
            for _ in range(3):
                await once()
            left = alive() - before
        finally:
            pool.stop()
        await service.stopService()
        service.network.close()  # type: ignore[attr-defined]
        assert not left

    gc.collect()
    gc.disable()
    try:
        run(scenario)
    finally:
        gc.enable()
