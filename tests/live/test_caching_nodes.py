"""A cache that nodes share through a real Redis, which is killed and comes back."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import quote

import pytest

from lbproxy.model import SharedSpec
from lbproxy.net.fast import choose_network
from lbproxy.net.redis import RedisClient
from lbproxy.proxy.features.caching.nodes.scripts import DROP, GET, PURGE, PUT, SYNC
from lbproxy.proxy.features.caching.nodes.scripts import NAMES as NAMES_KEPT
from lbproxy.testing import MemoryReactor
from lbproxy.testing.redis import FakeRedis
from tests.live.test_caching import Origin
from tests.support.databases import Redis
from tests.support.ports import free_ports
from tests.support.process import until
from tests.support.reactor import eventually, run
from tests.support.servers import program

pytestmark = [pytest.mark.live, pytest.mark.xdist_group("live-nodes")]

KEYS = [f"k:{name}" for name in ("state", "names", "prefixes", "log", "recent", "bits")]
NAMES = [bytes([letter]) * 16 for letter in b"abcd"]
CONFIG = """
[shared]
redis = redis://{redis}/0
timeout = 5s
[cache main]
redis = yes
redis_timeout = 200ms
[frontend web]
listen = tcp:{web}:interface=127.0.0.1
cache = main
backend = app
[backend app]
servers = a {origin}
"""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Redis]:
    """A Redis of this test, which it may stop."""
    made = Redis(program("redis-server"), tmp_path / "redis").start()
    yield made
    made.stop()


def _steps(random: Random) -> list[tuple[Any, list[Any], list[Any]]]:
    """Random calls of the scripts: script, keys, arguments."""
    steps: list[tuple[Any, list[Any], list[Any]]] = [(SYNC, KEYS, [b"", 0, b"first"])]
    known = 0
    for number in range(120):
        one = [*KEYS, f"k:o:{random.randrange(3)}"]
        what = random.random()
        mark = random.choice([b"0", b"1"])
        if what < 0.3:
            names = random.sample(NAMES, random.randrange(1, 3))
            line = b"%b %d %d.5 %d 3\n" % (
                random.choice([b"first", b"first", b"other"]), random.randint(0, known + 1),
                random.randrange(5), len(names),
            )  # fmt: skip
            value = line + b"".join(names) + random.choice([b"/ab", b"/ac"]) + b"\x00\n\xff"
            selected = random.choice([b"", b"p"]) + bytes([random.randrange(4)]) * 8
            steps.append(
                (PUT, one, [b"first", selected, value, f"{random.randrange(5)}.5", 4, 60_000, 3])
            )
        elif what < 0.4:
            selected = random.choice([b"", b"p"]) + bytes([random.randrange(4)]) * 8
            steps.append((DROP, one, [selected, f"{random.randrange(5)}.5", 4]))
        elif what < 0.75:
            steps.append((GET, one, []))
        elif what < 0.85:
            steps.append((SYNC, KEYS, [b"first", random.randint(0, known), b"later"]))
        else:
            known += 1
            everything = int(random.random() < 0.15)
            prefix = random.choice([b"", mark + b"/a", mark + b"/ab"])
            meant = [mark + random.choice(NAMES)]
            steps.append(
                (PURGE, KEYS, [b"later", b"p%d" % (number % 7), everything, prefix, *meant])
            )
    return steps


def _fake(steps: list[tuple[Any, list[Any], list[Any]]]) -> list[Any]:
    server = FakeRedis(MemoryReactor())

    def words(values: list[Any]) -> tuple[bytes, ...]:
        return tuple(one if isinstance(one, bytes) else str(one).encode() for one in values)

    calls = (getattr(server, f"_run_{script.name}") for script, _, _ in steps)
    return [
        call(words(keys), words(arguments))
        for call, (_, keys, arguments) in zip(calls, steps, strict=True)
    ]


def _sorted(script: Any, reply: Any) -> Any:
    """A reply of GET in the order of its selections: those of a hash have none."""
    if script is not GET:
        return reply
    return sorted(zip(reply[::3], reply[1::3], reply[2::3], strict=True))


def test_the_scripts_do_what_the_fake_does(store: Redis) -> None:
    async def scenario(reactor: Any) -> None:
        spec = SharedSpec(redis=f"redis://{store.address}/0", timeout=5.0)
        network = choose_network("auto", reactor)
        client = RedisClient(spec, reactor, network.dialler, Random(0))
        client.start()
        try:
            await eventually(reactor, lambda: client.up)
            for seed in range(8):
                await client.call("FLUSHALL")
                steps = _steps(Random(seed))
                for (script, keys, arguments), wanted in zip(steps, _fake(steps), strict=True):
                    found = await client.run(script, keys, arguments)
                    assert _sorted(script, found) == _sorted(script, wanted), (seed, script.name)
        finally:
            client.stop()

    run(scenario, strict=False)


def test_purges_of_names_that_nothing_stored_has_end_nothing(store: Redis) -> None:
    async def scenario(reactor: Any) -> None:
        spec = SharedSpec(redis=f"redis://{store.address}/0", timeout=5.0)
        client = RedisClient(spec, reactor, choose_network("auto", reactor).dialler, Random(0))
        client.start()
        try:
            await eventually(reactor, lambda: client.up)
            await client.run(SYNC, KEYS, (b"", 0, b"first"))
            one = [*KEYS, "k:o:1"]
            value = b"first %d 1.5 1 3\n" + NAMES[0] + b"/abrecord"
            put = (b"first", bytes(8), value % 0, "1.5", 4, 60_000, 8)
            assert await client.run(PUT, one, put) == 1
            for number in range(NAMES_KEPT // 1000 + 2):
                names = [b"0%016d" % (1000 * number + at) for at in range(1000)]
                await client.run(PURGE, KEYS, (b"w", b"log", 0, b"", *names))
            assert await client.run(GET, one, ()) == [bytes(8), 0, b"record"]
            assert await client.run(PUT, one, put) == 0, "its node may have missed its purge"
            seq = (await client.run(SYNC, KEYS, (b"first", 0, b"w")))[1]
            late = (*put[:2], value % seq, *put[3:])
            assert await client.run(PUT, one, late) == 1
            await client.run(PURGE, KEYS, (b"w", b"log", 0, b"", b"0" + NAMES[0]))
            assert await client.run(GET, one, ()) == []
            assert await client.run(PUT, one, late) == 0
        finally:
            client.stop()

    run(scenario, strict=False)


def _ask(port: int, path: str, method: str = "GET", host: str = "h") -> tuple[int, bytes, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, headers={"Host": host, "Content-Type": "application/json"})
        response = connection.getresponse()
        status = response.getheader("Cache-Status") or ""
        return response.status, response.read(), status
    finally:
        connection.close()


def _purge(admin: int, url: str) -> int:
    path = f"/api/v1/caches/main/purge?url={quote(url, safe='')}"
    return _ask(admin, path, "POST", "localhost")[0]


def _urls(admin: int) -> list[str]:
    """The URLs of what the workers of a node have in memory."""
    status, body, _ = _ask(admin, "/api/v1/caches/main/entries", host="localhost")
    assert status == 200, body
    return [one["url"] for one in json.loads(body)["items"]]


@pytest.mark.long
def test_two_nodes_with_two_workers_each(store: Redis, balancer: Callable[..., Any]) -> None:
    origin = Origin(b"0", age=600)
    ports, admins = free_ports(2), free_ports(2)
    for web, admin in zip(ports, admins, strict=True):
        text = CONFIG.format(redis=store.address, web=web, origin=origin.server.address)
        balancer(text, settings=f"workers = 2\nadmin = tcp:{admin}:interface=127.0.0.1")

    def shared() -> bool:
        """Whether all workers of both nodes have what one of them stores."""
        name = f"/warm-{origin.count}"
        _ask(ports[0], name)
        before = origin.count
        return all(_ask(port, name)[1] for port in ports * 5) and origin.count == before

    assert until(shared)
    for number in range(20):
        origin.body = b"%d" % number
        assert _purge(admins[number % 2], "http://h/a") == 200
        bodies = {_ask(ports[turn % 2], "/a")[1] for turn in range(12)}
        assert bodies == {origin.body}
    for admin in admins:
        assert until(lambda admin=admin: "http://h/a" in _urls(admin))
    store.stop()
    for turn in range(20):
        assert _ask(ports[turn % 2], f"/b{turn}")[0] == 200
    assert until(lambda: _purge(admins[0], "http://h/a") == 500)
    origin.body = b"while it is away"
    assert until(lambda: _ask(ports[0], "/a")[1] == origin.body)
    assert until(lambda: _ask(ports[1], "/a")[1] == origin.body)
    store.start()
    assert until(shared)
    origin.body = b"back"
    assert until(lambda: _purge(admins[1], "http://h/a") == 200)
    assert {_ask(ports[turn % 2], "/a")[1] for turn in range(12)} == {b"back"}

    def hits() -> int:
        """Look-ups in Redis of the second node that found something."""
        text = _ask(admins[1], "/api/v1/caches", host="localhost")[1]
        return int(json.loads(text)["items"][0]["shared_hits"])

    assert until(lambda: hits() > 0)
