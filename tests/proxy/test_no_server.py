"""``no_server = queue``: traffic that comes while no server is up waits for one."""

from __future__ import annotations

from typing import Any

import pytest

from tests.proxy.bench import A, B, Bench, Make
from tests.proxy.bench import make as make_bench
from tests.proxy.http_kit import GET, TWO_SERVERS, Rig, rigs
from tests.proxy.http_kit import A as WEB_A
from tests.proxy.http_kit import B as WEB_B

QUEUE = "no_server = queue\ntimeout_queue = 5s"

rig = pytest.fixture(rigs)


def down(bench: Any, *names: str, healthy: bool = False) -> None:
    for name in names:
        group = bench.backend.group
        group.set_health(group.servers[name], healthy, "test")


def up(bench: Any, *names: str) -> None:
    down(bench, *names, healthy=True)


# -- TCP


def test_recovery_serves_the_waiting_in_order(make: Make) -> None:
    bench = make(backend=f"{QUEUE}\nbalance = first", servers=(f"a {A} maxconn=2", f"b {B}"))
    order: list[bytes] = []
    bench.lb.tcp_origin("a", A, order.append)
    down(bench, "a", "b")
    clients = [bench.lb.connect("t") for _ in range(4)]
    for n, client in enumerate(clients):
        client.send(b"%d" % n)
    bench.lb.advance(2)
    assert order == [] and not any(client.closed for client in clients)
    up(bench, "a")
    bench.lb.advance(0.1)
    assert order == [b"0", b"1"], "maxconn holds for those who waited too"
    clients[0].close()
    clients[1].close()
    bench.lb.advance(0.1)
    assert order == [b"0", b"1", b"2", b"3"]
    for client in clients[2:]:
        client.close()
    assert bench.closes == ["ok"] * 4
    assert bench.backend.counters.no_server == 0
    assert [round(record.t_queue) for record in bench.records] == [2, 2, 2, 2]


def test_everybody_has_a_deadline(make: Make) -> None:
    bench = make(backend=QUEUE)
    down(bench, "a", "b")
    early = bench.lb.connect("t")
    bench.lb.advance(3)
    late = bench.lb.connect("t")
    bench.lb.advance(2.1)
    assert early.closed and not late.closed
    bench.lb.advance(3)
    assert late.closed
    assert bench.closes == ["queue_timeout"] * 2
    assert bench.backend.counters.queue_timeouts == 2


def test_the_queue_has_a_limit(make: Make) -> None:
    bench = make(backend=f"{QUEUE}\nqueue = 1")
    bench.lb.tcp_origin("a", A, "echo")
    down(bench, "a", "b")
    first, second = bench.lb.connect("t"), bench.lb.connect("t")
    assert second.closed and not first.closed
    assert bench.closes == ["queue_full"]
    up(bench, "a")
    first.send(b"x")
    assert first.received == b"x"
    first.close()


@pytest.mark.parametrize("how", ["close", "abort"])
def test_a_client_that_leaves_is_out_of_the_queue(make: Make, how: str) -> None:
    bench = make(backend=QUEUE)
    a = bench.lb.tcp_origin("a", A, "echo")
    down(bench, "a", "b")
    leaver, stayer = bench.lb.connect("t"), bench.lb.connect("t")
    getattr(leaver, how)()
    bench.lb.advance(0.1)
    assert len(bench.backend.queue) == 1
    up(bench, "a")
    stayer.send(b"x")
    assert stayer.received == b"x" and len(a.connections) == 1
    stayer.close()
    assert bench.closes == ["client_gone", "ok"]


def test_a_failover_is_waited_for(make: Make) -> None:
    """The primary dies with sessions open; new ones wait until the other one has taken over."""
    bench = make(backend=f"{QUEUE}\nbalance = first\non_down = close")
    a, _ = origins(bench)
    down(bench, "b")
    session = bench.lb.connect("t")
    session.send(b"x")
    assert session.received == b"x"
    a.hang()
    down(bench, "a")
    bench.lb.reactor.pump()
    assert session.closed, "its transaction must not go on"
    waiting = bench.lb.connect("t")
    waiting.send(b"y")
    bench.lb.advance(3)
    assert not waiting.closed and waiting.received == b""
    up(bench, "b")
    bench.lb.advance(0.1)
    assert waiting.received == b"y"
    waiting.close()
    assert (bench.last.server_name, bench.closes) == ("b", ["server_down", "ok"])


def test_a_server_that_dies_while_it_is_dialled_sends_to_the_queue(make: Make) -> None:
    bench = make(backend=f"{QUEUE}\non_down = close", servers=(f"a {A}",))
    bench.lb.reactor.blackhole(A)
    client = bench.lb.connect("t")
    down(bench, "a")
    bench.lb.advance(1)
    assert not client.closed and len(bench.backend.queue) == 1
    bench.lb.reactor.heal()
    bench.lb.tcp_origin("a", A, "echo")
    up(bench, "a")
    client.send(b"x")
    bench.lb.advance(0.1)
    assert client.received == b"x"
    client.close()


def test_without_it_traffic_fails_at_once(make: Make) -> None:
    bench = make()
    down(bench, "a", "b")
    assert bench.lb.connect("t").closed
    assert bench.closes == ["no_server"]


def test_the_first_clients_wait_for_the_first_check() -> None:
    """``initial=down``: nobody is sent to a server of which nothing is known."""
    bench = make_bench(
        backend=f"{QUEUE}\nbalance = first\ncheck = tcp send=hi expect=hi every=1s initial=down",
    )
    a, b = origins(bench)
    a.hang()
    states = bench.backend.group.servers.values()
    assert [(one.state.value, one.health_note) for one in states] == [
        ("down", "not checked yet")
    ] * 2
    client = bench.lb.connect("t")
    client.send(b"x")
    bench.lb.advance(0.4)
    assert client.received == b""
    bench.lb.advance(0.4)
    assert client.received == b"x", "b's first check, half an interval later, was enough"
    client.close()
    assert bench.last.server_name == "b"
    for origin in (a, b):
        origin.stop()
    bench.close()


def test_a_server_that_is_not_checked_starts_up() -> None:
    bench = make_bench(backend="check = tcp initial=down", servers=(f"a {A} no_check", f"b {B}"))
    assert [one.state.value for one in bench.backend.group.servers.values()] == ["up", "down"]
    bench.close()


def origins(bench: Bench) -> tuple[Any, Any]:
    return bench.lb.tcp_origin("a", A, "echo"), bench.lb.tcp_origin("b", B, "echo")


# -- HTTP


def get(path: str) -> bytes:
    return GET.replace(b"/", f"/{path}".encode(), 1)


def test_requests_wait_in_order(rig: Any) -> None:
    r: Rig = rig(servers=f"a {WEB_A} maxconn=1", app=QUEUE)
    origin = r.lb.origin("a", WEB_A, b"hello")
    down(r, "a")
    clients = [r.client() for _ in range(3)]
    for n, client in enumerate(clients):
        client.send(get(str(n)))
    r.advance(2)
    assert not any(client.received for client in clients)
    up(r, "a")
    r.advance(0.1)
    assert all(client.received.endswith(b"hello") for client in clients)
    assert [request.target for request in origin.requests] == ["/0", "/1", "/2"]
    assert r.closes == ["ok"] * 3


def test_requests_have_a_deadline_and_a_limit(rig: Any) -> None:
    r: Rig = rig(servers=TWO_SERVERS, app=f"{QUEUE}\nqueue = 1")
    down(r, "a", "b")
    one, two = r.client(), r.client()
    one.send(GET)
    two.send(GET)
    assert two.received[9:12] == b"503" and not one.received
    r.advance(5.1)
    assert one.received[9:12] == b"503"
    assert r.closes == ["queue_full", "queue_timeout"]


@pytest.mark.parametrize("how", ["close", "abort", "half_close"])
def test_a_request_whose_client_left_is_not_sent(rig: Any, how: str) -> None:
    r: Rig = rig(app=QUEUE)
    origin = r.lb.origin("a", WEB_A, b"hello")
    down(r, "a")
    leaver, stayer = r.client(), r.client()
    leaver.send(get("gone"))
    stayer.send(get("here"))
    getattr(leaver, how)()
    assert len(r.backend.queue) == 1
    up(r, "a")
    r.advance(0.1)
    assert stayer.received.endswith(b"hello")
    assert [request.target for request in origin.requests] == ["/here"]


def test_a_body_waits_too(rig: Any) -> None:
    r: Rig = rig(servers=TWO_SERVERS, app=QUEUE)
    origin = r.lb.origin("b", WEB_B, b"hello")
    down(r, "a", "b")
    client = r.client()
    body = b"x" * 200_000
    client.send(
        b"POST / HTTP/1.1\r\nHost: example.com\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    )
    r.advance(1)
    up(r, "b")
    r.advance(0.1)
    assert client.received.endswith(b"hello")
    assert origin.requests[0].body == body
