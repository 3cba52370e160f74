"""Whatever clients, servers and time do: nothing raises, nothing is left, nothing is logged twice
or mixed up.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lbproxy.balance.server import AdminState
from lbproxy.proxy.features.hedge import Hedging
from tests.proxy.http_kit import GET, TWO_SERVERS, A, B, Rig

C = "10.0.0.3:8000"
BODY = bytes(range(256)) * 300  # what every upload and every answer carries
UPGRADE = GET[:-2] + b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n"
SWITCH = b"HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"

numbers = st.integers(0, 2)
sizes = st.sampled_from([1, 100, 5000, 60_000, 76_800])
CLIENT = ("get", "head", "begin", "post", "chunked", "garbage", "upgrade")
SERVER = ("fixed", "chunked", "until_close", "100", "103", "101", "garbage", "extra", "204", "503")
HONEST = ("fixed", "chunked", "until_close", "103", "204", "503")
ENDS = ("close", "abort", "half_close", "pause", "resume")

steps = st.one_of(
    st.tuples(st.just("client"), numbers, st.sampled_from(CLIENT)),
    st.tuples(st.just("upload"), numbers, sizes),
    st.tuples(st.just("server"), numbers, st.sampled_from(SERVER)),
    st.tuples(st.just("download"), numbers, sizes),
    st.tuples(st.just("client_end"), numbers, st.sampled_from(ENDS)),
    st.tuples(st.just("server_end"), numbers, st.sampled_from(ENDS)),
    st.tuples(st.just("time"), numbers, st.sampled_from([0.01, 0.3, 1.0, 4.0, 12.0])),
    st.tuples(st.just("health"), numbers, st.booleans()),
    st.tuples(st.just("listen"), numbers, st.booleans()),
    st.tuples(st.just("network"), numbers, st.booleans()),
    st.tuples(st.just("log"), numbers, st.booleans()),
    st.tuples(st.just("reload"), numbers, st.sampled_from([100, 4000, 8000])),
    st.tuples(st.just("admin"), numbers, st.sampled_from(AdminState)),
    st.tuples(st.just("kill"), numbers, st.just(None)),
)
setups = st.fixed_dictionaries(
    {
        "app": st.sampled_from(
            [
                "",
                "on_down = close\nretry_buffer = 1k",
                "retries = 0\npool_requests = 2\ntimeout_response = 3s",
                "queue = 1\ntimeout_queue = 2s\npool_size = 1\ntimeout_server = 3s",
                "hedge = 200ms\nhedge_share = 100%",
                "hedge = 10ms\nhedge_share = 100%\non_down = close\ntimeout_response = 3s\n"
                "retry_on = connect reset timeout 503\nretries = 1\npassive = errors=2 eject=3s",
                "hedge = 200ms\nhedge_share = 50%\nretries = 3\nmax_retries = 2\nretry_budget = "
                "50%\nqueue = 2\n"
                "retry_on = connect reset 503\nretry_backoff = 100ms",
                "sticky = header X-User\nrebalance = websocket rate=5/s idle=0s after=1s\nmaxconn "
                "= 2",
            ]
        ),
        "web": st.sampled_from(["", "timeout_body = 3s\ntimeout_client = 3s\nmax_requests = 2"]),
        "servers": st.sampled_from(
            [
                f"a {A}",
                TWO_SERVERS,
                f"a {A} maxconn=1\nb {B} maxconn=1",
                f"a {A} maxconn=1\nb {B} maxconn=1\nc {C} maxconn=1",
            ]
        ),
    }
)


class Script:
    """Runs steps; an impossible one does nothing."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.clients: list[Any] = []
        self.origins = [rig.raw(A), rig.raw(B), rig.raw(C)]
        self.uploads: dict[Any, tuple[int, bool]] = {}  # how far, and whether in chunks
        self.downloads: dict[Any, tuple[int, str]] = {}
        self.honest = True  # no server sent anything wrong
        self.sane = True  # no client did

    def run(self, kind: str, number: int, what: Any) -> None:
        getattr(self, "do_" + kind)(number, what)

    # -- clients

    def _client(self, number: int) -> Any:
        while len(self.clients) <= number:
            self.clients.append(self.rig.client())
        client = self.clients[number]
        if client.closed or client.finished:
            client = self.clients[number] = self.rig.client()
        return client

    def do_client(self, number: int, what: str) -> None:
        client = self._client(number)
        if client in self.uploads or not client.transport.connected:
            return
        head = b"POST / HTTP/1.1\r\nHost: a\r\n"
        if what == "post":
            self.uploads[client] = (0, False)
            client.send(head + b"Content-Length: %d\r\n\r\n" % len(BODY))
        elif what == "chunked":
            self.uploads[client] = (0, True)
            client.send(head + b"Transfer-Encoding: chunked\r\n\r\n")
        elif what == "get":
            client.send(GET * 3)
        elif what == "head":
            client.send(GET.replace(b"GET", b"HEAD"))
            self.sane = False  # its answers are harder to read
        elif what == "begin":
            client.send(b"GET / HT")
            self.sane = False
        elif what == "upgrade":
            client.send(UPGRADE)
            self.sane = False
        else:
            client.send(b"\x16\x03 what\r\n\r\n")
            self.sane = False

    def do_upload(self, number: int, size: int) -> None:
        client = self._client(number)
        if client not in self.uploads or not client.transport.connected:
            return
        at, chunked = self.uploads[client]
        data = BODY[at : at + size]
        out = b"%x\r\n%b\r\n" % (len(data), data) if chunked else data
        self.uploads[client] = (at + len(data), chunked)
        if at + len(data) == len(BODY):
            del self.uploads[client]
            out += b"0\r\n\r\n" if chunked else b""
        client.send(out)

    def do_client_end(self, number: int, how: str) -> None:
        if number < len(self.clients) and not self.clients[number].closed:
            getattr(self.clients[number], how)()

    # -- servers

    def _server(self, number: int) -> Any:
        living = [c for o in self.origins for c in o.connections if not c.closed]
        living.sort(key=lambda c: c not in self.downloads and not c.received)
        return living[number] if number < len(living) else None

    def do_server(self, number: int, what: str) -> None:
        server = self._server(number)
        if server is None:
            return
        if server in self.downloads or what in ("garbage", "101") or not server.received:
            self.honest = False
        start = b"HTTP/1.1 200 OK\r\n"
        if what == "fixed":
            self.downloads[server] = (0, what)
            server.send(start + b"Content-Length: %d\r\n\r\n" % len(BODY))
        elif what == "chunked":
            self.downloads[server] = (0, what)
            server.send(start + b"Transfer-Encoding: chunked\r\n\r\n")
        elif what == "until_close":
            self.downloads[server] = (0, what)
            server.send(start + b"\r\n")
        elif what == "204":
            server.send(b"HTTP/1.1 204 No Content\r\n\r\n")
        elif what == "503":
            server.send(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")
        elif what == "extra":
            self.honest = False
            server.send(start + b"Content-Length: 0\r\n\r\n" * 2)
        elif what == "101":
            server.send(SWITCH)
        elif what == "garbage":
            server.send(b"\x00\xff garbage\r\n\r\n")
        else:
            server.send(b"HTTP/1.1 %b X\r\n\r\n" % what.encode())

    def do_download(self, number: int, size: int) -> None:
        server = self._server(number)
        if server is None or server not in self.downloads:
            return
        at, how = self.downloads[server]
        data = BODY[at : at + size]
        out = b"%x\r\n%b\r\n" % (len(data), data) if how == "chunked" and data else data
        self.downloads[server] = (at + len(data), how)
        if at + len(data) == len(BODY):
            del self.downloads[server]
            out += b"0\r\n\r\n" if how == "chunked" else b""
        server.send(out)
        if how == "until_close" and server not in self.downloads and not server.closed:
            server.close()

    def do_server_end(self, number: int, how: str) -> None:
        server = self._server(number)
        if server is not None:
            getattr(server, how)()

    # -- the rest of the world

    def do_time(self, number: int, seconds: float) -> None:
        self.rig.advance(seconds)

    def do_health(self, number: int, healthy: bool) -> None:
        servers = list(self.rig.backend.group.servers.values())
        self.rig.backend.group.set_health(servers[number % len(servers)], healthy)
        self.rig.advance(0)

    def do_listen(self, number: int, listens: bool) -> None:
        origin = self.origins[number]
        if listens:
            origin.start()
        else:
            origin.stop()

    def do_network(self, number: int, works: bool) -> None:
        if works:
            self.rig.lb.reactor.heal()
        else:
            self.rig.lb.reactor.blackhole(f"10.0.0.{number % 2 + 1}")
        self.rig.advance(0)

    def do_log(self, number: int, works: bool) -> None:
        self.rig.log_fails = not works

    def do_reload(self, number: int, size: int) -> None:
        self.rig.reload(f"max_url = {size}")

    def do_admin(self, number: int, state: AdminState) -> None:
        servers = list(self.rig.backend.group.servers)
        self.rig.backend.set_admin(servers[number % len(servers)], state)

    def do_kill(self, number: int, what: None) -> None:
        servers = list(self.rig.backend.group.servers.values())
        self.rig.backend.kill_sessions(servers[number % len(servers)])
        self.rig.advance(0)

    # -- the verdict

    def check(self) -> None:
        self.rig.check()
        hedging = Hedging.of(self.rig.backend)
        assert hedging is None or not hedging.running
        if self.honest and self.sane:
            for client in self.clients:
                check_answers(client.received)
        if self.sane:
            for origin in self.origins:
                for server in origin.connections:
                    check_requests(server.received)


class HonestScript(Script):
    """No client and no server sends anything wrong, so that every byte can be judged."""

    def __init__(self, rig: Rig) -> None:
        super().__init__(rig)
        self._answered: dict[Any, int] = {}

    def do_client(self, number: int, what: str) -> None:
        if what in ("get", "post", "chunked"):
            super().do_client(number, what)

    def do_server(self, number: int, what: str) -> None:
        server = self._server(number)
        if server is None or server in self.downloads or what not in HONEST:
            return
        asked = server.received.count(b" HTTP/1.1\r\n")
        if self._answered.get(server, 0) < asked:
            if what != "103":
                self._answered[server] = asked
            super().do_server(number, what)

    def check(self) -> None:
        assert self.honest and self.sane
        super().check()


def check_answers(data: bytes) -> None:
    """Answers, one after the other; each body of a server is the beginning of BODY."""
    while data:
        head, end, data = data.partition(b"\r\n\r\n")
        if not end:
            return
        status = int(head[9:12])
        assert head.startswith(b"HTTP/1.1 ")
        length = re.search(rb"Content-Length: (\d+)", head)
        if status < 200 or status == 204:
            continue
        if length:
            body, data = data[: int(length[1])], data[int(length[1]) :]
        else:
            body, data = unchunk(data)
        if status == 200:
            assert BODY.startswith(body)


def check_requests(data: bytes) -> None:
    """As :func:`check_answers` for the server's end."""
    while data:
        head, end, data = data.partition(b"\r\n\r\n")
        if not end:
            return
        assert re.match(rb"(GET|POST) / HTTP/1.1\r\n", head)
        length = re.search(rb"Content-Length: (\d+)", head)
        body = b""
        if length:
            body, data = data[: int(length[1])], data[int(length[1]) :]
        elif b"chunked" in head:
            body, data = unchunk(data)
        assert BODY.startswith(body)


def unchunk(data: bytes) -> tuple[bytes, bytes]:
    """The body so far, and what follows it."""
    body = b""
    while data:
        line, end, rest = data.partition(b"\r\n")
        if not end:
            break
        size = int(line, 16)
        if not size:
            return body, rest[2:]
        body += rest[:size]
        data = rest[size + 2 :]
    return body, b""


patient = [HealthCheck.too_slow, HealthCheck.data_too_large]
scripts = given(setup=setups, script=st.lists(steps, min_size=4, max_size=60))


@settings(max_examples=150, suppress_health_check=patient)
@scripts
def test_any_script_ends_well(setup: dict[str, str], script: list[tuple[str, int, Any]]) -> None:
    run = Script(Rig(**setup))
    for step in script:
        run.run(*step)
    run.check()


honest_steps = st.one_of(
    st.tuples(st.just("client"), numbers, st.sampled_from(["get", "post", "chunked"])),
    st.tuples(st.just("upload"), numbers, sizes),
    st.tuples(st.just("server"), numbers, st.sampled_from(HONEST)),
    st.tuples(st.just("download"), numbers, sizes),
    steps,
)


honest_scripts = given(setup=setups, script=st.lists(honest_steps, min_size=4, max_size=60))


@settings(max_examples=100, suppress_health_check=patient)
@honest_scripts
def test_bodies_are_never_mixed_up(
    setup: dict[str, str], script: list[tuple[str, int, Any]]
) -> None:
    run = HonestScript(Rig(**setup))
    for step in script:
        run.run(*step)
    run.check()


@pytest.mark.long
@settings(max_examples=2000, suppress_health_check=patient)
@scripts
def test_many_scripts_end_well(setup: dict[str, str], script: list[tuple[str, int, Any]]) -> None:
    test_any_script_ends_well.hypothesis.inner_test(setup, script)


@pytest.mark.long
@settings(max_examples=1500, suppress_health_check=patient)
@honest_scripts
def test_many_bodies_are_never_mixed_up(
    setup: dict[str, str], script: list[tuple[str, int, Any]]
) -> None:
    test_bodies_are_never_mixed_up.hypothesis.inner_test(setup, script)
