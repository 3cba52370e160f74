"""The laws of limits that several nodes hold together, for any traffic and any outage."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbproxy.limits.bucket import Buckets
from lbproxy.limits.cells import Cells
from lbproxy.limits.nodes import NodeCounter, NodeCounts
from lbproxy.limits.rate import Rate
from lbproxy.limits.window import PARTS, SLICES, Windows
from lbproxy.model import SharedSpec
from lbproxy.net.stock import StockNetwork
from lbproxy.nodes.exchange import EVERY
from lbproxy.nodes.store import SharedStore
from lbproxy.sharing.local import LocalReplicated
from lbproxy.sharing.log import MOST_OWN, SharedLog
from lbproxy.testing import MemoryReactor
from lbproxy.testing.redis import FakeRedis

LATENCY = 0.02
KNOWN = 2 * EVERY + 4 * LATENCY  # until a node knows what another did

Step = tuple[float, int]


class Node:
    """One node: its table, and its exchange with the store."""

    def __init__(self, reactor: MemoryReactor, rate: Rate, kind: str) -> None:
        network = StockNetwork(reactor)
        self.now = network.wheel.now
        replicated = LocalReplicated(self.now)
        spec = SharedSpec(redis="redis://10.0.0.1/0")
        self.store = SharedStore(spec, reactor, network.dialler, Random(0), replicated)
        extra = 0 if kind == "bucket" else SLICES
        cells = Cells(memoryview(bytearray(Cells.size(10, extra))), extra)
        self.table: Any = (Buckets if kind == "bucket" else Windows)(cells, "l", rate)
        unit = rate.each if kind == "bucket" else rate.seconds / PARTS
        self.counter = NodeCounter("l", kind, self.table, unit)  # type: ignore[arg-type]
        self.store.startService()

    def ask(self) -> bool:
        """Let one request pass, or not."""
        ident = self.table.ident("k")
        if self.table.ask(ident, 1.0, self.now()) > 0:
            return False
        self.table.charge(ident, 1.0, self.now())
        self.store.counts.note(self.counter, "k", ident, 1.0)
        return True


class World:
    def __init__(self, count: int, rate: Rate, kind: str) -> None:
        self.reactor = MemoryReactor()
        self.reactor.latency = LATENCY
        self.redis = FakeRedis(self.reactor)
        self.redis.start()
        self.nodes = [Node(self.reactor, rate, kind) for _ in range(count)]
        self.reactor.advance(1)

    def run(self, steps: list[Step]) -> list[float]:
        """Send requests: pauses and nodes; return when each passed."""
        passed = []
        for pause, node in steps:
            self.reactor.advance(pause)
            if self.nodes[node % len(self.nodes)].ask():
                passed.append(self.reactor.seconds())
        return passed

    def close(self) -> None:
        for node in self.nodes:
            node.store.stopService()


STEPS = st.lists(
    st.tuples(st.sampled_from((0.0, 0.0, 0.01, 0.05, 0.3, 2.0)), st.integers(0, 2)),
    max_size=120,
)


@settings(max_examples=40)
@given(STEPS, st.integers(1, 3), st.integers(1, 6))
def test_buckets_of_all_nodes_pass_no_more_than_the_law_says(
    steps: list[Step], count: int, burst: int
) -> None:
    rate = Rate(5, 1, burst)
    world = World(count, rate, "bucket")
    passed = world.run(steps)
    world.close()
    for first, begin in enumerate(passed):
        for last in range(first, len(passed)):
            seconds = passed[last] - begin
            most = rate.amount / rate.seconds * (seconds + count * KNOWN) + count * burst
            assert last - first + 1 <= most + 1e-6


@settings(max_examples=30)
@given(STEPS, st.integers(1, 3), st.integers(1, 6))
def test_windows_of_all_nodes_pass_at_most_a_burst_for_each_node(
    steps: list[Step], count: int, burst: int
) -> None:
    rate = Rate(burst, 4, burst)
    world = World(count, rate, "window")
    passed = world.run(steps)
    world.close()
    for first, begin in enumerate(passed):
        within = sum(begin <= one < begin + rate.seconds - KNOWN for one in passed[first:])
        assert within <= count * burst


@settings(max_examples=30)
@given(STEPS, st.integers(1, 6))
def test_a_request_is_refused_only_if_the_nodes_have_used_the_rate(
    steps: list[Step], burst: int
) -> None:
    """What one bucket would let pass KNOWN seconds of the rate ahead is not refused."""
    rate = Rate(5, 1, burst)
    world = World(2, rate, "bucket")
    debt, since = 0.0, world.reactor.seconds()  # of one bucket that sees everything
    for pause, number in steps:
        world.reactor.advance(pause)
        now = world.reactor.seconds()
        debt, since = max(0.0, debt - 5 * (now - since)), now
        if world.nodes[number % 2].ask():
            debt += 1
        else:
            assert debt + 1 > burst - 5 * KNOWN - 1e-6
    world.close()


@settings(max_examples=25)
@given(STEPS, st.lists(st.integers(0, 119), max_size=4), st.booleans())
def test_outages_cost_at_most_one_rate_for_each_node(
    steps: list[Step], switches: list[int], loses: bool
) -> None:
    rate = Rate(5, 1, 4)
    world = World(2, rate, "bucket")
    passed, up = [], True
    for number, step in enumerate(steps):
        if number in switches:
            if up:
                world.redis.stop()
                if loses:
                    world.redis.lose()
            else:
                world.redis.start()
            up = not up
        passed += world.run([step])
    world.close()
    for first, begin in enumerate(passed):
        for last in range(first, len(passed)):
            seconds = passed[last] - begin
            assert last - first + 1 <= 2 * (5 * seconds + 4) + 1e-6


def test_a_key_that_many_use_at_once_is_exact_over_time() -> None:
    """Over a long time, three nodes pass what one would, and one burst each."""
    rate = Rate(10, 1, 5)
    world = World(3, rate, "bucket")
    passed = len(world.run([(0.01, number) for number in range(3000)]))
    world.close()
    assert 300 <= passed <= 10 * (30 + 3 * KNOWN) + 3 * 5


def test_keys_beyond_the_bound_are_counted_and_dropped() -> None:
    counts = NodeCounts(most=3)
    cells = Cells(memoryview(bytearray(Cells.size(10))))
    table = Buckets(cells, "l", Rate(1, 1, 1))
    counter = NodeCounter("l", "bucket", table, 1.0)
    for number in range(5):
        counts.note(counter, str(number), table.ident(str(number)), 1.0)
    counts.note(counter, "0", table.ident("0"), 1.0)
    assert (len(counts), counts.dropped) == (3, 2)
    assert [one.amount for one in counts.take("bucket")] == [2.0, 1.0, 1.0]


# -- the log


class Register:
    """A node that keeps the last value of each topic.  ``skew``: seconds its clock is ahead."""

    clock = 0.0

    def __init__(self, name: str, skew: float = 0.0) -> None:
        self.values: dict[str, Any] = {}
        self.log = SharedLog(name, self.values.__setitem__, lambda: Register.clock + skew)
        self.read = 0
        self.left: Iterator[str] = iter(())

    def publish(self, topic: str, value: int) -> None:
        self.values[topic] = value
        self.log.publish(topic, value)

    def send(self, stream: list[str], most: int = 2) -> None:
        """Send some of what waits."""
        for entry in self.log.unsent()[:most]:
            entry.sent = True
            stream.append(entry.text)
        stream.extend(islice(self.left, most))

    def take(self, stream: list[str]) -> None:
        """Read all there is."""
        for text in stream[self.read :]:
            self.log.take_in(text)
        self.read = len(stream)
        for _ in self.log.settle():
            pass

    def lost(self) -> None:
        """See that the stream was lost."""
        self.read = 0
        self.left = self.log.everything((name, self.values[name]) for name in list(self.values))
        self.log.send_again()


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), st.integers(0, 2), st.sampled_from("ab")),
        st.tuples(st.sampled_from(("send", "take")), st.integers(0, 2), st.just("")),
        st.tuples(st.just("lose"), st.just(0), st.just("")),
    ),
    max_size=60,
)


@given(ACTIONS, st.tuples(*[st.sampled_from((0.0, 0.5, 100.0))] * 3))
def test_all_nodes_end_alike_whatever_the_order(
    actions: list[tuple[str, int, str]], skews: tuple[float, ...]
) -> None:
    Register.clock = 1000.0
    nodes = [Register(f"n{number}", skew) for number, skew in enumerate(skews)]
    stream: list[str] = []
    spoken: set[str] = set()
    for value, (what, number, topic) in enumerate(actions):
        Register.clock += 0.3
        if what == "publish":
            nodes[number].publish(topic, value)
            spoken.add(topic)
        elif what == "lose":
            stream.clear()
            for one in nodes:
                one.lost()
        else:
            getattr(nodes[number], what)(stream)
    for one in nodes:
        one.send(stream, 1000)
    for one in nodes:
        one.take(stream)
    assert nodes[0].values == nodes[1].values == nodes[2].values
    assert set(nodes[0].values) == spoken
    assert all(len(one.log) == 0 for one in nodes)


@pytest.mark.parametrize("first", [0, 1])
def test_a_change_during_an_outage_holds_when_the_store_comes_back_empty(first: int) -> None:
    """Whichever node comes back first."""
    Register.clock = 1000.0
    nodes = [Register("n0"), Register("n1")]
    stream: list[str] = []
    nodes[0].publish("a", 1)
    for one in nodes:
        one.send(stream)
        one.take(stream)
    stream.clear()
    nodes[1].publish("a", 2)
    for number in (first, 1 - first):
        nodes[number].lost()
        nodes[number].send(stream)
        nodes[number].take(stream)
    for one in nodes:
        one.send(stream)
        one.take(stream)
    assert nodes[0].values == nodes[1].values == {"a": 2}


def test_too_many_own_messages_are_dropped_and_said_so() -> None:
    node = Register("n")
    for number in range(MOST_OWN + 2):
        node.publish("a", number)
    assert node.log.overflowed
    assert len(node.log) == 2
