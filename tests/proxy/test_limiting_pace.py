"""``action = delay`` of limits of bytes pauses traffic that runs, on the virtual clock."""

from __future__ import annotations

from typing import Any

import pytest

from lbproxy.errors import Kind
from lbproxy.testing import LB

READ = 64 * 1024
RATE, BURST = 20_000, 50_000

LIMIT = f"[limit volume]\nrate = {RATE}/s burst={BURST}\nunit = bytes\naction = delay\n"
TCP = (
    LIMIT
    + "[frontend db]\nmode = tcp\nlisten = tcp:5432\nlimits = volume\ntimeout_client = 2s\n"
    + "backend = pg\n[backend pg]\ntimeout_server = 2s\nservers = a 10.0.0.1:80\n"
)
HTTP = (
    LIMIT
    + "[frontend web]\nlisten = tcp:80\nlimits = volume\nbackend = app\ntimeout_filter = 1s\n"
    + "[backend app]\nservers = a 10.0.0.1:80\n"
)


def watch(lb: Any, moved: Any, seconds: float, total: int) -> list[int]:
    """Check the law while time passes, until ``total`` bytes have moved."""
    seen = []
    step = 0.25
    for index in range(int(seconds / step)):
        bytes_ = moved()
        assert bytes_ <= RATE * index * step + BURST + READ, f"after {index * step} s"
        seen.append(bytes_)
        if bytes_ >= total:
            break
        lb.advance(step)
    assert moved() == total
    return seen


@pytest.mark.parametrize("clients", [1, 5])
def test_sessions_of_a_key_share_the_rate_in_both_directions(clients: int) -> None:
    size = 300_000 // clients
    with LB.from_config(TCP) as lb:
        lb.tcp_origin("a", "10.0.0.1:80", "echo")
        every = [lb.connect("db") for _ in range(clients)]
        for one in every:
            one.send(bytes(size))
        feature = lb.service.frontend("db").features["limits"]

        def moved() -> int:
            sessions = lb.service.frontend("db").clients
            return sum(one.bytes_in + one.bytes_out for one in sessions)

        seen = watch(lb, moved, 60, 2 * size * clients)
        assert len(seen) > 4 * (2 * 300_000 - BURST - READ) / RATE - 2, "it takes that long"
        lb.advance(8)
        assert sum(len(one.received) for one in every) == size * clients
        assert lb.service.frontend("db").counts["limits"].limit_delayed == clients
        for one in every:
            one.close()
        lb.advance(1)
        assert feature._limits["volume"].gates == {}


def test_a_request_body_and_a_response_are_paused_and_end_in_time() -> None:
    with LB.from_config(HTTP) as lb:
        lb.origin("a", "10.0.0.1:80", b"x" * 200_000)
        client = lb.connect("web")
        client.send(
            b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 150000\r\n\r\n" + bytes(150_000)
        )
        lb.advance(2)
        assert client.received == b"", "the body has not arrived"
        lb.advance(4)
        assert client.received.startswith(b"HTTP/1.1 200")
        assert len(client.received) < 150_000
        lb.advance(12)
        assert client.received.count(b"x") >= 200_000
        frontend = lb.service.frontend("web")
        assert frontend.counters.requests == 1 and not client.finished
        assert frontend.features["limits"]._limits["volume"].gates == {}
        client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        assert client.received.count(b"x") < 300_000
        lb.advance(30)
        assert client.received.count(b"HTTP/1.1 200") == 2


def test_tunnels_are_paused() -> None:
    with LB.from_config(HTTP) as lb:
        server = lb.tcp_origin("a", "10.0.0.1:80")
        client = lb.connect("web")
        client.send(
            b"GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        )
        (connection,) = server.connections
        connection.transport.write(
            b"HTTP/1.1 101 Sw\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        )
        lb.advance(0.1)
        start = len(client.received)
        assert client.received.startswith(b"HTTP/1.1 101")
        before = len(connection.received)
        client.send(bytes(200_000))
        connection.transport.write(bytes(200_000))

        def moved() -> int:
            return len(client.received) - start + len(connection.received) - before

        watch(lb, moved, 60, 400_000)


def test_a_debt_beyond_an_hour_closes() -> None:
    with LB.from_config(TCP.replace(f"{RATE}/s burst={BURST}", "10/1m")) as lb:
        lb.tcp_origin("a", "10.0.0.1:80", "echo")
        client = lb.connect("db")
        client.send(bytes(60_000))
        lb.advance(0.1)
        assert client.closed or client.finished
        assert lb.service.frontend("db").counters.closes == {Kind.RATE_LIMITED: 1}
