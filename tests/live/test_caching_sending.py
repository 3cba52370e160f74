"""Large stored bodies on real sockets: every byte is right, however a client reads."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.live.clients import ThreadServer, connect, heads
from tests.live.test_caching import TEXT
from tests.support.ports import free_ports
from tests.support.process import until

pytestmark = pytest.mark.live

CUT = "lbproxy.cache.codec.DamagedError: the file was changed while it was read"
SIZES = (65_537, 300_000, 1_048_576, 3_000_001)


def body_of(path: bytes) -> bytes:
    """The body of ``/SIZE``."""
    size = int(path[1:])
    return (blake2b(path, digest_size=64).digest() * (size // 64 + 1))[:size]


def serve(sock: Any) -> None:
    """Answer with bodies that may be stored."""
    for head in heads(sock):
        body = body_of(head.split(b" ")[1])
        text = f"HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nContent-Length: {len(body)}"
        sock.sendall(text.encode() + b"\r\n\r\n" + body)


def ask(path: bytes) -> bytes:
    """A request; all balancers have one key for a path."""
    return b"GET %b HTTP/1.1\r\nHost: h\r\n\r\n" % path


class Reader:
    """A client that reads responses from ``sock``, at most ``most`` bytes at once."""

    def __init__(self, sock: socket.socket, most: int = 1 << 20) -> None:
        self.sock = sock
        self.most = most
        self.rest = b""

    def response(self) -> tuple[bytes, bytes]:
        """The next head, and its body."""
        while b"\r\n\r\n" not in self.rest:
            self._more()
        head, _, self.rest = self.rest.partition(b"\r\n\r\n")
        size = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        while len(self.rest) < size:
            self._more()
        body, self.rest = self.rest[:size], self.rest[size:]
        return head, body

    def _more(self) -> None:
        data = self.sock.recv(self.most)
        if not data:
            raise ConnectionResetError("cut")
        self.rest += data


@pytest.fixture(params=["memory", "disk"])
def web(request: pytest.FixtureRequest, balancer: Callable[..., Any], tmp_path: Path) -> int:
    """The port of a balancer that has the response of each size."""
    disk = f"memory = 1m\nmax_object = 8m\ndisk = {tmp_path / 'store'} 256m"
    cache = disk if request.param == "disk" else "memory = 64m"
    origin = ThreadServer(serve)
    port, admin = free_ports(2)
    text = TEXT.format(web=port, a=origin.address, cache=cache)
    lb = balancer(text, settings=f"admin = tcp:{admin}:interface=127.0.0.1")
    lb.tracebacks = [CUT]
    reader = Reader(connect(port))
    for size in SIZES:
        path = b"/%d" % size

        def is_hit(path: bytes = path) -> bool:
            reader.sock.sendall(ask(path))
            head, body = reader.response()
            assert body == body_of(path)
            return b"main; hit" in head

        assert until(is_hit, 60)
    reader.sock.close()
    return port


def test_pipelined_responses_are_whole_and_in_order(web: int) -> None:
    random = Random(1)
    paths = [b"/%d" % random.choice(SIZES) for _ in range(16)]
    with connect(web) as sock:
        sock.sendall(b"".join(map(ask, paths)))
        time.sleep(0.05)  # the socket is full now
        reader = Reader(sock)
        for path in paths:
            reader.most = random.choice((5_000, 70_000, 1 << 20))
            head, body = reader.response()
            assert b" 200 " in head and b"main; hit" in head and body == body_of(path)


def test_clients_with_small_windows_and_those_that_leave(web: int) -> None:
    for number in range(12):
        path = b"/%d" % SIZES[number % 4]
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        sock.settimeout(60)
        sock.connect(("127.0.0.1", web))
        sock.sendall(ask(path))
        if number % 3 == 0:
            sock.recv(1000)
        else:
            assert Reader(sock, 30_000).response()[1] == body_of(path)
        sock.close()


def test_a_file_that_changes_under_a_slow_client(web: int, tmp_path: Path) -> None:
    size = SIZES[3]
    path = b"/%d" % size
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        sock.settimeout(60)
        sock.connect(("127.0.0.1", web))
        sock.sendall(ask(path))
        first = sock.recv(100)
        for file in (tmp_path / "store").glob("*/*.b"):
            with file.open("r+b") as stored:
                stored.seek(file.stat().st_size - 1)
                stored.write(b"\x00")
        reader = Reader(sock)
        reader.rest = first
        try:
            found = reader.response()[1]
        except ConnectionResetError:
            found = body_of(path)
        assert found == body_of(path)
    for one in SIZES:
        with connect(web) as sock:
            sock.sendall(ask(b"/%d" % one))
            assert Reader(sock).response()[1] == body_of(b"/%d" % one)
