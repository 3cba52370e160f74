"""What connections cost in memory: idle ones, many that have gone, and clients that pipeline."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.live.balancer import MEGABYTE
from tests.live.clients import ThreadServer
from tests.support.ports import free_port
from tests.support.process import until

KILOBYTE = 1024

IDLE = 6 * KILOBYTE
"""Most that an idle connection may hold: HTTP after a head of 3 KB, TCP with both its sockets."""

HEAD = (
    b"GET /small HTTP/1.1\r\nHost: www.example.com\r\n"
    + b"".join(b"X-Padding-%02d: %s\r\n" % (n, b"p" * 80) for n in range(30))
    + b"\r\n"
)
TINY = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
BURST = TINY * (60 * KILOBYTE // len(TINY))

HTTP = """\
[frontend web]
listen = tcp:{port}:interface=127.0.0.1
backend = app
timeout_keepalive = 5m
timeout_header = 5m
[backend app]
servers = a {server}
"""

TCP = """\
[frontend raw]
mode = tcp
listen = tcp:{port}:interface=127.0.0.1
backend = app
[backend app]
servers = a {server}
"""


@contextlib.contextmanager
def clients(port: int, count: int) -> Iterator[list[socket.socket]]:
    """Connections to ``port``; closed at the end."""
    found: list[socket.socket] = []
    try:
        for _ in range(count):
            found.append(socket.create_connection(("127.0.0.1", port), timeout=60))
        yield found
    finally:
        for sock in found:
            sock.close()


def ask(sock: socket.socket) -> None:
    sock.sendall(HEAD)
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += sock.recv(65536)
    assert answer.startswith(b"HTTP/1.1 200")


def serve(sock: socket.socket) -> None:
    """An origin that answers every head."""
    data = b""
    while more := sock.recv(65536):
        data += more
        while b"\r\n\r\n" in data:
            data = data.partition(b"\r\n\r\n")[2]
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


@contextlib.contextmanager
def silent_server() -> Iterator[str]:
    """The address of a server that says nothing and closes when its client does."""
    selector = selectors.DefaultSelector()
    stop, stopped = socket.socketpair()
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    selector.register(listener, selectors.EVENT_READ)
    selector.register(stopped, selectors.EVENT_READ)

    def run() -> None:
        while True:
            for key, _ in selector.select():
                sock: Any = key.fileobj
                if sock is stopped:
                    return
                if sock is listener:
                    selector.register(listener.accept()[0], selectors.EVENT_READ)
                elif not sock.recv(65536):
                    selector.unregister(sock)
                    sock.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield "{}:{}".format(*listener.getsockname())
    finally:
        stop.close()
        thread.join(10)
        for key in list(selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
        selector.close()


def growth(lb: Any, base: int) -> int:
    return int(lb.process.child.rss_bytes()) - base


def test_idle_http_connections(balancer: Callable[..., Any], transport: str) -> None:
    """After a second with all clients gone, the process is back at its size."""
    origin = ThreadServer(serve)
    port = free_port()
    lb = balancer(HTTP.format(port=port, server=origin.address))
    with clients(port, 200) as warm:
        for sock in warm:
            ask(sock)
    assert until(lambda: lb.process.child.descriptors() < 100)
    start = int(lb.process.child.rss_bytes())
    for count in (2000, 2000):
        with clients(port, count) as many:
            for sock in many:
                ask(sock)
            time.sleep(0.3)
            held = growth(lb, start) / count
            print(f"HTTP: {held:,.0f} bytes per connection")
            assert held <= IDLE
        assert until(lambda: lb.process.child.descriptors() < 100, timeout=60)
    assert until(lambda: growth(lb, start) <= start / 5), growth(lb, start) / MEGABYTE


def test_idle_tcp_sessions(balancer: Callable[..., Any], transport: str) -> None:
    port, count = free_port(), 1000
    with silent_server() as address:
        lb = balancer(TCP.format(port=port, server=address))
        with clients(port, 100) as warm:
            for sock in warm:
                sock.sendall(b"hello")
            assert until(lambda: lb.process.child.descriptors() >= 200, timeout=60)
        assert until(lambda: lb.process.child.descriptors() < 100, timeout=60)
        start = int(lb.process.child.rss_bytes())
        with clients(port, count) as many:
            for sock in many:
                sock.sendall(b"hello")
            assert until(lambda: lb.process.child.descriptors() >= 2 * count, timeout=60)
            held = growth(lb, start) / count
            print(f"TCP: {held:,.0f} bytes per session")
            assert held <= IDLE
        assert until(lambda: lb.process.child.descriptors() < 100, timeout=60)


@pytest.mark.parametrize("transport", ["epoll"])
def test_pipelined_bursts(balancer: Callable[..., Any], transport: str) -> None:
    """Nothing is parsed beyond the running exchange, and reading pauses."""
    port, count = free_port(), 500
    with silent_server() as address:
        lb = balancer(HTTP.format(port=port, server=address))

        def burst() -> None:
            with clients(port, count) as many:
                for sock in many:
                    sock.setblocking(False)
                    with contextlib.suppress(BlockingIOError):
                        sock.send(BURST)
                assert until(lambda: lb.process.child.descriptors() >= 2 * count, timeout=60)
                time.sleep(1.0)

        _, megabytes = lb.growth(burst)
        print(f"bursts: {megabytes:.1f} MB for {count * len(BURST) / MEGABYTE:.1f} MB sent")
        assert megabytes <= 64
