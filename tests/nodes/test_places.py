"""``concurrent`` limits that several nodes hold together, on the virtual clock."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbproxy.limits.atonce import AtOnce
from lbproxy.limits.places import LEASE, RENEW, NodePlaces
from lbproxy.model import SharedSpec
from lbproxy.net.stock import StockNetwork
from lbproxy.nodes.exchange import EVERY, FAILING
from lbproxy.nodes.store import SharedStore
from lbproxy.sharing.local import LocalReplicated, LocalShared
from lbproxy.testing import LB, MemoryReactor
from lbproxy.testing.redis import FakeRedis

LATENCY = 0.02
KNOWN = 2 * EVERY + 4 * LATENCY  # until a node knows what another did


class Node:
    """One process: its limit, and its exchange with the store."""

    def __init__(self, reactor: MemoryReactor, most: int, machine: str = "") -> None:
        network = StockNetwork(reactor)
        replicated = LocalReplicated(network.wheel.now)
        spec = SharedSpec(redis="redis://10.0.0.1/0")
        self.store = SharedStore(spec, reactor, network.dialler, Random(0), replicated, machine)
        self.limit = AtOnce(LocalShared(), "l", most)
        self.limit.join(self.store.places)
        self.store.startService()


class World:
    """Some nodes and their store."""

    def __init__(self, count: int, most: int, machine: str = "") -> None:
        self.reactor = MemoryReactor()
        self.reactor.latency = LATENCY
        self.redis = FakeRedis(self.reactor)
        self.redis.start()
        self.nodes = [Node(self.reactor, most, machine) for _ in range(count)]
        self.reactor.advance(1)

    def held(self, key: str = "k") -> int:
        return sum(node.limit.held.get(key, 0) for node in self.nodes)

    def close(self) -> None:
        for node in self.nodes:
            node.store.stopService()


@pytest.fixture
def world() -> Iterator[World]:
    made = World(2, 2)
    yield made
    made.close()


def test_places_of_one_node_count_at_the_other(world: World) -> None:
    one, two = (node.limit for node in world.nodes)
    assert one.take("k")
    assert one.take("k")
    assert two.room("k") == 2, "the other node does not know yet"
    world.reactor.advance(KNOWN)
    assert two.room("k") == 0
    assert not two.take("k")
    assert two.take("another")
    one.give_back("k")
    world.reactor.advance(RENEW + KNOWN)
    assert two.room("k") == 1
    assert two.take("k")


def test_a_node_that_died_gives_its_places_back(world: World) -> None:
    one, two = world.nodes
    assert one.limit.take("k")
    assert one.limit.take("k")
    two.limit.room("k")
    world.reactor.advance(KNOWN)
    world.reactor.advance(3 * LEASE)
    assert two.limit.room("k") == 2, "nobody has asked for the key for long"
    world.reactor.advance(KNOWN)
    assert two.limit.room("k") == 0, "a node that lives renews what it holds"
    one.store.stopService()
    for _ in range(int(LEASE + RENEW + 1)):
        two.limit.room("k")
        world.reactor.advance(1)
    assert two.limit.room("k") == 2


def test_processes_of_one_machine_do_not_count_one_another_twice() -> None:
    world = World(2, 2, machine="m")
    one, two = (node.limit for node in world.nodes)
    assert one.take("k")
    two.room("k")
    world.reactor.advance(KNOWN)
    assert two.room("k") == 2, "what workers share knows their places at once"
    world.close()


@pytest.mark.parametrize("hangs", [False, True])
def test_each_node_holds_the_limit_while_the_store_is_away(world: World, hangs: bool) -> None:
    one, two = (node.limit for node in world.nodes)
    assert one.take("k")
    assert one.take("k")
    two.room("k")
    world.reactor.advance(KNOWN)
    assert two.room("k") == 0
    if hangs:
        world.redis.hung = True
    else:
        world.redis.stop()
    world.reactor.advance(FAILING + 2)
    assert two.room("k") == 2
    assert not one.take("k")
    world.redis.hung = False
    world.redis.start()
    world.reactor.advance(10)
    two.room("k")
    world.reactor.advance(KNOWN)
    assert two.room("k") == 0, "what a node held all the time is known again"


def test_keys_that_nobody_holds_are_forgotten(world: World) -> None:
    one = world.nodes[0]
    for number in range(700):
        assert one.limit.take(str(number))
    world.reactor.advance(KNOWN)
    assert len(one.store.places) == 700
    for number in range(700):
        one.limit.give_back(str(number))
    world.reactor.advance(KNOWN)
    assert len(one.store.places) == 0
    assert not [key for key in world.redis.data if b"places" in key and world.redis.data[key].value]


def test_keys_beyond_the_bound_are_limited_by_the_node_alone() -> None:
    places = NodePlaces(most=2)
    limit = AtOnce(LocalShared(), "l", 1)
    limit.join(places)
    assert [limit.take(key) for key in "abca"] == [True, True, True, False]
    assert len(places) == 2
    assert places.dropped > 0
    for key in "abc":
        limit.give_back(key)
    sent = places.take()
    places.settle(sent, [0] * len(sent))
    assert len(places) == 0


def test_a_limit_that_leaves_the_nodes_takes_its_places_along(world: World) -> None:
    one, two = world.nodes
    assert one.limit.take("k")
    world.reactor.advance(KNOWN)
    one.limit.join(None)
    world.reactor.advance(KNOWN)
    two.limit.room("k")
    world.reactor.advance(KNOWN)
    assert two.limit.room("k") == 2
    one.limit.join(one.store.places)
    world.reactor.advance(KNOWN)
    two.limit.room("k")
    world.reactor.advance(KNOWN)
    assert two.limit.room("k") == 1


STEPS = st.lists(
    st.tuples(
        st.sampled_from((0.0, 0.01, 0.05, 0.3, 2.0)),
        st.integers(0, 2),
        st.sampled_from(("take", "take", "give back")),
    ),
    max_size=80,
)


@settings(max_examples=40)
@given(STEPS, st.integers(1, 3), st.integers(1, 4))
def test_laws(steps: list[tuple[float, int, str]], count: int, most: int) -> None:
    world = World(count, most)
    before: list[tuple[float, int]] = [(world.reactor.seconds(), 0)]
    for pause, number, what in steps:
        world.reactor.advance(pause)
        limit = world.nodes[number % count].limit
        now = world.reactor.seconds()
        if what == "give back":
            if limit.held.get("k"):
                limit.give_back("k")
        elif not limit.take("k"):
            # all places were in use at some time in the last RENEW + KNOWN seconds
            since = max(at for at, _ in before if at <= max(now - RENEW - KNOWN, before[0][0]))
            assert max(held for at, held in before if at >= since) >= most
        before.append((now, world.held()))
        assert world.held() <= count * most
        assert all(node.limit.held.get("k", 0) <= most for node in world.nodes)
    held = world.held()
    for _ in range(2):  # the first answer may be older than what another node has just taken
        for node in world.nodes:
            node.limit.room("k")
        world.reactor.advance(KNOWN)
    for node in world.nodes:
        assert node.limit.room("k") == most - held, "all nodes know the same in the end"
    world.close()


CONFIG = """
    [shared]
    redis = redis://10.0.0.1/0

    [limit few]
    concurrent = 1
    unit = {unit}
    on_error = {on_error}

    [frontend web]
    mode = {mode}
    listen = tcp:{port}
    limits = few
    backend = app

    [backend app]
    servers = a 10.0.0.11:8000
"""


class Balancers:
    """Two balancers with the same configuration."""

    def __init__(self, mode: str, unit: str, on_error: str = "open") -> None:
        self.reactor = MemoryReactor()
        self.redis = FakeRedis(self.reactor)
        self.redis.start()
        words = {"mode": mode, "unit": unit, "on_error": on_error}
        self.nodes = [
            LB.from_config(CONFIG.format(port=port, **words), reactor=self.reactor)
            for port in (8001, 8002)
        ]
        self.reactor.advance(1)

    def close(self) -> None:
        for one in self.nodes:
            one.service.stopService()
        self.reactor.advance(30)


def _begin(lb: LB, mode: str) -> Any:
    """A client that stays."""
    client = lb.connect("web")
    if mode == "http":
        client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    return client


@pytest.mark.parametrize(
    ("mode", "unit"),
    [("http", "requests"), ("http", "connections"), ("tcp", "requests"), ("tcp", "connections")],
)
def test_traffic_of_both_nodes(mode: str, unit: str) -> None:
    world = Balancers(mode, unit)
    one, two = world.nodes
    if mode == "http":
        one.origin("a", "10.0.0.11:8000").hang()
    else:
        one.tcp_origin("a", "10.0.0.11:8000")
    first = _begin(one, mode)
    second = _begin(two, mode)
    assert not first.finished
    assert not second.finished, "nodes do not wait for one another"
    second.abort()
    world.reactor.advance(KNOWN)
    refused = _begin(two, mode)
    assert refused.finished or refused.received.startswith(b"HTTP/1.1 429")
    first.abort()
    world.reactor.advance(RENEW + KNOWN)
    assert not _begin(two, mode).finished
    world.close()


def test_a_limit_that_is_closed_refuses_while_the_store_is_away() -> None:
    world = Balancers("http", "requests", "closed")
    one = world.nodes[0]
    one.origin("a", "10.0.0.11:8000")
    assert one.get("http://h:8001/").status == 200
    world.redis.stop()
    assert one.get("http://h:8001/").status == 503
    world.redis.start()
    world.reactor.advance(3)
    assert one.get("http://h:8001/").status == 200
    world.close()
