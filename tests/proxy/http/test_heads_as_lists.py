"""Heads that stay bytes are passed on like heads that filters have taken apart.

Whole days are played twice, through a load balancer as it is and through one with a filter that
asks for the list of every head's lines, and so makes the list the truth: what servers and clients
get and what is logged must be the same, to the byte.
"""

from __future__ import annotations

import gc
import random
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from lbproxy.http.filter import compile_phases
from lbproxy.http.message import Reply
from lbproxy.observe.jsonlog import http_line
from lbproxy.testing import LB, Client

A, B = "10.0.0.1:8000", "10.0.0.2:8000"
TRUSTED, CLIENTS = "192.0.2.1", ("192.0.2.1", "203.0.113.1", "203.0.113.2", "2001:db8::3")
ROUTES = "routes =\n header X-Away = 1 -> reply 403 body=away\n path /b -> other\n default -> app"
WEBS = [
    "",
    "forwarded = rfc7239 x-forwarded\nvia = none",
    f"trusted_proxies = {TRUSTED}",
    f"forwarded = rfc7239\ntrusted_proxies = {TRUSTED}\nvia = other",
    "forwarded = none\nmax_headers = 5",
    "max_header_bytes = 1k\nmax_url = 64\nmax_body = 4",
    "connect = forward\nupgrade = any",
    "filters =\n set-header request User-Agent {client_ip}",
    ROUTES,
]
APPS = ["", "host_header = inner", "sticky = cookie LB", "retries = 2\nhedge = 50ms"]
BLOCKS = [
    b"Host: a\r\n\r\n",
    b"Host: a\r\nUser-Agent: u\r\nReferer: r\r\n\r\n",
    b"Host:\r\n\r\n",
    b"Host: A.example:80\r\nCookie: a=b; LB=b\r\n\r\n",
    b"Host: a\r\nX-Forwarded-For: 198.51.100.7\r\nX-Forwarded-Proto: https\r\n\r\n",
    b"Host: a\r\nX_Forwarded_For: 198.51.100.7\r\nForwarded: for=198.51.100.8\r\n\r\n",
    b"Host: a\r\nVia: 1.1 b\r\nTE: trailers\r\nConnection: keep-alive\r\n\r\n",
    b"Host: a\r\nVia: " + b"1.1 lbproxy, " * 12 + b"1.1 b\r\n\r\n",
    b"Host: a\r\nX: " + b"y" * 990 + b"\r\n\r\n",
    b"Host: a\r\nConnection: close\r\n\r\n",
    b"Host: a\r\nConnection: X-Gone\r\nX-Gone: 1\r\n\r\n",
    b"Host: a\r\nContent-Length: 3\r\n\r\nabc",
    b"Host: a\r\nContent-Length: 3\r\n\r\nxyz",
    b"Host: a\r\nContent-Length: 8\r\n\r\nabcdefgh",
    b"Host: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\nabc",
    b"Host: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    b"Host: a\r\nTransfer_Encoding: chunked\r\nContent_Length: 3\r\n\r\n",
    b"Host: a\r\nHost: b\r\n\r\n",
    b"Host: a\r\nA: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\nE: 5\r\nX-Away: 1\r\n\r\n",
    b"Host: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    b"Host: a\r\nUpgrade: websocket\r\n\r\n",
]
LINES = [
    b"GET / HTTP/1.1\r\n",
    b"GET /b?c HTTP/1.1\r\n",
    b"POST /p HTTP/1.1\r\n",
    b"HEAD /h HTTP/1.1\r\n",
    b"GET / HTTP/1.0\r\n",
    b"GET /\x80 HTTP/1.1\r\n",
    b"GET http://b/ HTTP/1.1\r\n",
    b'GET /"\\ HTTP/1.1\r\n',
    b"GET /" + b"x" * 70 + b" HTTP/1.1\r\n",
    b"OPTIONS * HTTP/1.1\r\n",
    b"CONNECT a:1 HTTP/1.1\r\n",
    b"BREW /pot HTTP/1.1\r\n",
    b"\r\nGET / HTTP/1.1\r\n",
    b"GET / HTTP/1.1\r\nEvil: 1\r\n",
]
_SERVER_ID = re.compile(rb"LB=[\w-]{22}")  # another secret, another id
_REQUEST_ID = re.compile(rb'"request_id":"[0-9a-f]{32}"')  # of requests that get an error page


class Marks:
    """Changes heads in place, by whose they are."""

    def request(self, traffic: Any) -> Reply | None:
        head = traffic.request
        mark = traffic.client_ip.encode()
        head.headers[0] = (b"X-First", mark)
        head.headers.append((b"User-Agent", mark))
        head.host = b"of-" + mark.replace(b":", b"-")
        return Reply(200, mark) if mark.endswith(b"2") else None


class EarlyMarks:
    """The same, before there is a route."""

    early = Marks.request


class ServerMarks:
    """Changes what the server gets."""

    def server_request(self, traffic: Any) -> None:
        head = traffic.server_request
        mark = traffic.client_ip.encode()
        head.headers[1:2] = [(b"X-For", mark)]
        head.set_header(b"X-Server", mark)


class LateMarks:
    """Changes what is logged, and what goes back."""

    def response(self, traffic: Any) -> None:
        mark = traffic.client_ip.encode()
        traffic.request.set_header(b"User-Agent", mark)
        traffic.request.headers.append((b"Referer", mark))
        traffic.response.headers.append((b"X-Back", mark))


class LastMarks:
    """Takes what was sent apart when all is over."""

    def finish(self, traffic: Any) -> None:
        if traffic.server_request is not None:
            traffic.server_request.headers.reverse()
            del traffic.server_request.headers[2:]
        traffic.request.headers.clear()


class Looks:
    """Takes part in the same phases as :class:`Lists`, and does not ask."""

    def early(self, traffic: Any) -> None:
        """Nothing."""

    server_request = response = early


class Lists:
    """Asks for the lists, and changes nothing."""

    def early(self, traffic: Any) -> None:
        assert isinstance(traffic.request.headers, list)

    def server_request(self, traffic: Any) -> None:
        assert isinstance(traffic.server_request.headers, list)

    def response(self, traffic: Any) -> None:
        assert isinstance(traffic.response.headers, list)


FILTERS: list[tuple[Any, ...]] = [
    (),
    (Marks(),),
    (EarlyMarks(),),
    (ServerMarks(),),
    (LateMarks(),),
    (LastMarks(),),
    (ServerMarks(), LateMarks()),
]


def text(webs: tuple[str, str], app: str) -> str:
    sections = "".join(
        f"[frontend web{number}]\nlisten = tcp:808{number}\n"
        + ("" if "routes" in web else "backend = app\n")
        + web
        + "\n"
        for number, web in enumerate(webs)
    )
    return (
        f"{sections}[backend app]\nbalance = roundrobin\n{app}\nservers =\n a {A}\n b {B}\n"
        f"[backend other]\nmode = http\nservers =\n b {B}\n"
    )


def answer(data: bytes) -> bytes | None:
    if b"\r\n\r\n" not in data:
        return None
    if data.startswith(b"HEAD"):
        return b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
    if b"Upgrade: websocket" in data:
        return b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"
    return b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nServer: s\r\n\r\nhi"


class Day:
    """A load balancer, and what was seen of it.  ``plain``: it is one as it is."""

    def __init__(self, plain: bool, config: str, filters: tuple[Any, ...] = ()) -> None:
        self.always: tuple[Any, ...] = (Looks() if plain else Lists(),)
        self.filters = (*self.always, *filters)
        self.log: list[bytes] = []
        self.line = http_line()
        self.clients: list[Client] = []
        self.lb = LB.from_config(config)
        self.origins = [self.lb.tcp_origin(at, at, answer) for at in (A, B)]
        self._lead()

    def _lead(self) -> None:
        for frontend in self.lb.service.frontends.values():
            frontend.write_log = self._logged
            if self.filters:
                frontend.compile(compile_phases(self.filters))

    def _logged(self, exchange: Any) -> None:
        self.log.append(self.line(exchange))

    def reload(self, config: str, filters: tuple[Any, ...]) -> None:
        self.filters = (*self.always, *filters)
        assert self.lb.service.reload(config).ok
        self._lead()

    def connect(self, web: int, ip: str) -> Client:
        self.clients.append(self.lb.connect(f"web{web}", client=ip))
        return self.clients[-1]

    def seen(self) -> tuple[Any, ...]:
        at_servers = [
            connection.received for origin in self.origins for connection in origin.connections
        ]
        at_clients = [
            (_SERVER_ID.sub(b"LB=", client.received), client.finished) for client in self.clients
        ]
        return at_servers, at_clients, [_REQUEST_ID.sub(b"", line) for line in self.log]


@contextmanager
def two_days(*arguments: Any) -> Iterator[tuple[Day, Day]]:
    days = Day(True, *arguments), Day(False, *arguments)
    try:
        yield days
    finally:
        for day in days:
            day.lb.close()


def a_config(rng: random.Random) -> tuple[str, tuple[Any, ...]]:
    webs = rng.choice(WEBS), rng.choice(WEBS)
    return text(webs, rng.choice(APPS)), rng.choice(FILTERS)


def a_step(rng: random.Random, blocks: list[bytes]) -> list[tuple[str, Any]]:
    """What one client does, in pieces that others' may come between."""
    raw = b""
    for _ in range(rng.choice((1, 1, 2, 4))):
        line = LINES[0] if rng.random() < 0.6 else rng.choice(LINES)
        raw += line + rng.choice(blocks)
    cuts = sorted(rng.randrange(len(raw)) for _ in range(rng.choice((0, 0, 1, 3))))
    ends = [*cuts, len(raw)]
    steps: list[tuple[str, Any]] = [
        ("send", raw[begin:end]) for begin, end in zip([0, *cuts], ends, strict=True)
    ]
    if rng.random() < 0.4:
        steps.append((rng.choice(("half_close", "close", "abort")), None))
    return steps


def play(day: Day, rng: random.Random) -> None:
    blocks = rng.sample(BLOCKS, 4)
    running: list[tuple[Client, list[tuple[str, Any]]]] = []
    for _ in range(60):
        roll = rng.random()
        if roll < 0.04:
            day.reload(*a_config(rng))
        elif roll < 0.4 or not running:
            client = day.connect(rng.randrange(2), rng.choice(CLIENTS))
            running.append((client, a_step(rng, blocks)))
        elif roll < 0.45:
            day.lb.advance(rng.choice((0.01, 1, 12)))
        else:
            at = rng.randrange(len(running))
            client, steps = running[at]
            name, data = steps.pop(0)
            if not client.closed:
                getattr(client, name)(*([data] if data is not None else []))
            if not steps:
                del running[at]
    day.lb.advance(30)


@pytest.mark.parametrize("seed", range(40))
def test_a_day_is_the_same_with_lists(seed: int) -> None:
    with two_days(*a_config(random.Random(seed))) as days:
        for day in days:
            play(day, random.Random(f"day {seed}"))
        assert days[0].log and days[0].seen() == days[1].seen()


@pytest.mark.parametrize("filters", FILTERS[1:])
def test_what_a_filter_makes_of_one_client_is_not_said_of_the_next(
    filters: tuple[Any, ...],
) -> None:
    with two_days(text(("", ""), ""), filters) as days:
        for day in days:
            for ip in CLIENTS:
                for _ in range(2):
                    day.connect(0, ip).send(LINES[0] + BLOCKS[1])
                client = day.connect(0, ip)
                for line in LINES[:4]:
                    client.send(line + BLOCKS[1])
        assert days[0].seen() == days[1].seen()
        sent = b"".join(connection.received for connection in days[0].origins[0].connections)
        assert sent.count(b"\r\nX-Forwarded-For: ") == sent.count(b" HTTP/1.1\r\n") > 0


def test_reloads_leave_no_frontends_behind() -> None:
    with two_days(text(("", ""), "")) as (day, _):
        kept = [day.connect(0, ip) for ip in CLIENTS]
        for number in range(20):
            day.reload(text((f"max_requests = {1000 + number}", ""), ""), ())
            for client in kept:
                client.send(LINES[0] + BLOCKS[1])
            client = day.connect(0, CLIENTS[1])
            client.send(LINES[0] + BLOCKS[1])
            client.close()
        gc.collect()
        lineage = day.lb.service.frontends["web0"].lineage
        left = sorted(one.max_requests for one in lineage.members)
        assert left in ([1019], [1018, 1019])
