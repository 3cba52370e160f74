"""Servers of TCP sessions: several addresses, Unix sockets, IPv6, coming and going, the queue."""

from __future__ import annotations

import gc
from typing import Any

import pytest

from lbproxy.config.model import Address
from lbproxy.errors import Kind, ProxyError
from lbproxy.proxy.tcp.session import Session
from tests.proxy.bench import A, B, Make, origins


def test_the_addresses_of_a_server_are_tried_in_turn(make: Make) -> None:
    bench = make(servers=("a 10.0.0.1:7000",), backend="timeout_connect = 3s\nretries = 0")
    addresses = tuple(Address("tcp", f"10.0.0.{n}", 7000) for n in (1, 2, 3))
    bench.backend.group.set_addresses(bench.server("a"), addresses)
    bench.lb.tcp_origin("third", "10.0.0.3:7000", "echo")
    client = bench.lb.connect("t")
    client.send(b"x")
    assert client.received == b"x"
    client.close()
    assert (bench.last.attempts, bench.server("a").counters.connects) == (1, 1)


def test_addresses_share_the_time_for_connecting(make: Make) -> None:
    bench = make(servers=("a 10.0.0.1:7000",), backend="timeout_connect = 3s\nretries = 0")
    addresses = tuple(Address("tcp", f"10.0.0.{n}", 7000) for n in (1, 2, 3))
    bench.backend.group.set_addresses(bench.server("a"), addresses)
    bench.lb.reactor.blackhole("10.0.0.1")
    bench.lb.reactor.blackhole("10.0.0.2")
    bench.lb.tcp_origin("third", "10.0.0.3:7000", "echo")
    client = bench.lb.connect("t")
    client.send(b"x")
    bench.lb.advance(1.9)
    assert client.received == b""
    bench.lb.advance(0.3)
    assert client.received == b"x", "a third of the time for each"
    client.close()
    bench.lb.reactor.blackhole("10.0.0.3")
    hopeless = bench.lb.connect("t")
    bench.lb.advance(2.8)
    assert not hopeless.closed
    bench.lb.advance(0.5)
    assert hopeless.closed
    assert bench.closes == ["ok", "connect_timeout"]
    left = bench.lb.connect("t")
    bench.lb.advance(1.5)
    left.abort()
    assert bench.closes[-1] == "client_gone"


def test_ipv6_and_unix(make: Make) -> None:
    bench = make(
        listen="tcp6:9000",
        servers=("a [2001:db8::10]:7000 send_proxy=v1", "b unix:/run/b.sock"),
    )
    six = bench.lb.tcp_origin("a", "[2001:db8::10]:7000", lambda data: None)
    bench.lb.tcp_origin("b", "unix:/run/b.sock", "echo")
    one = bench.lb.connect("t", client="2001:db8::99")
    one.send(b"x")
    assert six.connections[0].received.startswith(b"PROXY TCP6 2001:db8::99 ")
    two = bench.lb.connect("t", client="2001:db8::99")
    two.send(b"y")
    assert two.received == b"y"
    one.close()
    two.close()
    assert {record.client_ip for record in bench.records} == {"2001:db8::99"}


def test_a_server_removed_keeps_its_sessions(make: Make) -> None:
    bench = make()
    origins(bench)
    old = bench.lb.connect("t")
    old.send(b"x")
    server = bench.server("a")
    bench.lb.service.remove_server("raw", "a")
    old.send(b"y")
    assert old.received == b"xy"
    new = bench.lb.connect("t")
    old.close()
    assert (bench.last.server_name, server.active, server.counters.ok) == ("a", 0, 1)
    new.close()
    assert bench.last.server_name == "b"
    again = bench.lb.service.add_server("raw", f"a {A}")
    assert again is not server
    still = bench.lb.connect("t")
    bench.lb.service.remove_server("raw", "a")
    bench.lb.service.remove_server("raw", "b")
    bench.lb.service.stopService()
    bench.lb.advance(20)
    assert still.closed
    assert bench.closes[-1] == "shutdown"


def test_a_server_that_goes_down_while_it_is_dialled_is_left_for_another(make: Make) -> None:
    bench = make(backend="on_down = close")
    bench.lb.reactor.blackhole(A)
    bench.lb.tcp_origin("b", B, "echo")
    client = bench.lb.connect("t")
    client.send(b"x")
    assert client.received == b""
    bench.backend.group.set_health(bench.server("a"), False, "test")
    bench.lb.advance(0.1)
    assert client.received == b"x"
    client.close()
    assert (bench.last.server_name, bench.last.attempts) == ("b", 2)
    assert bench.server("a").counters.failed == 0


def test_the_last_server_that_goes_down_while_it_is_dialled(make: Make) -> None:
    bench = make(backend="on_down = close", servers=(f"a {A}",))
    bench.lb.reactor.blackhole(A)
    client = bench.lb.connect("t")
    bench.backend.group.set_health(bench.server("a"), False, "test")
    bench.lb.advance(1)
    assert client.closed
    assert bench.closes == ["no_server"]


def test_a_server_alone_is_tried_again_after_a_pause(make: Make) -> None:
    bench = make(servers=(f"a {A}",), backend="retries = 2")
    client = bench.lb.connect("t")
    client.send(b"x")
    bench.lb.tcp_origin("a", A, "echo")
    bench.lb.advance(0.4)
    assert client.received == b"x"
    client.close()
    assert (bench.closes, bench.last.attempts) == (["ok"], 2)


@pytest.mark.parametrize("how", ["abort", "half_close"])
def test_a_client_that_leaves_in_the_pause_before_a_retry(make: Make, how: str) -> None:
    bench = make(servers=(f"a {A}",), backend="retries = 2")
    client = bench.lb.connect("t")
    getattr(client, how)()
    assert bench.closes == ["client_gone"]
    assert bench.server("a").counters.connects == 1
    bench.lb.advance(1)
    assert bench.server("a").counters.connects == 1


def test_a_server_that_resets_after_its_fin_had_said_everything(make: Make) -> None:
    bench = make(servers=(f"a {A}",))
    origin = bench.lb.tcp_origin("a", A)
    client = bench.lb.connect("t")
    client.pause()
    server = origin.connections[0]
    server.send(b"answer")
    server.close()
    client.send(b"too late")
    client.send(b"and later")
    client.resume()
    assert client.received == b"answer"
    assert client.finished and not client.reset
    bench.lb.advance(1)
    assert bench.closes == ["ok"]
    assert bench.server("a").counters.failed == 0


def test_early_bytes_do_not_undo_back_pressure(make: Make) -> None:
    bench = make(servers=(f"a {A}",), backend="timeout_connect = 30s")
    bench.lb.reactor.slow(A, 1.0)
    origin = bench.lb.tcp_origin("a", A)
    client = bench.lb.connect("t")
    client.send(b"x" * 5_000_000)
    bench.lb.advance(2.5)
    server = origin.connections[0]
    server.pause()
    bench.lb.advance(20)
    assert bench.session.bytes_in < 1_000_000
    server.resume()
    bench.lb.advance(200)
    assert len(server.received) == 5_000_000
    client.abort()


def test_the_queue_is_fair(make: Make) -> None:
    bench = make(servers=(f"a {A} maxconn=1",), backend="timeout_queue = 100s\nqueue = 50")
    bench.lb.tcp_origin("a", A, "echo")
    clients = [bench.lb.connect("t") for _ in range(10)]
    for client in clients:
        client.send(b"x")
    served: list[Any] = []
    for turn in range(10):
        (now,) = [client for client in clients if client.received and client not in served]
        assert now is clients[turn], "first come, first served"
        served.append(now)
        now.close()
    assert bench.server("a").counters.picked == 10
    assert bench.records[0].t_queue == 0


def test_a_freed_place_goes_to_those_who_wait_not_to_who_comes(make: Make) -> None:
    bench = make(servers=(f"a {A} maxconn=1",), backend="timeout_queue = 100s")
    bench.lb.tcp_origin("a", A, "echo")
    first, second = bench.lb.connect("t"), bench.lb.connect("t")
    second.send(b"second")
    bench.lb.service.add_server("raw", f"b {B} maxconn=1")
    bench.lb.tcp_origin("b", B, "echo")
    bench.lb.advance(1)
    assert second.received == b"second", "a new server serves the queue at once"
    third, fourth = bench.lb.connect("t"), bench.lb.connect("t")
    third.send(b"third")
    fourth.send(b"fourth")
    bench.backend.group.set_maxconn("b", 2)
    assert (third.received, fourth.received) == (b"", b"")
    bench.lb.advance(0.1)
    assert (third.received, fourth.received) == (b"third", b"")
    for client in (first, second, third, fourth):
        client.close()


def test_the_queue_ends_with_the_service(make: Make) -> None:
    bench = make(servers=(f"a {A} maxconn=1",), backend="timeout_queue = 100s")
    bench.lb.tcp_origin("a", A, "echo")
    first, second = bench.lb.connect("t"), bench.lb.connect("t")
    bench.lb.service.stopService()
    bench.lb.reactor.pump()
    assert second.closed and not first.closed
    assert bench.closes == ["shutdown"]


def test_killed_sessions(make: Make) -> None:
    bench = make(servers=(f"a {A}",))
    bench.lb.tcp_origin("a", A, "echo")
    clients = [bench.lb.connect("t") for _ in range(3)]
    assert bench.backend.kill_sessions(bench.server("a")) == 3
    bench.lb.reactor.pump()
    assert all(client.closed for client in clients)
    assert bench.closes == ["session_killed"] * 3
    assert bench.server("a").counters.failed == 0


def test_an_access_log_that_fails_costs_no_session(make: Make) -> None:
    bench = make(may_fail=True)
    origins(bench)
    records = bench.records

    def write_log(record: Any) -> None:
        records.append(record)
        raise RuntimeError("disk on fire")

    bench.frontend.write_log = write_log
    client = bench.lb.connect("t")
    client.send(b"x")
    client.close()
    assert client.closed or client.finished
    assert len(records) == 1


def test_a_session_leaves_no_garbage(make: Make) -> None:
    bench = make(frontend="timeout_client = 30s")
    origins(bench)
    gc.collect()
    before = {id(one) for one in gc.get_objects() if type(one) is Session}
    gc.disable()
    try:
        for _ in range(3):
            client = bench.lb.connect("t")
            client.send(b"x")
            client.close()
        bench.records.clear()
        bench.frontend.counters.closes.clear()
        bench.frontend.counters.bytes_in = bench.frontend.counters.bytes_out = 0
        bench.lb.advance(6)
        alive = [o for o in gc.get_objects() if type(o) is Session and id(o) not in before]
    finally:
        gc.enable()
    assert alive == []


def test_dialling_a_server_without_an_address_fails(make: Make) -> None:
    bench = make(servers=(f"a {A}",))
    server = bench.server("a")
    bench.backend.group.set_addresses(server, ())
    failures: list[ProxyError] = []
    dial = bench.backend.dial(server, object(), failures.append)
    assert failures == []
    bench.lb.advance(0.1)
    assert [error.kind for error in failures] == [Kind.CONNECT_FAILED]
    bench.backend.dial(server, object(), failures.append).cancel()
    dial.cancel()
    bench.lb.advance(0.1)
    assert len(failures) == 1
