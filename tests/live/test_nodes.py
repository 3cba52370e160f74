"""Nodes that share state through a real Redis, which ends and comes back."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from lbproxy.limits.bucket import Buckets
from lbproxy.limits.cells import Cells
from lbproxy.limits.nodes import NodeCounter
from lbproxy.limits.rate import Rate
from lbproxy.limits.window import PARTS, SLICES, WindowCounts
from lbproxy.model import SharedSpec
from lbproxy.net.fast import choose_network
from lbproxy.net.redis import RedisRefused, RedisScript
from lbproxy.nodes.scripts import BUCKETS, PLACES, TAKE, WINDOWS
from lbproxy.nodes.store import SharedStore
from lbproxy.sharing.local import LocalReplicated
from tests.support.databases import Redis
from tests.support.lb_process import LBProcess
from tests.support.ports import free_ports
from tests.support.process import until
from tests.support.reactor import eventually, run
from tests.support.servers import lb_process, program

__all__ = ["lb_process"]

pytestmark = [pytest.mark.live, pytest.mark.xdist_group("live-nodes")]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Redis]:
    """A Redis of this test, which it may stop."""
    made = Redis(program("redis-server"), tmp_path / "redis").start()
    yield made
    made.stop()


class Node:
    """What one process does with the store."""

    def __init__(self, reactor: Any, redis: Redis) -> None:
        network = choose_network("auto", reactor)
        spec = SharedSpec(redis=f"redis://{redis.address}/0", timeout=2.0)
        self.now = network.wheel.now
        self.replicated = LocalReplicated(self.now)
        self.store = SharedStore(spec, reactor, network.dialler, Random(0), self.replicated)
        memory = bytearray(Cells.size(100))
        self.bucket = Buckets(Cells(memoryview(memory)), "b", Rate(10, 100, 10))
        more = bytearray(Cells.size(100, SLICES))
        self.window = WindowCounts(Cells(memoryview(more), SLICES), "w", 60.0)
        self.heard: list[Any] = []
        self.replicated.subscribe("bans:x", self.heard.append, lambda: iter(()), kept=True)
        self.store.startService()
        self._counters = [
            NodeCounter("b", "bucket", self.bucket, 10.0),
            NodeCounter("w", "window", self.window, 60.0 / PARTS),
        ]

    def use(self, amount: float) -> None:
        """Use ``amount`` of both, as traffic does."""
        charges = (self.bucket.charge, self.window.add)
        for counter, charge in zip(self._counters, charges, strict=True):
            ident = counter.table.ident("k")
            if amount:
                charge(ident, amount, self.now())
            self.store.counts.note(counter, "k", ident, amount)

    def known(self) -> tuple[int, int]:
        """Return what is used of both, of all nodes as far as is known."""
        bucket, window = self.bucket, self.window
        left = bucket.left(bucket.ident("k"), self.now())
        return round(10 - left), round(window.count(window.ident("k"), self.now()))


def test_counts_and_messages_reach_the_other_node_and_survive_an_outage(store: Redis) -> None:
    async def scenario(reactor: Any) -> None:
        one, two = Node(reactor, store), Node(reactor, store)
        try:
            await eventually(reactor, lambda: one.store.up and two.store.up)
            one.use(4)
            two.use(3)
            one.replicated.publish("bans:x", {"n": 1})

            def together() -> bool:
                one.use(0)
                two.use(0)
                return one.known() == two.known() == (7, 7) and two.heard == [{"n": 1}]

            await eventually(reactor, together)
            store.stop()
            await eventually(reactor, lambda: not one.store.up and not two.store.up)
            two.replicated.publish("bans:x", {"n": 2})
            store.start()
            await eventually(reactor, lambda: one.heard[-1] == {"n": 2})
            assert await one.replicated.lease("job", 5.0)
            assert not await two.replicated.lease("job", 5.0)
            await one.replicated.release("job")
            assert await two.replicated.lease("job", 5.0)
            assert await one.replicated.take("t", 1, Rate(1, 10, 1)) == 0.0
            assert 9 < await two.replicated.take("t", 1, Rate(1, 10, 1)) <= 10
            await one.replicated.put("v", {"a": [1]}, 5.0)
            assert await two.replicated.get("v") == {"a": [1]}
        finally:
            one.store.stopService()
            two.store.stopService()

    run(scenario, strict=False)


def test_keys_with_strange_values_fail_alone(store: Redis) -> None:
    """And absurd rates are no errors: Redis accepts the times."""

    async def scenario(reactor: Any) -> None:
        node = Node(reactor, store)
        client = node.store.client

        async def ask(script: RedisScript, words: list[str], *head: str) -> Any:
            return await client.run(script, ["string", "list", "hash", "new"], [*head, *words])

        try:
            await eventually(reactor, lambda: node.store.up)
            await client.call("SET", "string", "inf")
            await client.call("RPUSH", "list", "1")
            await client.call("HSET", "hash", "a", "b")
            assert await ask(BUCKETS, ["1"] * 4) == [-1, -1, -1, 1_000_000]
            await client.call("DEL", "new")
            assert await ask(PLACES, ["2"] * 4, "m", "p", "5") == [-1, -1, -1, 0]
            await client.call("DEL", "new")
            found = await ask(WINDOWS, ["60", "1", "0"] * 4)
            assert found == [-1, -1, -1, [0, b"1"]]
            assert await client.call("GET", "string") == b"inf", "it belongs to somebody else"
            await client.call("DEL", "new")
            (far,) = await client.run(BUCKETS, ["new"], ["1e20"])
            assert far == pytest.approx(1e18)
            (again,) = await client.run(BUCKETS, ["new"], ["1e20"])
            assert again == pytest.approx(1e18)
            await client.run(WINDOWS, ["far"], ["1e17", "1", "0"])
            assert await client.run(TAKE, ["take"], ["1e300", "1", "1"]) == 0
            assert await client.run(TAKE, ["take"], ["1e300", "1", "1"]) > 0
            await client.call("CONFIG", "SET", "maxmemory", "1")
            with pytest.raises(RedisRefused, match="OOM"):
                await client.run(BUCKETS, ["new"], ["1"])
        finally:
            node.store.stopService()

    run(scenario, strict=False)


def test_places_in_a_real_store(store: Redis) -> None:
    async def scenario(reactor: Any) -> None:
        node = Node(reactor, store)
        client = node.store.client

        async def hold(process: str, own: int, lease: float = 60) -> Any:
            node_name, _, name = process.partition("/")
            words = [node_name, name, repr(lease), str(own)]
            return (await client.run(PLACES, ["k"], words))[0]

        try:
            await eventually(reactor, lambda: node.store.up)
            assert await hold("m/1", 2) == 0
            assert await hold("m/2", 3) == 0
            assert await hold("n/1", 1) == 5
            assert await hold("m/1", 1) == 1
            assert await hold("n/1", 0) == 4
            assert await hold("m/2", 3, lease=-1) == 0, "a lease that has ended"
            assert await hold("n/1", 0) == 0, "a node whose leases have ended has left nothing"
            assert await client.call("EXISTS", "k") == 0
        finally:
            node.store.stopService()

    run(scenario, strict=False)


CONFIG = """
    [lbproxy]
    workers = 2
    admin = tcp:{admin}:interface=127.0.0.1

    [shared]
    redis = redis://{redis}/0

    [limit few]
    rate = 20/1000s

    [ban rude]
    action = reject

    [frontend web]
    listen = tcp:{port}
    bans = rude
    limits = few if path /few
    routes = default -> reply 200 ok
"""


def _ask(port: int, path: str, body: Any = None) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        if body is None:
            connection.request("GET", path)
        else:
            headers = {"Content-Type": "application/json"}
            connection.request("POST", path, json.dumps(body), headers)
        response = connection.getresponse()
        text = response.read()
        return response.status, json.loads(text) if text[:1] in (b"{", b"[") else text
    finally:
        connection.close()


@pytest.mark.long
def test_two_nodes_with_two_workers_each(
    store: Redis,
    lb_process: Callable[..., LBProcess],
) -> None:
    ports, admins = free_ports(2), free_ports(2)
    for port, admin in zip(ports, admins, strict=True):
        lb_process(CONFIG.format(port=port, admin=admin, redis=store.address))
    assert until(lambda: all(_ask(one, "/api/v1/shared")[1].get("up") for one in admins))
    time.sleep(1)  # the workers connect by themselves

    passed = 0
    for number in range(60):
        passed += _ask(ports[number % 2], "/few")[0] == 200
        time.sleep(0.02)
    assert 20 <= passed <= 36, "each of four tables alone would let 40 pass"

    _ask(admins[0], "/api/v1/bans/add", {"address": "127.0.0.1", "seconds": 600})
    assert until(lambda: _ask(ports[1], "/")[0] == 403)
    store.stop()
    assert until(lambda: not _ask(admins[1], "/api/v1/shared")[1]["up"])
    _ask(admins[1], "/api/v1/bans/remove", {"address": "127.0.0.1"})
    assert until(lambda: _ask(ports[1], "/")[0] == 200)
    assert _ask(ports[0], "/")[0] == 403
    store.start()
    assert until(lambda: _ask(ports[0], "/")[0] == 200)
