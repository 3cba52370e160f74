"""``max_handshakes`` over real sockets, on both networks."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from OpenSSL import SSL

from lbproxy.errors import Kind
from lbproxy.net.handshakes import GRACE_S
from lbproxy.service import LoadBalancer
from tests.net.test_handshake_turns import shaken
from tests.siege.attacks import client_hello
from tests.support import tls
from tests.support.reactor import eventually, run, sleep

pytestmark = pytest.mark.live

TEXT = """\
[lbproxy]
transport = {transport}
max_handshakes = {most}
[frontend web]
listen = tls:0:interface=127.0.0.1 certificates={pem}
timeout_handshake = 6s
routes = path / -> reply 200 hi
"""


class Site:
    """A load balancer, and clients that it must serve or end."""

    def __init__(self, reactor: Any, transport: str, pem: str, most: int) -> None:
        self.reactor = reactor
        text = TEXT.format(transport=transport, pem=pem, most=most)
        self.service = LoadBalancer.from_config(text, reactor=reactor)
        self.service.startService()
        self.places = self.service.handshakes
        self.counters = self.service.frontend("web").counters
        self.left: list[socket.socket] = []

    def connect(self, data: bytes = b"") -> socket.socket:
        address: Any = self.service.listeners[0].address
        sock = socket.create_connection(("127.0.0.1", address.port), 60)
        sock.setblocking(False)
        if data:
            sock.send(data)
        self.left.append(sock)
        return sock

    def client(self) -> SSL.Connection:
        made = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), self.connect())
        made.set_connect_state()
        return made

    async def until(self, condition: Callable[[], Any]) -> None:
        await eventually(self.reactor, condition)

    async def stop(self) -> None:
        for sock in self.left:
            sock.close()
        await self.service.stopService()
        assert (self.places.active, self.places.waiting) == (0, 0)
        close = getattr(self.service.network, "close", None)
        if close is not None:
            close()


def scene(act: Any, transport: str, folder: Path, most: int) -> None:
    """Run ``act(site)``."""
    pem = tls.write(tls.issue("a.example"), folder)

    async def scenario(reactor: Any) -> None:
        site = Site(reactor, transport, pem, most)
        await act(site)
        await site.stop()

    run(scenario)


both = pytest.mark.parametrize("transport", ["epoll", "twisted"])


@both
def test_left_handshakes_make_room(transport: str, tmp_path: Path) -> None:
    async def act(site: Site) -> None:
        hello = client_hello()
        for _ in range(6):
            site.connect(hello)
        await site.until(lambda: site.places.active == 3 and site.places.waiting == 3)
        client = site.client()
        await site.until(lambda: shaken(client))  # behind all six
        assert site.counters.evicted >= 4
        assert site.counters.closes[Kind.HANDSHAKE_EVICTED] == site.counters.evicted
        assert site.places.active <= 3

    scene(act, transport, tmp_path, 3)


@both
def test_a_burst_of_ordinary_clients_is_served(transport: str, tmp_path: Path) -> None:
    async def act(site: Site) -> None:
        clients = [site.client() for _ in range(24)]
        most = 0

        def established() -> bool:
            nonlocal most
            most = max(most, site.places.active)
            done = [shaken(client) for client in clients]  # each of them goes on
            return all(done)

        await site.until(established)
        assert most <= 2 and site.counters.evicted == 0

    scene(act, transport, tmp_path, 2)


def test_silent_connections_hold_no_place(tmp_path: Path) -> None:
    async def act(site: Site) -> None:
        for _ in range(4):
            site.connect()
        client = site.client()
        await site.until(lambda: shaken(client))
        await site.until(lambda: not site.places.active)
        assert (site.places.waiting, site.counters.evicted) == (0, 0)

    scene(act, "epoll", tmp_path, 1)


@both
def test_a_newcomer_that_waits_too_long_ends(transport: str, tmp_path: Path) -> None:
    async def act(site: Site) -> None:
        site.places.most = 1
        site.connect(client_hello())
        await site.until(lambda: site.places.active == 1)
        next(iter(site.places._places)).works = True  # as if lbproxy had no time for it
        site.connect(client_hello())
        await site.until(lambda: site.places.waiting == 1)
        await site.until(lambda: not site.places.waiting and not site.places.active)
        # who had no place is not to blame, so no ban counts it
        assert site.counters.closes == {Kind.CLIENT_TLS: 1, Kind.LIMITED: 1}

    scene(act, transport, tmp_path, 1)


def test_a_newcomer_that_leaves_is_noticed(tmp_path: Path) -> None:
    async def act(site: Site) -> None:
        site.connect(client_hello())
        await site.until(lambda: site.places.active == 1)
        second = site.connect(client_hello())
        await site.until(lambda: site.places.waiting == 1)
        second.close()
        await site.until(lambda: not site.places.waiting)
        assert site.counters.closes == {Kind.CLIENT_GONE: 1}
        await sleep(site.reactor, GRACE_S + 0.3)
        assert site.counters.evicted == 0  # nobody needed the place

    scene(act, "epoll", tmp_path, 1)
