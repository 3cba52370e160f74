"""Rebalancing on a virtual clock: how many sessions move, how fast, which ones, and when none."""

from __future__ import annotations

from typing import Any

import pytest

from lbproxy.balance.sticky import SourceSticky
from lbproxy.config.errors import ConfigErrors
from lbproxy.testing import LB
from tests.proxy.bench import A, B, Bench, Make, origins
from tests.proxy.http.test_http_tunnels import SWITCH, UPGRADE
from tests.proxy.http_kit import TWO_SERVERS, rigs
from tests.sessionclose.test_sessionclose import CONNACK, CONNECT5, READY, START, frame

ONE = (f"a {A}",)
RULE = "balance = leastconn\nrebalance = tcp rate=5/s idle=1s after=2s"

rig = pytest.fixture(rigs)


def load(bench: Bench) -> dict[str, int]:
    return {name: len(server.sessions) for name, server in bench.backend.group.servers.items()}


class Crowd:
    """Clients that connect again when they are closed, and ask nothing."""

    def __init__(self, bench: Bench, count: int) -> None:
        self.bench = bench
        self.clients: list[Any] = [self.join() for _ in range(count)]

    def join(self) -> Any:
        client = self.bench.lb.connect("t")
        client.send(b"x")
        return client

    def advance(self, seconds: float) -> None:
        """A tenth of a second at a time."""
        for _ in range(round(seconds * 10)):
            self.bench.lb.advance(0.1)
            self.clients = [self.join() if one.finished else one for one in self.clients]


def test_half_of_the_sessions_move_at_the_set_rate(make: Make) -> None:
    bench = make(servers=ONE, backend=RULE)
    origins(bench)
    crowd = Crowd(bench, 40)
    crowd.advance(5)
    assert load(bench) == {"a": 40}
    bench.lb.service.add_server("raw", f"b {B}")
    crowd.advance(1.4)
    assert load(bench) == {"a": 40, "b": 0}, "a pause first"
    crowd.advance(2.6)
    moved = bench.backend.counts["rebalance"].rebalanced
    assert 5 <= moved <= 13, "five a second"
    crowd.advance(6)
    assert load(bench) == {"a": 20, "b": 20}
    assert bench.backend.counts["rebalance"].rebalanced == 20
    assert bench.closes.count("rebalanced") == 20
    crowd.advance(30)
    assert bench.backend.counts["rebalance"].rebalanced == 20, "and that is all"
    assert not bench.backend.rebalancer._running


@pytest.mark.parametrize("chance", [0.0, 1.0])
def test_a_rate_of_less_than_one_in_ten_minutes(make: Make, chance: float) -> None:
    """The pause between two moves is longer than what is waited for a polite moment."""
    bench = make(
        servers=ONE,
        frontend="timeout_client = 2d",
        backend=f"{RULE.replace('5/s', '4/h')}\ntimeout_server = 2d",
    )
    bench.backend.random = lambda: chance
    origins(bench)
    for _ in range(4):
        bench.lb.connect("t").send(b"x")
    bench.lb.service.add_server("raw", f"b {B}")
    bench.lb.advance(1800)
    assert bench.backend.counts["rebalance"].rebalanced == 1
    bench.lb.advance(1800)
    assert bench.backend.counts["rebalance"].rebalanced == 2


def test_weights_count_and_a_change_of_weight_is_a_reason(make: Make) -> None:
    bench = make(backend=RULE)
    origins(bench)
    crowd = Crowd(bench, 20)
    assert load(bench) == {"a": 10, "b": 10}
    bench.lb.service.set_weight("raw", "b", 3)
    crowd.advance(10)
    assert load(bench) == {"a": 5, "b": 15}


def test_a_server_that_is_back_gets_its_share(make: Make) -> None:
    bench = make(backend=RULE)
    origins(bench)
    bench.lb.service.maint("raw", "b")
    crowd = Crowd(bench, 10)
    bench.lb.service.ready("raw", "b")
    crowd.advance(10)
    assert load(bench) == {"a": 5, "b": 5}
    bench.lb.service.drain("raw", "b")
    crowd.advance(10)
    assert load(bench) == {"a": 5, "b": 5}, "a drained server keeps what runs"


def test_busy_sessions_stay(make: Make) -> None:
    bench = make(servers=ONE, backend=RULE)
    origins(bench)
    crowd = Crowd(bench, 4)
    bench.lb.service.add_server("raw", f"b {B}")
    for _ in range(20):
        for client in crowd.clients:
            client.send(b"busy")
        crowd.advance(0.5)
    assert load(bench) == {"a": 4, "b": 0}
    crowd.advance(5)
    assert load(bench) == {"a": 2, "b": 2}


def test_it_gives_up_where_it_does_not_help(make: Make) -> None:
    """The balancer sends everybody back: once round, and no more."""
    bench = make(servers=ONE, backend="balance = first\nrebalance = tcp rate=10/s idle=0s after=1s")
    origins(bench)
    crowd = Crowd(bench, 10)
    bench.lb.service.add_server("raw", f"b {B}")
    crowd.advance(60)
    assert load(bench) == {"a": 10, "b": 0}
    assert bench.backend.counts["rebalance"].rebalanced == 5


def test_a_balancer_that_sends_half_of_them_back_gets_more_rounds(make: Make) -> None:
    bench = make(
        servers=ONE, backend="balance = roundrobin\nrebalance = tcp rate=10/s idle=0s after=1s"
    )
    origins(bench)
    crowd = Crowd(bench, 40)
    bench.lb.service.add_server("raw", f"b {B}")
    crowd.advance(60)
    assert abs(load(bench)["a"] - 20) <= 6, "a single round leaves it at 30"


def test_a_learned_bond_is_broken(make: Make) -> None:
    bench = make(servers=ONE, backend=f"{RULE}\nsticky = source")
    origins(bench)
    clients = [bench.lb.connect("t", client=f"10.1.0.{n}") for n in range(1, 9)]
    for client in clients:
        client.send(b"x")
    bench.lb.service.add_server("raw", f"b {B}")
    for _ in range(100):
        bench.lb.advance(0.1)
        for number, client in enumerate(clients):
            if client.finished:
                clients[number] = again = bench.lb.connect("t", client=f"10.1.0.{number + 1}")
                again.send(b"x")
    assert load(bench) == {"a": 4, "b": 4}
    entries = bench.lb.service.sticky_entries("raw")
    assert sorted(entry.server for entry in entries) == ["a"] * 4 + ["b"] * 4


def bound(make: Make, more: str = "") -> tuple[Bench, list[Any]]:
    """Four clients of ``a``, each with a bond to it, and a new server ``b``."""
    bench = make(
        servers=ONE, backend=f"{RULE}\nsticky = source", **({"more": more} if more else {})
    )
    origins(bench)
    clients = [bench.lb.connect("t", client=f"10.1.0.{n}") for n in range(4)]
    for client in clients:
        client.send(b"x")
    bench.lb.service.add_server("raw", f"b {B}")
    return bench, clients


def tenths(bench: Bench, count: int) -> None:
    for _ in range(count):
        bench.lb.advance(0.1)


def test_a_bond_to_another_server_stays(make: Make) -> None:
    """The client has been moved in the meantime: that an old session of it ends does not change
    where it belongs.
    """
    bench, clients = bound(make)
    table = bench.backend.sticky.table
    for key, _, _ in list(table.entries()):
        table.put(key, "b")
    tenths(bench, 100)
    assert sum(client.finished for client in clients) == 2
    assert table.count("b") == 4


@pytest.mark.parametrize("how", ["raises", "does not forget"])
def test_nobody_is_moved_against_a_bond(make: Make, how: str) -> None:
    bench, clients = bound(make)

    class Broken(SourceSticky):
        def forget(self, context: Any) -> None:
            if how == "raises":
                raise ValueError("a bug")

    sticky = bench.backend.sticky
    broken = Broken(sticky.options, sticky.env)
    broken.table = sticky.table
    broken.bind(bench.backend.group)
    bench.backend.sticky = broken
    tenths(bench, 100)
    assert not any(client.finished for client in clients)
    assert bench.backend.counts["rebalance"].rebalanced == 0
    bench.may_fail = True


def test_a_backend_that_is_removed_moves_nobody(make: Make) -> None:
    bench, clients = bound(make)
    tenths(bench, 15)
    text = (
        "[frontend u]\nmode = tcp\nlisten = tcp:9001\nbackend = new\n[backend new]\n"
        f"servers = a {A}\n"
    )
    rebalancer = bench.backend.rebalancer
    assert rebalancer.plan()
    assert bench.lb.service.reload(text).ok
    tenths(bench, 60)
    assert not any(client.finished for client in clients)
    assert rebalancer.plan() == {}


def test_a_server_that_is_removed_in_the_middle(make: Make) -> None:
    bench = make(servers=ONE, backend=RULE)
    origins(bench)
    crowd = Crowd(bench, 20)
    bench.lb.service.add_server("raw", f"b {B}")
    crowd.advance(3.5)
    moved = bench.backend.counts["rebalance"].rebalanced
    assert 0 < moved < 10
    gone = bench.backend.group.servers["b"]
    bench.lb.service.remove_server("raw", "b")
    crowd.advance(20)
    assert bench.backend.counts["rebalance"].rebalanced <= moved + 1
    assert len(gone.sessions) == moved
    assert not bench.backend.rebalancer._running


def test_sessions_that_end_by_themselves_are_not_missed(make: Make) -> None:
    bench = make(servers=ONE, backend=RULE)
    origins(bench)
    crowd = Crowd(bench, 20)
    bench.lb.service.add_server("raw", f"b {B}")
    crowd.advance(3)
    for client in crowd.clients[::2]:
        client.abort()
    crowd.clients = crowd.clients[1::2]
    crowd.advance(10)
    assert sum(load(bench).values()) == 10
    assert abs(load(bench)["a"] - load(bench)["b"]) <= 2
    assert not bench.backend.rebalancer._running


def test_last_words_that_nobody_reads_have_a_deadline(make: Make) -> None:
    bench = make(servers=ONE, backend=RULE)
    sources = origins(bench, None)
    clients = [bench.lb.connect("t") for _ in range(2)]
    for client, server in zip(clients, sources[0].connections, strict=True):
        client.send(b"x")
        client.pause()
        server.send(b"y" * 1_000_000)
    bench.lb.service.add_server("raw", f"b {B}")
    tenths(bench, 50)
    assert bench.backend.counts["rebalance"].rebalanced == 1
    assert len(bench.frontend.clients) == 2
    bench.lb.advance(61)
    assert len(bench.frontend.clients) == 1
    for client in clients:
        client.resume()
        client.abort()
    bench.lb.advance(1)


def test_on_demand(make: Make) -> None:
    bench = make(backend="balance = leastconn\nrebalance = tcp rate=10/s idle=0s after=1h")
    origins(bench)
    service = bench.lb.service
    service.maint("raw", "b")
    crowd = Crowd(bench, 6)
    service.ready("raw", "b")
    crowd.advance(10)
    assert load(bench) == {"a": 6, "b": 0}
    assert service.rebalance("raw").moves == {"a": 3}
    crowd.advance(3)
    assert load(bench) == {"a": 3, "b": 3}
    assert service.rebalance("raw").moves == {}
    with pytest.raises(KeyError):
        service.rebalance("other")


def test_a_backend_without_the_key(make: Make) -> None:
    bench = make(servers=ONE)
    origins(bench)
    client = bench.lb.connect("t")
    client.send(b"x")
    assert bench.session.watched is None
    with pytest.raises(ValueError, match="no rebalance"):
        bench.lb.service.rebalance("raw")


def test_reload_switches_it_on_and_off(make: Make) -> None:
    bench = make(servers=ONE)
    origins(bench)
    text = (
        f"[frontend t]\nmode = tcp\nlisten = tcp:9000\nbackend = raw\n[backend raw]\n{{}}\n"
        f"servers = a {A}\n"
    )
    assert bench.lb.service.reload(text.format(RULE)).ok
    rebalancer = bench.backend.rebalancer
    assert rebalancer is not None
    assert rebalancer.watch() is not None
    assert bench.lb.service.reload(text.format("")).ok
    assert bench.backend.rebalancer is None
    with pytest.raises(ValueError, match="no rebalance"):
        bench.lb.service.rebalance("raw")


def test_last_words_and_nothing_after_them(make: Make) -> None:
    bench = make(servers=ONE, backend=RULE.replace("tcp", "mqtt"))
    origin = bench.lb.tcp_origin("a", A)
    bench.lb.tcp_origin("b", B)
    clients = [bench.lb.connect("t") for _ in range(2)]
    for client, server in zip(clients, origin.connections, strict=False):
        client.send(CONNECT5)
        server.send(CONNACK)
    clients.append(bench.lb.connect("t"))  # has not even introduced itself
    bench.lb.service.add_server("raw", f"b {B}")
    bench.lb.advance(1)
    for client, server in zip(clients, origin.connections, strict=False):
        server.send(b"\x30\x0ahalf of ")
        assert client.received.endswith(b"half of ")
    for _ in range(50):
        bench.lb.advance(0.1)
    assert not any(client.finished for client in clients), "in the middle of a packet"
    for server in origin.connections:
        server.send(b"it")
    for _ in range(30):
        bench.lb.advance(0.1)
    gone = [client for client in clients if client.finished]
    assert len(gone) == 1
    assert gone[0].received.endswith(b"half of it\xe0\x02\x9c\x00")
    assert sum(server.received.endswith(b"\xe0\x00") for server in origin.connections) == 1


def test_postgresql_sessions_move_between_transactions(make: Make) -> None:
    bench = make(servers=ONE, backend=RULE.replace("tcp", "postgresql"))
    origin = bench.lb.tcp_origin("a", A)
    bench.lb.tcp_origin("b", B)
    clients = [bench.lb.connect("t") for _ in range(4)]
    for client, server in zip(clients, origin.connections, strict=False):
        client.send(START)
        server.send(READY)
    for client, server in list(zip(clients, origin.connections, strict=False))[:3]:
        client.send(b"Q\x00\x00\x00\x0abegin\x00")
        server.send(b"Z\x00\x00\x00\x05T")
    bench.lb.service.add_server("raw", f"b {B}")
    for _ in range(60):
        bench.lb.advance(0.1)
    assert [client.finished for client in clients] == [False, False, False, True]
    assert b"C57P01" in clients[3].received
    assert origin.connections[3].received.endswith(b"X\x00\x00\x00\x04")


def test_websockets_move_between_messages(rig: Any) -> None:
    r = rig(app="rebalance = websocket rate=10/s idle=1s after=1s", servers=TWO_SERVERS)
    a = r.raw()
    r.raw("10.0.0.2:8000")
    r.lb.service.maint("app", "b")
    clients = []
    for number in range(4):
        client = r.client()
        client.send(UPGRADE)
        server = a.connections[number]
        server.send(SWITCH)
        assert client.take().startswith(b"HTTP/1.1 101 ")
        server.send(frame(1, b"hello")[:-1])
        clients.append((client, server))
    r.lb.service.ready("app", "b")
    for _ in range(50):
        r.advance(0.1)
    assert not any(client.finished for client, _ in clients), "in the middle of a frame"
    for client, server in clients:
        server.send(b"o")
        assert client.take() == frame(1, b"hello")
    for _ in range(50):
        r.advance(0.1)
    gone = [(client, server) for client, server in clients if client.finished]
    assert len(gone) == 2
    for client, server in gone:
        assert client.received == b"\x88\x02\x03\xf4"
        assert server.received[-8:-6] == b"\x88\x82"
        assert server.finished or server.closed
    assert [record.close.value for record in r.log] == ["rebalanced"] * 2


def test_a_websocket_client_that_does_not_read_is_cut_off_in_time(rig: Any) -> None:
    r = rig(app="rebalance = websocket rate=10/s idle=1s after=1s", servers=TWO_SERVERS)
    a = r.raw()
    r.raw("10.0.0.2:8000")
    r.lb.service.maint("app", "b")
    clients = []
    for number in range(2):
        client = r.client()
        client.send(UPGRADE)
        server = a.connections[number]
        server.send(SWITCH)
        client.pause()
        server.pause()
        for _ in range(10):
            server.send(frame(2, bytes(60_000)))
        clients.append((client, server))
    r.lb.service.ready("app", "b")
    for _ in range(50):
        r.advance(0.1)
    assert r.backend.counts["rebalance"].rebalanced == 1
    assert r.closes == ["rebalanced"]
    assert r.clients == 2, "what was written may still be read"
    r.advance(61)
    assert r.clients == 0
    assert r.closes == ["rebalanced", "client_stalled"]


def test_other_upgrades_and_plain_requests_are_left_alone(rig: Any) -> None:
    r = rig(app="rebalance = websocket rate=10/s idle=0s after=0s", servers=TWO_SERVERS)
    a = r.raw()
    r.raw("10.0.0.2:8000")
    r.lb.service.maint("app", "b")
    clients = []
    for number in range(3):
        client = r.client()
        client.send(UPGRADE.replace(b"websocket", b"other"))
        a.connections[number].send(SWITCH.replace(b"websocket", b"other"))
        clients.append(client)
    r.lb.service.ready("app", "b")
    for _ in range(30):
        r.advance(0.1)
    assert not any(client.finished for client in clients)


@pytest.mark.parametrize(
    ("mode", "lines", "words"),
    [
        ("http", "rebalance = mqtt", "mode tcp"),
        ("tcp", "rebalance = websocket", "mode http"),
        ("http", "rebalance = websocket\nsticky = cookie LB", "back at once"),
        ("tcp", "rebalance = smoke", "smoke"),
        ("tcp", "rebalance = tcp rate=0/s", "rate"),
        ("tcp", "rebalance = tcp speed=1", "speed"),
        ("tcp", "rebalance =", "rebalance"),
    ],
)
def test_mistakes(mode: str, lines: str, words: str) -> None:
    text = (
        f"[frontend t]\nmode = {mode}\nlisten = tcp:9000\nbackend = raw\n"
        f"[backend raw]\n{lines}\nservers = a {A}\n"
    )
    with pytest.raises(ConfigErrors, match=words):
        LB.from_config(text)
