"""Each attack in memory: what gets through is exact there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lbproxy.errors import Kind
from lbproxy.testing import LB, LoadBalancerFixture
from lbproxy.testing.origin import Answer

TEXT = """
[limit per-client]
rate = 10/s burst=20
[limit new]
rate = 5/s burst=10
unit = connections
[frontend web]
listen =
    tcp:80
    tls:443 certificates=@PEM@
maxconn = 300
maxconn_per_ip = 40
timeout_handshake = 3s
timeout_header = 3s
timeout_body = 60s
timeout_client = 60s
max_body = 1m
min_body_rate = 500/s
min_read_rate = 500/s
{keys}
backend = app
[backend app]
servers = a 10.0.0.1:80
"""
GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"


class Target:
    """A guarded frontend, and the requests that reached its server."""

    def __init__(self, keys: str, sections: str, pem: str) -> None:
        text = sections + TEXT.format(keys=keys).replace("@PEM@", pem)
        self.lb: LoadBalancerFixture = LB.from_config(text)
        self.big = False
        self.origin = self.lb.origin("a", "10.0.0.1:80", self._answer)

    def _answer(self, request: Any) -> Any:
        return Answer(200, b"x" * 2_000_000) if self.big else b"ok"

    @property
    def served(self) -> int:
        return len(self.origin.requests)

    @property
    def open(self) -> int:
        return self.lb.service.frontend("web").limits.active

    @property
    def closes(self) -> dict[Kind, int]:
        found: dict[Kind, int] = self.lb.service.frontend("web").counters.closes
        return found

    def client(self, address: str = "203.0.113.9", data: bytes = b"") -> Any:
        made = self.lb.connect("web", client=address)
        if data and not made.closed:
            made.send(data)
        return made

    def ordinary(self) -> None:
        """Somebody else is served."""
        assert self.lb.get("http://h/", client="192.0.2.200").status == 200


@pytest.fixture
def target(pem: str) -> Iterator[Callable[..., Target]]:
    made: list[Target] = []

    def start(keys: str = "", sections: str = "") -> Target:
        made.append(Target(keys, sections, pem))
        return made[-1]

    yield start
    for one in made:
        one.lb.close()


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> str:
    from lbproxy.tls.certificates import self_signed

    path = tmp_path_factory.mktemp("tls") / "site.pem"
    certificate, key = self_signed(["h"])
    path.write_bytes(certificate + key)
    return str(path)


Start = Callable[..., Target]


def test_slowloris(target: Start) -> None:
    """A head in drops does not live longer than timeout_header."""
    it = target()
    held = [it.client(f"10.1.0.{n}", b"GET / HTTP/1.1\r\nX: ") for n in range(100)]
    for _ in range(4):
        for one in held:
            if not one.closed:
                one.send(b"a")
        it.lb.advance(1)
    assert it.closes[Kind.CLIENT_TIMEOUT] == 100 and it.served == 0
    it.lb.advance(3)
    assert it.open == 0
    it.ordinary()


def test_slowloris_in_tls_records_of_one_byte(target: Start) -> None:
    it = target()
    client = it.lb.connect("127.0.0.1:443", tls="h", client="10.1.0.1")
    for byte in b"GET / HTTP/1.1\r\nHost: h\r\nX-Slow: aaaaaaaaaaaaaaaaaaaa":
        if not client.closed:
            client.send(bytes([byte]))
        it.lb.advance(0.25)
    assert client.closed and it.served == 0
    assert client.received.startswith(b"HTTP/1.1 408 ")


def test_slow_bodies(target: Start) -> None:
    it = target()
    post = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n"
    held = [it.client(f"10.1.0.{n}", post) for n in range(100)]
    for _ in range(8):
        for one in held:
            if not one.closed:
                one.send(b"a" * 100)
        it.lb.advance(1)
    assert it.closes[Kind.CLIENT_SLOW] == 100
    it.lb.advance(5)
    assert it.open == 0
    it.ordinary()


def test_slow_reads(target: Start) -> None:
    it = target()
    it.big = True
    for number in range(50):
        client = it.client(f"10.1.0.{number}")
        client.pause()
        client.send(GET)
    it.lb.advance(8)
    assert it.closes[Kind.CLIENT_SLOW] == 50 and it.open == 0


def test_a_flood_of_connections_from_many_addresses(target: Start) -> None:
    """``maxconn`` holds, and silent connections make room for those that ask."""
    it = target()
    for number in range(2000):
        it.client(f"10.{number >> 8}.{number & 255}.1")
        assert it.open <= 300
        if number % 100 == 99:
            it.ordinary()
    it.lb.advance(4)
    assert it.open <= 1


def test_a_flood_of_connections_from_one_address(target: Start) -> None:
    it = target("limits = new")
    for _ in range(200):
        it.client("10.1.0.1")
    assert it.open == 10
    it.lb.advance(2)
    for _ in range(50):
        it.client("10.1.0.1")
    assert it.open == 20
    it.ordinary()


def test_connections_of_a_prefix_at_once(target: Start) -> None:
    """``maxconn_per_ip`` alone lets each address of a prefix have its share."""
    limit = "[limit open]\nconcurrent = 10\nunit = connections\nprefix = 24 48\n"
    it = target("limits = open", limit)
    held = [it.client(f"10.1.0.{n}") for n in range(50)]
    assert it.open == 10
    it.ordinary()
    for one in held[:4]:
        one.abort()
    again = [it.client(f"2001:db8:{'0' if n % 2 else '1'}::{n:x}") for n in range(30)]
    assert it.open == 6 + 10 + 10
    for _ in range(9):
        it.client("10.1.0.99")
    assert it.open == 30
    for one in (*held, *again):
        if not one.closed:
            one.abort()
    it.lb.advance(5)
    assert it.open == 0
    limits = it.lb.service.frontend("web").features["limits"]._limits
    assert not limits["open"].at_once.held


def test_a_flood_of_handshakes_that_are_never_finished(target: Start) -> None:
    from tests.siege.attacks import client_hello

    it = target("limits = new")
    hello = client_hello()
    for number in range(100):
        one = it.lb.connect("127.0.0.1:443", client=f"10.1.0.{number % 5}")
        if not one.closed:
            one.send(hello[: 1 + number])
    assert it.open == 5 * 10
    it.lb.advance(4)
    assert it.open == 0
    it.ordinary()


def test_a_flood_of_requests_from_one_address(target: Start) -> None:
    it = target("limits = per-client")
    statuses = [it.lb.get("http://h/", client="10.1.0.1").status for _ in range(100)]
    assert statuses == [200] * 20 + [429] * 80 and it.served == 20
    for _ in range(3):
        it.lb.advance(1)
        for _ in range(50):
            it.lb.get("http://h/", client="10.1.0.1")
    assert it.served == 20 + 3 * 10
    it.ordinary()


def test_a_flood_of_requests_from_ten_thousand_addresses(target: Start) -> None:
    """No limit per client sees it; the challenge stops all of it."""
    it = target("limits = per-client\nchallenge = on")
    for number in range(1000):
        client = it.client(f"127.{number % 100}.{number // 100}.7", GET)
        assert client.received.startswith(b"HTTP/1.1 403 ")
        client.abort()
    assert it.served == 0


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (b"".join(b"X-%d: 1\r\n" % n for n in range(200)), 431),
        (b"X-Big: " + b"a" * 100_000 + b"\r\n", 431),
        (b"Cookie: " + b"; ".join(b"c%d=1" % n for n in range(20_000)) + b"\r\n", 431),
        (b": no name\r\n", 400),
        (b"X Y: space\r\n", 400),
        (b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", 400),
        (b"Content-Length: 1\r\nContent-Length: 2\r\n", 400),
        (b"Host: other\r\n", 400),
    ],
    ids=["many", "long", "cookies", "noname", "space", "both", "twice", "hosts"],
)
def test_bombs_in_headers(target: Start, lines: bytes, status: int) -> None:
    it = target()
    client = it.client("10.1.0.1", b"GET / HTTP/1.1\r\nHost: h\r\n" + lines + b"\r\n")
    assert client.received.startswith(b"HTTP/1.1 %d " % status) and it.served == 0
    it.ordinary()


@pytest.mark.parametrize(
    ("line", "statuses"),
    [
        (b"GET /" + b"a" * 100_000 + b" HTTP/1.1", (414, 431)),
        (b"GET / HTTP/9.9", (400, 505)),
        (b"GET  / HTTP/1.1", (400,)),
        (b"GET / ", (400,)),
        (b"get\x00 / HTTP/1.1", (400,)),
        (b"CONNECT h:22 HTTP/1.1", (405,)),
        (b"GET http://h:x/ HTTP/1.1", (400,)),
        (b"\x16\x03\x01\x02\x00\x01", (400,)),
        (b"A" * 70_000, (400, 414, 431, 501)),
    ],
)
def test_games_in_the_request_line(target: Start, line: bytes, statuses: tuple[int, ...]) -> None:
    it = target()
    client = it.client("10.1.0.1", line + b"\r\nHost: h\r\n\r\n")
    assert int(client.received[9:12]) in statuses and it.served == 0
    it.ordinary()


def test_pipelining_is_no_way_around_a_limit(target: Start) -> None:
    it = target("limits = per-client")
    client = it.client("10.1.0.1", GET * 500)
    for _ in range(100):
        it.lb.advance(0)
    assert it.served == 20
    assert client.received.count(b"HTTP/1.1 429 ") == client.received.count(b"HTTP/1.1 ") - 20


@pytest.mark.parametrize("name", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "Client-IP"])
def test_spoofed_addresses_are_no_way_around_a_limit(target: Start, name: str) -> None:
    it = target("limits = per-client")
    for number in range(100):
        value = f"10.9.0.{number}" if name != "Forwarded" else f"for=10.9.0.{number}"
        it.lb.get("http://h/", client="10.1.0.1", headers={name: value})
    assert it.served == 20


@pytest.mark.parametrize("form", ["2001:db8::{:x}", "2001:DB8:0:0:{:x}::1", "2001:db8::{:x}:1"])
def test_other_addresses_of_a_64_are_no_way_around_a_limit(target: Start, form: str) -> None:
    it = target("limits =\n    per-client\n    new")
    for number in range(1, 100):
        client = it.client(form.format(number), GET)
        client.abort()
    assert it.served == 10  # by new connections


def test_mapped_addresses_are_no_way_around_a_limit(target: Start) -> None:
    it = target("limits = per-client")
    for number in range(100):
        it.lb.get("http://h/", client="::ffff:10.1.0.1" if number % 2 else "10.1.0.1")
    assert it.served == 20


@pytest.mark.parametrize("action", ["close", "reject"])
def test_other_addresses_of_a_64_are_no_way_around_a_ban(target: Start, action: str) -> None:
    ban = f"[ban rude]\nafter = 5/1m\non = glitches\naction = {action}\n"
    it = target("bans = rude", ban)
    for number in range(1, 20):
        it.client(f"2001:db8::{number:x}", b"GET / HTTP/1.1\r\n\r\n").abort()
    if action == "close":
        assert it.closes[Kind.BAD_REQUEST] == 5, "the others were banned already"
    for address in ("2001:db8::ffff", "2001:DB8:0:0:1::", "2001:db8::1%eth0"):
        it.client(address, GET).abort()
    assert it.served == 0
    it.client("2001:db8:0:1::1", GET)
    assert it.served == 1, "the next /64 is somebody else"


@pytest.mark.parametrize("name", ["X-Forwarded-For", "Forwarded", "X-Real-IP"])
def test_a_spoofed_address_neither_bans_others_nor_helps(target: Start, name: str) -> None:
    ban = "[ban rude]\nafter = 5/1m\non = glitches\naction = reject\n"
    it = target("bans = rude", ban)
    value = "192.0.2.200" if name != "Forwarded" else "for=192.0.2.200"
    line = f"{name}: {value}\r\n".encode()
    for _ in range(20):
        it.client("10.1.0.1", b"GET / HTTP/1.1\r\n" + line + b"\r\n").abort()
    it.client("10.1.0.1", GET[:-2] + line + b"\r\n")
    assert it.served == 0
    it.ordinary()


def test_memory_of_limits_does_not_grow_with_addresses(target: Start) -> None:
    it = target("limits =\n    per-client\n    new")
    feature = it.lb.service.frontend("web").features["limits"]
    for number in range(1000):
        it.client(f"10.{number >> 8}.{number & 255}.1", GET).abort()
    for limit in feature._limits.values():
        assert len(limit.refused) <= 100 and not limit.waiting
    assert it.lb.service.frontend("web").limits.addresses <= 1
