"""TCP sessions as scripts on a virtual clock: every way a session begins, moves bytes and ends."""

from __future__ import annotations

from typing import Any

import pytest

from lbproxy.balance.server import AdminState
from tests.proxy.bench import A, B, Bench, Make, origins


def test_bytes_go_both_ways_and_sessions_are_spread(make: Make) -> None:
    bench = make()
    origins(bench)
    for _ in range(4):
        client = bench.lb.connect("t")
        client.send(b"hello ")
        client.send(b"world")
        assert client.received == b"hello world"
        client.close()
    assert [record.server_name for record in bench.records] == ["a", "b", "a", "b"]
    assert {(r.close.value, r.bytes_in, r.bytes_out, r.attempts) for r in bench.records} == {
        ("ok", 11, 11, 1)
    }


def test_a_refused_dial_is_tried_elsewhere(make: Make) -> None:
    bench = make()
    a, _ = origins(bench)
    a.stop()
    for _ in range(3):
        client = bench.lb.connect("t")
        client.send(b"x")
        assert client.received == b"x"
        client.close()
    assert {record.server_name for record in bench.records} == {"b"}
    assert bench.backend.group.servers["a"].counters.connect_errors >= 1
    assert bench.backend.counters.redispatches >= 1


def test_all_dials_fail(make: Make) -> None:
    bench = make(backend="retries = 2")
    client = bench.lb.connect("t")
    bench.lb.advance(5)
    assert client.closed
    assert (bench.last.close.value, bench.last.attempts) == ("connect_failed", 3)


def test_no_attempt_begins_too_late(make: Make) -> None:
    bench = make(
        backend="retries = 9\ntimeout_connect = 2s\ntimeout_retries = 3s", servers=(f"a {A}",)
    )
    bench.lb.reactor.blackhole(A)
    client = bench.lb.connect("t")
    bench.lb.advance(10)
    assert client.closed
    assert (bench.last.close.value, bench.last.attempts) == ("connect_timeout", 2)


def test_a_pause_before_another_server(make: Make) -> None:
    bench = make(backend="retries = 1\nretry_backoff = 10s")
    bench.backend.random = lambda: 0.5
    client = bench.lb.connect("t")
    bench.lb.advance(4)
    assert not client.closed
    bench.lb.advance(2)
    assert client.closed
    assert (bench.last.close.value, bench.last.attempts) == ("connect_failed", 2)


def test_a_dial_that_never_answers_times_out(make: Make) -> None:
    bench = make(backend="timeout_connect = 2s\nretries = 0", servers=(f"a {A}",))
    bench.lb.reactor.blackhole(A)
    client = bench.lb.connect("t")
    bench.lb.advance(1.5)
    assert not client.closed
    bench.lb.advance(1)
    assert client.closed
    assert bench.last.close.value == "connect_timeout"


def test_no_server_is_up(make: Make) -> None:
    bench = make()
    origins(bench)
    for server in list(bench.backend.group.servers.values()):
        bench.backend.group.set_health(server, False, "test")
    client = bench.lb.connect("t")
    assert client.closed
    assert bench.last.close.value == "no_server"


def test_a_session_whose_client_leaves_during_the_dial(make: Make) -> None:
    bench = make(servers=(f"a {A}",))
    bench.lb.reactor.blackhole(A)
    client = bench.lb.connect("t")
    client.send(b"early")
    client.abort()
    assert bench.last.close.value == "client_gone"
    server = bench.backend.group.servers["a"]
    assert (server.active, server.counters.failed) == (0, 0)


def test_early_bytes_are_bounded(make: Make) -> None:
    bench = make(servers=(f"a {A}",), backend="timeout_connect = 30s")
    bench.lb.reactor.blackhole(A)
    client = bench.lb.connect("t")
    for _ in range(100):
        client.send(b"x" * 10_000)
    session = next(iter(bench.frontend.clients))
    assert session.bytes_in < 64 * 1024 + 70_000
    client.abort()


def test_early_bytes_beyond_the_bound_arrive_once_there_is_a_server(make: Make) -> None:
    bench = make(servers=(f"a {A}",))
    bench.lb.reactor.slow(A, 0.01)
    origin = bench.lb.tcp_origin("a", A)
    client = bench.lb.connect("t")
    client.send(b"x" * 1_000_000)
    assert next(iter(bench.frontend.clients)).bytes_in < 64 * 1024 + 70_000
    bench.lb.advance(5)
    assert origin.connections[0].received == b"x" * 1_000_000
    client.close()


def test_early_bytes_arrive(make: Make) -> None:
    bench = make(servers=(f"a {A}",))
    bench.lb.reactor.slow(A, 0.5)
    origin = bench.lb.tcp_origin("a", A)
    client = bench.lb.connect("t")
    client.send(b"one ")
    client.send(b"two")
    client.half_close()
    bench.lb.advance(5)
    assert origin.connections[0].received == b"one two"
    assert origin.connections[0].finished
    origin.connections[0].send(b"answer")
    origin.connections[0].close()
    bench.lb.advance(5)
    assert client.received == b"answer"
    assert bench.last.close.value == "ok"


def test_half_close_by_the_client(make: Make) -> None:
    bench = make(servers=(f"a {A}",))
    origin = bench.lb.tcp_origin("a", A)
    client = bench.lb.connect("t")
    client.send(b"question")
    client.half_close()
    server = origin.connections[0]
    assert (server.received, server.finished, server.closed) == (b"question", True, False)
    server.send(b"answer")
    assert client.received == b"answer"
    server.close()
    assert client.finished and not client.reset
    assert bench.last.close.value == "ok"


def test_half_close_by_the_server(make: Make) -> None:
    bench = make(servers=(f"a {A}",))
    origin = bench.lb.tcp_origin("a", A)
    client = bench.lb.connect("t")
    client.send(b"question")
    server = origin.connections[0]
    server.send(b"all there is")
    server.half_close()
    assert (client.received, client.closed) == (b"all there is", False)
    client.send(b" and more")
    assert server.received == b"question and more"
    client.half_close()
    assert server.finished and client.finished and not client.reset
    assert bench.last.close.value == "ok"


@pytest.mark.parametrize("who", ["client", "server"])
def test_a_reset_is_passed_on(make: Make, who: str) -> None:
    bench = make(servers=(f"a {A}",))
    origin = bench.lb.tcp_origin("a", A)
    client = bench.lb.connect("t")
    client.send(b"x")
    server = origin.connections[0]
    (client if who == "client" else server).abort()
    assert server.closed and client.closed
    kind = "client_gone" if who == "client" else "server_gone"
    assert bench.last.close.value == kind
    assert bench.backend.group.servers["a"].counters.failed == (who == "server")


@pytest.mark.parametrize("slow", ["client", "server"])
def test_back_pressure(make: Make, slow: str) -> None:
    bench = make(servers=(f"a {A}",))
    origin = bench.lb.tcp_origin("a", A)
    client = bench.lb.connect("t")
    client.send(b"x")
    server = origin.connections[0]
    reader, writer = (client, server) if slow == "client" else (server, client)
    already = len(reader.received)
    reader.pause()
    for _ in range(100):
        writer.send(b"y" * 100_000)
    session = next(iter(bench.frontend.clients))
    moved = session.bytes_out if slow == "client" else session.bytes_in
    assert moved < 2_000_000, "lbproxy must stop reading when the other side does not take it"
    reader.resume()
    bench.lb.advance(1)
    assert len(reader.received) - already == 10_000_000
    client.close()


def test_idle_sessions_end(make: Make) -> None:
    bench = make(frontend="timeout_client = 40s", backend="timeout_server = 80s")
    origins(bench)
    client = bench.lb.connect("t")
    client.send(b"x")
    for _ in range(5):
        bench.lb.advance(30)
        assert not client.closed
        client.send(b"still here")
    bench.lb.advance(50)
    assert client.closed
    assert bench.last.close.value == "client_timeout"


def test_an_idle_session_ends_at_most_an_eighth_late(make: Make) -> None:
    bench = make(frontend="timeout_client = 80s", backend="timeout_server = 80s")
    origins(bench)
    client = bench.lb.connect("t")
    client.send(b"x")
    bench.lb.advance(79.9)
    assert not client.closed
    bench.lb.advance(10.3)  # an eighth, and some ticks of the timer wheel
    assert client.closed


@pytest.mark.parametrize("first", ["client", "server"])
def test_a_reset_after_both_have_sent_all_is_no_failure(make: Make, first: str) -> None:
    """Programs close with a reset when both FINs have passed; the session was good."""
    bench = make(servers=(f"a {A}",))
    origin = bench.lb.tcp_origin("a", A)
    client = bench.lb.connect("t")
    client.send(b"question")
    server = origin.connections[0]
    server.send(b"answer")
    if first == "client":
        client.half_close()
        server.half_close()
        server.abort()
    else:
        server.half_close()
        client.half_close()
        client.abort()
    bench.lb.advance(1)
    assert bench.last.close.value == "ok"
    state = bench.backend.group.servers["a"]
    assert state.counters.failed == 0
    assert state.active == 0


def test_idle_after_half_close_counts_for_the_side_that_may_still_send(make: Make) -> None:
    bench = make(
        servers=(f"a {A}",), frontend="timeout_client = 40s", backend="timeout_server = 80s"
    )
    bench.lb.tcp_origin("a", A)
    client = bench.lb.connect("t")
    client.half_close()
    bench.lb.advance(60)
    assert not client.finished
    bench.lb.advance(40)
    assert client.closed
    assert bench.last.close.value == "server_timeout"


@pytest.mark.parametrize(("policy", "ends"), [("close", True), ("keep", False)])
def test_on_down(make: Make, policy: str, ends: bool) -> None:
    bench = make(servers=(f"a {A}",), backend=f"on_down = {policy}")
    bench.lb.tcp_origin("a", A, "echo")
    client = bench.lb.connect("t")
    client.send(b"x")
    server = bench.backend.group.servers["a"]
    bench.backend.group.set_health(server, False, "test")
    bench.lb.advance(0.1)
    assert client.closed is ends
    if ends:
        assert bench.last.close.value == "server_down"
        assert server.counters.failed == 0
    else:
        client.close()


def test_drain_keeps_sessions_and_takes_no_new_ones(make: Make) -> None:
    bench = make()
    origins(bench)
    old = bench.lb.connect("t")
    old.send(b"x")
    bench.lb.service.drain("raw", "a")
    for _ in range(3):
        client = bench.lb.connect("t")
        client.close()
    assert {record.server_name for record in bench.records} == {"b"}
    old.send(b"y")
    assert old.received == b"xy"
    old.close()
    bench.lb.service.ready("raw", "a")
    assert bench.backend.group.servers["a"].admin is AdminState.READY


def test_servers_come_and_go_at_run_time(make: Make) -> None:
    bench = make(servers=(f"a {A}",))
    origins(bench)
    bench.lb.service.add_server("raw", f"b {B}")
    bench.lb.service.remove_server("raw", "a")
    client = bench.lb.connect("t")
    client.send(b"x")
    assert client.received == b"x"
    client.close()
    assert bench.last.server_name == "b"


def test_the_queue_holds_sessions_until_a_place_is_free(make: Make) -> None:
    bench = make(servers=(f"a {A} maxconn=1",), backend="timeout_queue = 5s\nqueue = 2")
    bench.lb.tcp_origin("a", A, "echo")
    first, second, third = (bench.lb.connect("t") for _ in range(3))
    fourth = bench.lb.connect("t")
    assert fourth.closed
    assert bench.last.close.value == "queue_full"
    second.send(b"waiting")
    assert second.received == b""
    third.abort()
    assert bench.last.close.value == "client_gone"
    first.close()
    assert second.received == b"waiting"
    fifth = bench.lb.connect("t")
    bench.lb.advance(6)
    assert fifth.closed
    assert bench.last.close.value == "queue_timeout"
    second.close()


def test_limits(make: Make) -> None:
    bench = make(frontend="maxconn = 3\nmaxconn_per_ip = 2\ndeny = 198.51.100.0/24")
    origins(bench)
    assert bench.lb.connect("t", client="198.51.100.7").finished
    mine = [bench.lb.connect("t", client="203.0.113.1") for _ in range(3)]
    assert [client.finished for client in mine] == [False, False, True]
    others = [bench.lb.connect("t", client=f"203.0.113.{n}") for n in (2, 3)]
    assert [client.finished for client in others] == [False, True]
    mine[0].close()
    assert not bench.lb.connect("t", client="203.0.113.4").finished
    closes = {kind.value: count for kind, count in bench.frontend.counters.closes.items()}
    assert (closes["denied"], closes["limited"]) == (1, 2)


def test_proxy_header_in_and_out() -> None:
    bench = Bench.of(
        f"""
        [frontend t]
        mode = tcp
        listen = tcp:9000 accept_proxy=10.9.0.0/16
        backend = raw
        allow = 203.0.113.0/24 192.0.2.0/24
        [backend raw]
        servers =
            a {A} send_proxy=v1
        """
    )
    lb = bench.lb
    origin = lb.tcp_origin("a", A)
    trusted = lb.connect("t", client="10.9.1.1")
    trusted.send(b"PROXY TCP4 203.0.113.77 192.0.2.1 5555 443\r\nhello")
    assert origin.connections[0].received == b"PROXY TCP4 203.0.113.77 192.0.2.1 5555 443\r\nhello"
    assert next(iter(bench.frontend.clients)).client_ip == "203.0.113.77"
    trusted.abort()
    assert bench.last.client_ip == "203.0.113.77"
    stranger = lb.connect("t", client="192.0.2.50")
    stranger.send(b"PROXY TCP4 203.0.113.77 192.0.2.1 5555 443\r\n")
    line, _, rest = origin.connections[1].received.partition(b"\r\n")
    assert line.startswith(b"PROXY TCP4 192.0.2.50 ")
    assert rest == b"PROXY TCP4 203.0.113.77 192.0.2.1 5555 443\r\n", "it is only data"
    stranger.abort()
    refused = lb.connect("t", client="10.9.1.1")
    refused.send(b"PROXY TCP4 198.51.100.1 192.0.2.1 5555 443\r\nhello")
    assert refused.closed, "the announced address is not allowed"
    broken = lb.connect("t", client="10.9.1.1")
    broken.send(b"PROXY nonsense\r\n")
    assert broken.closed
    silent = lb.connect("t", client="10.9.1.1")
    lb.advance(11)
    assert silent.closed
    bench.close()


def test_a_stopping_service_lets_sessions_finish_and_then_cuts_them(make: Make) -> None:
    bench = make()
    origins(bench)
    client = bench.lb.connect("t")
    client.send(b"x")
    stopped: list[Any] = []
    bench.lb.service.stopService().addCallback(stopped.append)
    bench.lb.advance(5)
    client.send(b"y")
    assert client.received == b"xy"
    assert not stopped
    bench.lb.advance(6)
    assert client.closed
    assert stopped
    assert bench.last.close.value == "shutdown"


def test_a_reset_behind_unread_data_ends_the_session_at_once(make: Make) -> None:
    """The server takes nothing, so the client is not read; its reset must be seen all the same."""
    bench = make(servers=(f"a {A}",))
    origin = bench.lb.tcp_origin("a", A)
    client = bench.lb.connect("t")
    origin.connections[0].transport.pauseProducing()
    client.send(b"x" * 1_000_000)
    assert not bench.records
    client.abort()
    assert bench.last.close.value == "client_gone"
