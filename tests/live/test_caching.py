"""The cache on real sockets: one fetch for many clients, purges by command, and flat memory."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from lbproxy.cli import main
from tests.live.balancer import ONE_TRANSPORT
from tests.live.clients import ThreadServer, heads
from tests.support.ports import free_ports

pytestmark = [pytest.mark.live]

TEXT = """
[cache main]
{cache}
[frontend web]
listen = tcp:{web}:interface=127.0.0.1
cache = main
backend = app
[backend app]
servers = a {a}
"""


class Origin:
    """An HTTP server that counts what it answers.  ``dead``: it closes all connections."""

    def __init__(self, body: bytes = b"hello", delay: float = 0.0, age: int = 1) -> None:
        self.body = body
        self.delay = delay
        self.age = age
        self.count = 0
        self.dead = False
        self._lock = threading.Lock()
        self.server = ThreadServer(self._serve)

    def _serve(self, sock: Any) -> None:
        for _ in heads(sock):
            if self.dead:
                return
            with self._lock:
                self.count += 1
            time.sleep(self.delay)
            body = self.body
            head = f"HTTP/1.1 200 OK\r\nCache-Control: max-age={self.age}\r\n"
            sock.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)


def start(balancer: Callable[..., Any], origin: Origin, cache: str = "") -> tuple[Any, int, int]:
    """lbproxy, its port, and that of its API."""
    web, admin = free_ports(2)
    text = TEXT.format(web=web, a=origin.server.address, cache=cache)
    lb = balancer(text, settings=f"admin = tcp:{admin}:interface=127.0.0.1")
    return lb, web, admin


def get(port: int, path: str = "/a", host: str = "") -> tuple[int, bytes, str]:
    """Status, body and Cache-Status.  ``host``: the same for all processes, whatever their port."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    client.request("GET", path, headers={"Host": host} if host else {})
    found = client.getresponse()
    result = (found.status, found.read(), found.getheader("Cache-Status", ""))
    client.close()
    return result


@ONE_TRANSPORT
def test_a_thousand_clients_make_one_fetch(balancer: Callable[..., Any]) -> None:
    origin = Origin(delay=1.0, age=2)
    _, web, _ = start(balancer, origin, "waiters = 2000")
    get(web)
    time.sleep(2.2)
    assert origin.count == 1
    origin.age = 600  # a thousand connections may take longer than two seconds
    socks = []
    for _ in range(1000):
        sock = socket.create_connection(("127.0.0.1", web))
        sock.sendall(b"GET /a HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % web)
        socks.append(sock)
    for sock in socks:
        sock.settimeout(60)
        data = b""
        while not data.endswith(b"hello"):
            data += sock.recv(65536)
        assert data.startswith(b"HTTP/1.1 200")
        sock.close()
    assert origin.count == 2


def test_purges_and_reasons_by_command(balancer: Callable[..., Any]) -> None:
    origin = Origin(age=100)
    _, web, admin = start(balancer, origin)
    url = f"http://127.0.0.1:{web}/a"

    def run(*words: str) -> str:
        result = CliRunner().invoke(main, ["cache", *words, "--admin", f"127.0.0.1:{admin}"])
        assert result.exit_code == 0, result.output
        return result.output

    get(web)
    assert get(web)[2].startswith("main; hit")
    assert "use: serve: fresh (RFC 9111" in run("why", url)
    assert url in run("list")
    assert "50.0%" in run("stats")
    origin.body = b"new"
    assert get(web)[1] == b"hello"
    assert run("purge", url) == "main: 1 response purged\n"
    assert get(web)[1] == b"new"
    assert "nothing is stored" in run("why", url + "x")


def test_warming_by_command(balancer: Callable[..., Any], tmp_path: Path) -> None:
    origin = Origin(age=100)
    _, web, _ = start(balancer, origin)
    file = tmp_path / "urls.txt"
    file.write_text("".join(f"http://www.example.com/{number}\n" for number in range(20)))
    words = ["cache", "warm", str(file), "--connect", f"127.0.0.1:{web}", "--rate", "1000/s"]
    assert CliRunner().invoke(main, words).output.startswith("20 stored, 0 were in the cache")
    assert CliRunner().invoke(main, words).output.startswith("0 stored, 20 were in the cache")
    assert origin.count == 20


@ONE_TRANSPORT
def test_hits_while_the_server_is_dead(balancer: Callable[..., Any]) -> None:
    origin = Origin()
    _, web, _ = start(balancer, origin, "grace = 1m")
    get(web)
    origin.dead = True
    time.sleep(1.5)
    status, body, said = get(web)
    assert (status, body) == (200, b"hello")
    assert "grace" in said


def test_memory_is_flat_when_slow_clients_read_what_is_too_large(
    balancer: Callable[..., Any],
) -> None:
    origin = Origin(body=b"x" * (64 << 20))
    lb, web, _ = start(balancer, origin, "memory = 16m\nmax_object = 2m")
    before = resident(lb.process.pid)
    socks = []
    for _ in range(10):
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", web))
        sock.sendall(b"GET /big HTTP/1.1\r\nHost: h\r\n\r\n")
        socks.append(sock)
    time.sleep(2)
    grown = resident(lb.process.pid) - before
    for sock in socks:
        sock.close()
    assert grown < 64 << 20, f"{grown >> 20} MB for 10 slow readers of 64 MB"
    assert get(web, "/big")[0] == 200


def resident(pid: int) -> int:
    """Bytes of a process in memory."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096
