"""What serves one request or session dies with it, by reference counts, whatever its end.

Cyclic garbage would wait for the collector, whose runs stop the process under attack.
"""

from __future__ import annotations

import gc
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import lbproxy
from lbproxy.testing import LB, LoadBalancerFixture
from lbproxy.testing.origin import Answer

HTTP = """
[frontend web]
listen = tcp:80
timeout_client = 5s
timeout_keepalive = 5s
routes =
    path /reply -> reply 200 text
    path /cached -> app cache=main
    default -> app
[backend app]
servers = a 10.0.0.1:80
timeout_connect = 2s
timeout_server = 3s
timeout_queue = 2s
retries = 1
[cache main]
"""
TCP = """
[frontend db]
mode = tcp
listen = tcp:5432
backend = db
timeout_client = 5s
[backend db]
mode = tcp
servers = a 10.0.0.1:5432
timeout_connect = 2s
"""
# not StockDial: the transports of the test kit refer to each other, and to it
KINDS = frozenset(
    {
        "Exchange", "HTTPTraffic", "Attempt", "Attempts", "Delivery", "Tunnel", "BodyStream",
        "TransformedBody", "RequestHead", "ResponseHead", "ReplySource", "Fetch", "Reader",
        "StoredBody", "Hold", "Session", "TCPAttempt", "TCPTraffic", "PendingDial", "Lease",
        "H1ServerConnection", "H1ClientConnection", "Relay", "FastDial", "Waiter", "_Arrival",
        "_Place", "SeveralDial", "Handshake", "FastTransport", "FastTLSTransport",
    }
)  # fmt: skip
GET = b"GET %b HTTP/1.1\r\nHost: h\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhalf "
UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
HALF = b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nhalf"
SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)


def test_the_kinds_exist() -> None:
    folder = Path(lbproxy.__file__).parent
    sources = "".join(path.read_text() for path in folder.rglob("*.py"))
    missing = {kind for kind in KINDS if not re.search(rf"^class {kind}\b", sources, re.MULTILINE)}
    assert not missing


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def alive() -> Counter[str]:
    """How many objects of each kind there are."""
    kinds = (type(one) for one in gc.get_objects())
    own = (kind.__name__ for kind in kinds if str(kind.__module__).startswith("lbproxy."))
    return Counter(name for name in own if name in KINDS)


End = Callable[[Any, Any], None]  # client, origin


def served(client: Any, origin: Any) -> None:
    client.send(GET % b"/")
    origin.connections[-1].send(OK)
    client.close()


def replied(client: Any, origin: Any) -> None:
    client.send(GET % b"/reply")
    client.close()


def client_resets(client: Any, origin: Any) -> None:
    client.send(GET % b"/")
    client.abort()


def client_leaves_a_body(client: Any, origin: Any) -> None:
    client.send(POST)
    client.abort()


def client_leaves_a_response(client: Any, origin: Any) -> None:
    client.send(GET % b"/")
    origin.connections[-1].send(HALF)
    client.abort()


def server_resets(client: Any, origin: Any) -> None:
    client.send(POST)
    origin.connections[-1].abort()


def server_cuts(client: Any, origin: Any) -> None:
    client.send(GET % b"/")
    origin.connections[-1].send(HALF)
    origin.connections[-1].abort()


def server_is_silent(client: Any, origin: Any) -> None:
    client.send(GET % b"/")


def server_is_wrong(client: Any, origin: Any) -> None:
    client.send(GET % b"/")
    origin.connections[-1].send(b"nonsense\r\n\r\n")


def client_is_wrong(client: Any, origin: Any) -> None:
    client.send(b"nonsense\r\n\r\n")


def client_is_slow(client: Any, origin: Any) -> None:
    client.pause()
    client.send(GET % b"/")
    origin.connections[-1].send(HALF.replace(b"20", b"2000000") + bytes(600_000))


def pipelined(client: Any, origin: Any) -> None:
    client.send(GET % b"/" * 10)
    client.abort()


def upgraded(client: Any, origin: Any) -> None:
    client.send(UPGRADE)
    origin.connections[-1].send(SWITCH + b"hello")
    client.send(b"hello")
    client.close()
    origin.connections[-1].close()


def upgrade_is_cut(client: Any, origin: Any) -> None:
    client.send(UPGRADE)
    origin.connections[-1].send(SWITCH)
    origin.connections[-1].abort()


def cached_and_left(client: Any, origin: Any) -> None:
    client.send(GET % b"/cached")
    head = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 20\r\n\r\nhalf"
    origin.connections[-1].send(head)
    client.abort()
    origin.connections[-1].abort()


HTTP_ENDS: list[End] = [
    served, replied, client_resets, client_leaves_a_body, client_leaves_a_response, server_resets,
    server_cuts, server_is_silent, server_is_wrong, client_is_wrong, client_is_slow, pipelined,
    upgraded, upgrade_is_cut, cached_and_left,
]  # fmt: skip


def run(text: str, frontend: str, address: str, end: End, rounds: int) -> None:
    with LB.from_config(text) as lb:
        origin = lb.tcp_origin("a", address)

        def once() -> None:
            client = lb.connect(frontend)
            end(client, origin)
            lb.advance(70)
            client.close()
            lb.advance(1)
            for connection in origin.connections:
                connection.abort()
            lb.advance(1)
            lb._clients.clear()
            origin.connections.clear()

        once()  # what is made once and kept
        before = alive()
        for _ in range(rounds):
            once()
        left = alive() - before
        assert not left


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("end", HTTP_ENDS, ids=lambda one: one.__name__)
def test_http(end: End) -> None:
    run(HTTP, "web", "10.0.0.1:80", end, 3)


def both_close(client: Any, origin: Any) -> None:
    client.send(b"hello")
    origin.connections[-1].send(b"hello")
    client.close()
    origin.connections[-1].close()


def tcp_client_resets(client: Any, origin: Any) -> None:
    client.send(b"hello")
    client.abort()


def tcp_server_resets(client: Any, origin: Any) -> None:
    client.send(b"hello")
    origin.connections[-1].abort()


def both_are_idle(client: Any, origin: Any) -> None:
    client.send(b"hello")


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize(
    "end",
    [both_close, tcp_client_resets, tcp_server_resets, both_are_idle],
    ids=lambda one: one.__name__,
)
def test_tcp(end: End) -> None:
    run(TCP, "db", "10.0.0.1:5432", end, 3)


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("what", ["refused", "blackhole", "queue"])
def test_dials(what: str) -> None:
    text = HTTP.replace("10.0.0.1:80", "10.0.0.1:80 maxconn=1") if what == "queue" else HTTP

    def once(lb: LoadBalancerFixture) -> None:
        clients = [lb.connect("web") for _ in range(3)]
        for client in clients:
            client.send(GET % b"/")
        lb.advance(70)
        for client in clients:
            client.close()
        lb.advance(1)
        lb._clients.clear()

    with LB.from_config(text) as lb:
        if what == "blackhole":
            lb.reactor.blackhole("10.0.0.1:80")
        elif what == "queue":
            lb.origin("a", "10.0.0.1:80", Answer(200, b"", after=10.0))
        once(lb)
        before = alive()
        for _ in range(3):
            once(lb)
        assert not alive() - before
