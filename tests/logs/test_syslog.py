"""The syslog sink with real sockets and a virtual clock."""

from __future__ import annotations

import re
import select
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock

from lbproxy.config.model import LogSpec
from lbproxy.logs.sink import BUFFER_BYTES
from lbproxy.logs.syslog import CONNECT_TIMEOUT, SyslogSink
from lbproxy.testing import MemoryReactor


def where(one: socket.socket) -> str:
    host, port = one.getsockname()[:2]
    return f"{host}:{port}"


class Server:
    """A syslog server that reads when it is told to."""

    def __init__(self, kind: str, path: str = "") -> None:
        family = socket.AF_UNIX if kind == "unix" else socket.AF_INET
        self.kind = kind
        self.socket = socket.socket(
            family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM
        )
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(path or ("127.0.0.1", 0))
        self.target = f"syslog:{kind}:{path or where(self.socket)}"
        if kind == "tcp":
            self.socket.listen()
        self.client: socket.socket | None = None

    def accept(self) -> socket.socket:
        self.socket.settimeout(60)
        self.client = self.socket.accept()[0]
        return self.client

    def datagrams(self, count: int) -> list[bytes]:
        """The next ``count`` datagrams; no other follows."""
        self.socket.settimeout(60)
        found = [self.socket.recv(65536) for _ in range(count)]
        assert not is_readable(self.socket, 0.05)
        return found

    def close(self) -> None:
        self.socket.close()
        if self.client is not None:
            self.client.close()


def text(message: bytes) -> bytes:
    found = re.fullmatch(rb"<134>1 \S+ \S+ lbproxy \d+ - - (.*)", message)
    assert found, message
    return found[1]


def frames(data: bytes) -> list[bytes]:
    """The texts of octet-counted messages; whatever is no such message fails."""
    found, at = [], 0
    while at < len(data):
        start = data.index(b" ", at) + 1
        at = start + int(data[at : start - 1])
        found.append(text(data[start:at]))
    return found


def is_readable(sock: socket.socket, seconds: float) -> bool:
    return bool(select.select([sock], [], [], seconds)[0])


def read_all(client: socket.socket) -> bytes:
    """All bytes until the connection ends."""
    got = b""
    client.settimeout(60)
    while data := client.recv(1 << 20):
        got += data
    return got


def read_one(client: socket.socket) -> list[bytes]:
    """The text of the next message, which arrives alone."""
    client.settimeout(60)
    return frames(client.recv(1 << 20))


@pytest.fixture
def servers() -> Iterator[Callable[..., Server]]:
    made: list[Server] = []

    def make(kind: str, path: str = "") -> Server:
        made.append(Server(kind, path))
        return made[-1]

    yield make
    for server in made:
        server.close()


def started(target: str) -> tuple[SyslogSink, Clock]:
    clock = Clock()
    sink = SyslogSink(LogSpec(target), clock)
    sink.start()
    return sink, clock


@pytest.mark.parametrize("kind", ["udp", "unix"])
def test_one_datagram_a_line(servers: Any, kind: str, tmp_path: Path) -> None:
    server = servers(kind, str(tmp_path / "log") if kind == "unix" else "")
    sink, clock = started(server.target)
    for n in range(5):
        sink.write(b"line %d\n" % n)
    clock.advance(0.2)
    assert [text(one) for one in server.datagrams(5)] == [b"line %d" % n for n in range(5)]
    assert not sink.dropped and not sink.errors
    sink.stop()
    assert not clock.getDelayedCalls()


def test_messages_over_tcp_are_counted(servers: Any) -> None:
    server = servers("tcp")
    sink, clock = started(server.target)
    lines = [b"line %d" % n for n in range(2000)]
    for line in lines:
        sink.write(line + b"\n")
    client = server.accept()
    clock.advance(1)
    sink.stop()
    assert frames(read_all(client)) == lines
    assert not sink.dropped


def test_a_tcp_server_that_does_not_read_blocks_nothing(servers: Any) -> None:
    server = servers("tcp")
    sink, clock = started(server.target)
    client = server.accept()
    line = b"z" * 1999 + b"\n"
    count = 0
    while not sink.dropped and count < 20_000:
        sink.write(line)
        count += 1
        if not count % 30:
            clock.advance(0.2)
    assert sink.dropped == 1, "the buffer is bounded"
    assert count * len(line) > BUFFER_BYTES
    got, deadline = b"", time.monotonic() + 60
    while sink._size or sink._unfinished:
        assert time.monotonic() < deadline
        while is_readable(client, 0.05):
            got += client.recv(1 << 20)
        clock.advance(1)
    sink.stop()
    assert frames(got + read_all(client)) == [line[:-1]] * (count - 1)


def test_a_tcp_server_that_comes_back(servers: Any) -> None:
    server = servers("tcp")
    sink, clock = started(server.target)
    sink.write(b"one\n")
    client = server.accept()
    clock.advance(1)
    assert read_one(client) == [b"one"]
    client.close()
    assert sink._socket is not None and is_readable(sink._socket, 60), "the FIN has arrived"
    sink.write(b"two\n")
    clock.advance(0.2)
    assert sink.errors == 1 and not sink.dropped
    clock.advance(1)
    client = server.accept()
    clock.advance(1)
    assert read_one(client) == [b"two"]
    sink.stop()


def test_a_tcp_server_that_is_not_there(servers: Any) -> None:
    server = servers("tcp")
    server.close()
    sink, clock = started(server.target)
    for n in range(12_000):
        sink.write(b"%0199d\n" % n)
    for _ in range(5):
        clock.advance(1)
    assert sink.errors >= 3 and sink.dropped > 5000
    sink.stop()
    assert sink.dropped == 12_000
    assert not clock.getDelayedCalls()


def test_a_connection_that_is_not_answered_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A listener whose backlog is full drops the SYN."""
    server = socket.socket()
    server.bind(("127.0.0.1", 0))
    server.listen(0)
    fillers = []
    for _ in range(4):
        filler = socket.socket()
        filler.setblocking(False)
        filler.connect_ex(server.getsockname())
        fillers.append(filler)
    sink, clock = started(f"syslog:tcp:{where(server)}")
    sink.write(b"x\n")
    clock.pump([1.0] * int(CONNECT_TIMEOUT + 3))
    assert sink.errors >= 1 and "timed out" in sink._last_error
    sink.stop()
    for one in (server, *fillers):
        one.close()


def test_a_udp_server_that_is_not_there_is_counted_and_raises_nothing(servers: Any) -> None:
    server = servers("udp")
    server.close()
    sink, clock = started(server.target)
    for _ in range(10):
        sink.write(b"x\n")
        clock.advance(1)
    assert sink.errors >= 1
    sink.stop()


def test_a_message_too_large_for_a_datagram_is_cut(servers: Any) -> None:
    server = servers("udp")
    sink, clock = started(server.target)
    sink.write(b"a" * 30_000 + b"\n")
    sink.write(b"b\n")
    clock.advance(0.2)
    first, second = server.datagrams(2)
    assert len(first) == 8192 and text(second) == b"b"
    sink.stop()


def test_a_server_by_name_waits_for_the_look_up(servers: Any) -> None:
    server = servers("udp")
    reactor = MemoryReactor()
    reactor.resolver.table["logs.internal"] = ["127.0.0.1"]
    target = server.target.replace("127.0.0.1", "logs.internal")
    sink = SyslogSink(LogSpec(target), reactor)
    sink.start()
    sink.write(b"kept\n")
    reactor.advance(2)
    assert [text(one) for one in server.datagrams(1)] == [b"kept"]
    sink.stop()


def test_a_name_nobody_knows() -> None:
    reactor = MemoryReactor()
    sink = SyslogSink(LogSpec("syslog:udp:nowhere.internal:514"), reactor)
    sink.start()
    sink.write(b"lost\n")
    reactor.advance(30)
    assert sink.errors and "cannot be resolved" in sink._last_error
    sink.stop()
    assert sink.dropped == 1
    reactor.advance(30)
    assert not reactor.getDelayedCalls()
