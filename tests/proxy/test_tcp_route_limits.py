"""Timeouts and retries of a route of a TCP frontend."""

from __future__ import annotations

import pytest

from tests.proxy.bench import A, B, Bench, origins

TEXT = f"""\
[frontend t]
mode = tcp
listen = tcp:9000
timeout_client = 900s
routes =
    client 192.0.2.0/24 -> raw timeout_server=8s timeout_queue=2s retries=0
    default             -> raw
[backend raw]
mode = tcp
timeout_server = 80s
timeout_queue = 20s
retries = 1
servers =
    a {A} maxconn=1
    b {B} maxconn=1
"""
CLIENTS = [("192.0.2.9", True), ("198.51.100.9", False)]


@pytest.mark.parametrize(("client", "own"), CLIENTS)
def test_silence_after_the_client_has_ended(client: str, own: bool) -> None:
    bench = Bench.of(TEXT)
    for name, address in (("a", A), ("b", B)):
        bench.lb.tcp_origin(name, address)
    one = bench.lb.connect("t", client=client)
    one.send(b"x")
    one.half_close()
    bench.lb.advance(20)
    assert bool(bench.records) is own
    bench.lb.advance(100)
    assert bench.closes == ["server_timeout"]
    assert bench.last.detail == f"silent for {8 if own else 80} s"
    bench.close()


@pytest.mark.parametrize(("client", "own"), CLIENTS)
def test_the_queue(client: str, own: bool) -> None:
    bench = Bench.of(TEXT)
    origins(bench)
    busy = [bench.lb.connect("t", client="198.51.100.1") for _ in range(2)]
    bench.lb.connect("t", client=client)
    bench.lb.advance(5)
    assert bench.closes == (["queue_timeout"] if own else [])
    for one in busy:
        one.close()
    bench.close()


@pytest.mark.parametrize(("client", "own"), CLIENTS)
def test_retries(client: str, own: bool) -> None:
    bench = Bench.of(TEXT)
    bench.lb.connect("t", client=client)
    bench.lb.advance(10)
    assert bench.last.attempts == (1 if own else 2)
    bench.close()
