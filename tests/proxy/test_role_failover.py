"""A master and its replica change roles, on a virtual clock: how long it takes, and what becomes of
sessions.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.proxy.bench import A, B, Make

EVERY = 1.0
BACKEND = """
    balance = first
    check = redis role=master initial=down every=1s timeout=500ms
    on_down = close
    no_server = queue
    timeout_queue = 20s
"""


class Server:
    """Speaks enough Redis for the check, and answers ``SET`` with OK while it is the master."""

    def __init__(self, master: bool) -> None:
        self.master = master
        self.written = 0

    def __call__(self, data: bytes) -> bytes:
        if b"PING" in data:
            return b"+PONG\r\n"
        if b"ROLE" in data:
            if self.master:
                return b"*3\r\n$6\r\nmaster\r\n:1\r\n*0\r\n"
            return b"*5\r\n$5\r\nslave\r\n$1\r\nx\r\n:1\r\n$9\r\nconnected\r\n:1\r\n"
        self.written += 1
        return b"+OK\r\n" if self.master else b"-READONLY\r\n"


@pytest.mark.parametrize("phase", [0.0, 0.2, 0.4, 0.6, 0.8])
def test_a_switch(make: Make, phase: float) -> None:
    """At any moment within the interval: closed within one interval, taken over within two."""
    bench = make(backend=BACKEND)
    one, two = Server(True), Server(False)
    bench.lb.tcp_origin("a", A, one)
    bench.lb.tcp_origin("b", B, two)
    bench.lb.advance(3 + phase)
    session = bench.lb.connect("t")
    session.send(b"SET x 1\r\n")
    assert session.received == b"+OK\r\n"

    one.master, two.master = False, True
    clock: Any = bench.lb.reactor.seconds
    switched, closed, served = clock(), -1.0, -1.0
    waiting = None
    while served < 0 and clock() - switched < 10:
        bench.lb.advance(0.05)
        if session.closed and waiting is None:
            closed = clock() - switched
            waiting = bench.lb.connect("t")
            waiting.send(b"SET y 1\r\n")
        if waiting is not None and waiting.received:
            served = clock() - switched
    assert 0 <= closed <= EVERY + 0.1
    assert 0 <= served <= 2 * EVERY + 0.1
    assert waiting is not None and waiting.received == b"+OK\r\n"
    waiting.close()
    assert (one.written, two.written) == (1, 1), "no write went to a replica"
    assert bench.closes == ["server_down", "ok"]


def test_nobody_is_sent_to_a_replica_at_the_start(make: Make) -> None:
    bench = make(backend=BACKEND)
    one, two = Server(False), Server(True)
    bench.lb.tcp_origin("a", A, one)
    bench.lb.tcp_origin("b", B, two)
    client = bench.lb.connect("t")
    client.send(b"SET x 1\r\n")
    bench.lb.advance(1.2)
    assert client.received == b"+OK\r\n"
    client.close()
    assert (one.written, two.written) == (0, 1)
