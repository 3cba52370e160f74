"""``guard = public-only``: what is refused when, and that nothing is dialled before it is
judged.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from textwrap import dedent
from threading import Thread
from typing import Any

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.testing import MemoryReactorClock

from lbproxy.config.errors import ConfigErrors
from lbproxy.service import LoadBalancer
from tests.support.ports import free_port
from tests.support.reactor import eventually, run, sleep

TEXT = """\
[lbproxy]
admin = tcp:{admin}:interface=127.0.0.1
guard_public = 127.95.1.0/24

[frontend web]
listen = tcp:{port}:interface=127.0.0.1
backend = app

[backend app]
guard = public-only
resolve_every = 1s
retries = 0
servers = a {server}
"""


def text(server: str, port: int = 8080, admin: int = 8404) -> str:
    return TEXT.format(server=server, port=port, admin=admin)


def load(server: str) -> LoadBalancer:
    return LoadBalancer.from_config(text(server), reactor=MemoryReactorClock())


@pytest.mark.parametrize(
    ("server", "message"),
    [
        ("10.0.0.1:80", "guard: 10.0.0.1 is private"),
        ("127.0.0.1:80", "guard: 127.0.0.1 is loopback"),
        ("[::ffff:192.168.0.1]:80", "is private"),
        ("unix:/run/app.sock", "is not a public address"),
        ("localhost:80", "is a name of a local network"),
        ("db.internal.:80", "is a name below internal"),
        ("8.8.8.8:80 check_address=127.0.0.1:80", "guard: 127.0.0.1 is loopback"),
        ("8.8.8.8:80 check_address=x.example:80", "check_address must be an IP address"),
    ],
)
def test_servers_that_are_refused_as_written(server: str, message: str) -> None:
    checked = server + ("\ncheck = tcp" if "check_address" in server else "")
    with pytest.raises(ConfigErrors) as caught:
        load(checked)
    (error,) = caught.value.errors
    assert message in str(error) and error.key == "servers" and error.where.line


@pytest.mark.parametrize(
    "server", ["8.8.8.8:80", "[2606:4700::1]:80", "127.95.1.7:80", "x.example:80", "x.example.:80"]
)
def test_public_servers(server: str) -> None:
    lb = load(server)
    assert any("guard_public" in warning for warning in lb.warnings())


def test_own_listeners_are_refused_even_in_public_networks() -> None:
    lines = text("127.0.0.1:8404").replace("127.95.1.0/24", "127.0.0.0/8")
    with pytest.raises(ConfigErrors, match="a listener of lbproxy itself"):
        LoadBalancer.from_config(lines, reactor=MemoryReactorClock())
    LoadBalancer.from_config(lines.replace(":8404\n", ":8405\n"), reactor=MemoryReactorClock())


def test_servers_added_while_it_runs_are_judged() -> None:
    lb = load("8.8.8.8:80")
    with pytest.raises(ConfigErrors, match=r"guard: 10\.0\.0\.1 is private"):
        lb.add_server("app", "b 10.0.0.1:80")
    lb.add_server("app", "b 8.8.4.4:80")


def test_without_guard_nothing_is_judged() -> None:
    lines = text("10.0.0.1:80").replace("guard = public-only\n", "")
    LoadBalancer.from_config(lines, reactor=MemoryReactorClock())


class Names:
    """Resolves every name to ``hosts``."""

    def __init__(self, *hosts: str) -> None:
        self.hosts = hosts

    def resolveHostName(self, receiver: Any, *args: Any, **kw: Any) -> Any:
        receiver.resolutionBegan(None)
        for host in self.hosts:
            receiver.addressResolved(IPv4Address("TCP", host, 0))
        receiver.resolutionComplete()


@contextmanager
def origin(host: str, port: int) -> Iterator[list[bytes]]:
    """An HTTP server that remembers what it was asked."""
    asked: list[bytes] = []
    with closing(socket.create_server((host, port))) as listening:

        def serve() -> None:
            while True:
                try:
                    client, _ = listening.accept()
                except OSError:
                    return
                with client:
                    asked.append(client.recv(4096))
                    client.sendall(
                        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                    )

        thread = Thread(target=serve, daemon=True)
        thread.start()
        yield asked
        listening.shutdown(socket.SHUT_RDWR)
    thread.join(5)


async def status(reactor: Any, port: int) -> int:
    """The status of a request, while the reactor runs."""
    client = socket.create_connection(("127.0.0.1", port))
    client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    client.setblocking(False)
    received = b""

    def answered() -> bool:
        nonlocal received
        try:
            received += client.recv(4096)
        except BlockingIOError:
            return False
        return b"\r\n" in received

    with closing(client):
        await eventually(reactor, answered)
    return int(received.split()[1])


@pytest.mark.live
def test_a_refused_server_sees_no_connection() -> None:
    port, admin, server = free_port(), free_port(), free_port()

    async def scenario(reactor: Any) -> None:
        names = Names("127.95.1.5")
        reactor.installNameResolver(names)
        lines = dedent(text(f"app.example:{server}", port, admin))
        lb = LoadBalancer.from_config(lines, reactor=reactor)
        lb.startService()
        assert await status(reactor, port) == 200
        names.hosts = ("127.0.0.1",)  # the name moves to a forbidden address
        await eventually(reactor, lambda: not lb.backends["app"].group.servers["a"].addresses)
        assert await status(reactor, port) == 503
        note = lb.backends["app"].group.servers["a"].note
        assert note == "guard: app.example: 127.0.0.1 is loopback (RFC 1122)"
        names.hosts = ("127.95.1.5", "127.0.0.1")  # mixed
        await sleep(reactor, 1.5)
        assert await status(reactor, port) == 503
        names.hosts = ("127.95.1.5",)
        await eventually(reactor, lambda: bool(lb.backends["app"].group.servers["a"].addresses))
        assert await status(reactor, port) == 200
        await lb.stopService()

    with origin("127.95.1.5", server) as public, origin("127.0.0.1", server) as inside:
        run(scenario)
    assert len(public) == 2 and inside == []
