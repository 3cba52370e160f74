"""A cache that two nodes share through Redis, on the virtual clock."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail

from lbproxy.cache.purge import Purge, PurgeKind
from lbproxy.net.redis import RedisRefused
from lbproxy.proxy.features.caching.nodes.scripts import KEPT, PUT
from lbproxy.proxy.features.caching.nodes.tier import (
    LARGEST,
    LEASE,
    MOST_PARTS,
    MOST_PENDING,
    MOST_VARIANTS,
    REST,
)
from lbproxy.testing import LB, MemoryReactor, Response, rediscache
from lbproxy.testing.origin import Answer, Request
from lbproxy.testing.redis import FakeRedis

CONFIG = """
[lbproxy]
secret = {secret}
[shared]
redis = redis://10.0.0.1/0
[cache main]
redis = yes
{cache}
[frontend web]
listen = tcp:{port}
cache = main
backend = app
[backend app]
servers = a 10.0.0.11:8000
"""
MINUTE = {"Cache-Control": "max-age=60"}
ONE, TWO = 0, 1


class World:
    """Nodes, their Redis, and one origin, whose body is ``body`` and comes ``after`` seconds."""

    def __init__(self, cache: str = "", secrets: tuple[str, ...] = ("s" * 32, "s" * 32)) -> None:
        self.reactor = MemoryReactor()
        self.redis = FakeRedis(self.reactor)
        self.redis.start()
        self.body = b"one"
        self.after = 0.0
        self.status = 200
        self.head: dict[str, str] = dict(MINUTE)
        self.nodes: list[LB] = []
        for number, secret in enumerate(secrets):
            text = CONFIG.format(port=8001 + number, cache=cache, secret=secret)
            self.nodes.append(LB.from_config(text, reactor=self.reactor))
        self.origin = self.nodes[0].origin("a", "10.0.0.11:8000", self.handle)
        self.reactor.advance(1)

    def handle(self, request: Request) -> Answer:
        if self.status >= 500:
            return Answer(self.status, after=self.after)
        if request.header("If-None-Match") and request.header("If-None-Match") == self.head["ETag"]:
            return Answer(304, b"", self.head)
        if request.method == "POST":
            return Answer(204)
        return Answer(200, self.body, self.head, after=self.after)

    @property
    def fetches(self) -> int:
        return len(self.origin.requests)

    def ask(self, node: int, path: str = "/a", method: str = "GET", **headers: str) -> Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        url = f"http://a.test:{8001 + node}{path}"
        fields = {"Host": "h:8000", **named}
        return self.nodes[node].request(method, url, headers=fields, within=5.0)

    def cache(self, node: int) -> Any:
        return self.nodes[node].service.caches["main"]

    def purge(self, node: int, kind: PurgeKind, value: bytes = b"", soft: bool = False) -> Any:
        """Purge, and wait until it returns: the number, or the error."""
        asked: Deferred[int] = self.cache(node).purge(Purge(kind, value), soft)
        found: list[Any] = []
        asked.addBoth(found.append)
        self.reactor.advance_until(lambda: found, 2.0)
        return getattr(found[0], "value", found[0])

    def close(self) -> None:
        for one in self.nodes:
            one.service.stopService()
        self.reactor.advance(30)


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.close()


def test_what_one_node_has_stored_serves_the_other(world: World) -> None:
    assert world.ask(ONE).body == b"one"
    found = world.ask(TWO)
    assert found.body == b"one" and world.fetches == 1
    assert "hit" in found.header("Cache-Status")
    asked = len(world.redis.seen)
    assert world.ask(TWO).body == b"one"
    assert len(world.redis.seen) == asked, "the second hit comes from memory"


def test_a_part_that_one_node_has_stored_serves_the_other(world: World) -> None:
    whole = bytes(range(100))

    def handle(request: Request) -> Answer:
        first, _, last = request.header("Range").removeprefix("bytes=").partition("-")
        part = {"Content-Range": f"bytes {first}-{last}/100"}
        return Answer(206, whole[int(first) : int(last) + 1], {**MINUTE, "ETag": '"1"', **part})

    world.origin.handler = handle
    world.ask(ONE, Range="bytes=0-49")
    found = world.ask(TWO, Range="bytes=10-19")
    assert (found.status, found.body, world.fetches) == (206, whole[10:20], 1)
    world.ask(TWO, Range="bytes=50-99")
    found = world.ask(TWO)
    assert (found.status, found.body, world.fetches) == (200, whole, 2)


PURGES: tuple[tuple[PurgeKind, bytes], ...] = (
    ("url", b"http://h:8000/a"),
    ("prefix", b"http://h:8000/"),
    ("host", b"h:8000"),
    ("tag", b"product-7"),
    ("all", b""),
)


@pytest.mark.parametrize(("kind", "value"), PURGES)
def test_a_purge_is_true_at_all_nodes_when_it_returns(
    world: World, kind: PurgeKind, value: bytes
) -> None:
    world.head["Cache-Tag"] = "product-7, other"
    for node in (ONE, TWO):
        world.ask(node)
    world.body = b"two"
    world.purge(ONE, kind, value)
    assert world.ask(TWO).body == b"two"
    assert world.ask(ONE).body == b"two"
    assert world.fetches == 2, "the second node has it from the first"


def test_a_purge_names_nothing_else(world: World) -> None:
    world.head["Cache-Tag"] = "other"
    for node in (ONE, TWO):
        world.ask(node)
    for kind, value in (
        ("url", b"http://h:8000/b"), ("prefix", b"http://h:8000/a/"), ("host", b"h"),
        ("tag", b"product-7"), ("group", b"http://h:8000 x"),
    ):  # fmt: skip
        world.purge(ONE, kind, value)  # type: ignore[arg-type]
    world.ask(ONE)
    world.ask(TWO)
    assert world.fetches == 1


def test_a_soft_purge_makes_responses_stale_at_all_nodes(world: World) -> None:
    world.head["ETag"] = '"1"'
    world.ask(ONE)
    world.purge(ONE, "all", soft=True)
    found = world.ask(TWO)
    assert found.body == b"one" and world.fetches == 2
    assert world.origin.requests[1].header("If-None-Match") == '"1"'


def test_a_node_that_is_cut_off_does_not_use_its_memory(world: World) -> None:
    world.ask(TWO)
    client = world.cache(TWO).nodes.tier._client
    client.stop()  # the other node still reaches Redis
    world.body = b"two"
    world.purge(ONE, "all")
    assert world.ask(TWO).body == b"two"
    assert not world.cache(TWO).nodes.tier.valid


def test_a_node_that_is_cut_off_joins_no_fetch_of_before_a_purge(world: World) -> None:
    """Neither one that began while it reached Redis, nor one that began later."""
    world.cache(TWO).nodes.tier._client.stop()
    url, fields = "http://a.test:8002/a", {"Host": "h:8000"}
    for pause in (0.0, 2.0):
        world.reactor.advance(pause)
        world.after, world.body = 5.0, b"old"
        before = world.nodes[TWO].begin("GET", url, headers=fields)
        world.reactor.advance(0.2)
        joined = world.nodes[TWO].begin("GET", url, headers=fields)
        world.body = b"new"
        world.purge(ONE, "url", b"http://h:8000/a")
        fetches = world.fetches
        behind = [world.nodes[TWO].begin("GET", url, headers=fields) for _ in range(3)]
        assert {one.wait(9).body for one in behind} == {b"new"}
        assert world.fetches == fetches + 1, "one fetch for all who ask within a second"
        assert before.wait(1).body == joined.wait(1).body == b"old"


def test_a_node_that_is_cut_off_joins_no_validation_of_what_was_purged() -> None:
    """It would answer with the stored response if the server fails."""
    world = World("grace = 1h")
    world.head = {"Cache-Control": "max-age=1", "ETag": '"1"'}
    world.ask(TWO)
    world.reactor.advance(2)
    world.cache(TWO).nodes.tier._client.stop()
    purged: list[Any] = []
    world.cache(ONE).purge(Purge("all")).addBoth(purged.append)
    url, fields = "http://a.test:8002/a", {"Host": "h:8000"}
    world.reactor.advance(0.85)
    world.after, world.status = 3.0, 500
    before = world.nodes[TWO].begin("GET", url, headers=fields)
    world.reactor.advance(0.25)
    assert purged == [0]
    world.after, world.status, world.body = 0.0, 200, b"new"
    assert world.nodes[TWO].begin("GET", url, headers=fields).wait(9).body == b"new"
    assert before.wait(9).body == b"one"
    world.close()


def test_a_purge_of_another_version_empties_memory_and_the_cache_goes_on(world: World) -> None:
    world.ask(TWO)
    log = next(key for key in world.redis.data if key.endswith(b":log"))
    state = world.redis.data[log.removesuffix(b"log") + b"state"].value
    world.redis.data[log].value[b"P\xff\x00x"] = state["seq"] = 1
    state["count"] += 1
    world.reactor.advance(LEASE)
    tier = world.cache(TWO).nodes.tier
    assert tier.valid and tier.failures == 1
    assert world.cache(TWO).memory.bytes == 0
    world.purge(ONE, "all")
    fetches = world.fetches
    world.ask(TWO)
    world.ask(TWO)
    assert world.fetches == fetches + 1


def test_a_strange_reply_does_not_end_the_following_of_purges(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    tier = world.cache(ONE).nodes.tier
    with monkeypatch.context() as patch:
        patch.setattr(FakeRedis, "_run_cache_sync", lambda *_: 7)
        world.reactor.advance(2 * LEASE)
        assert not tier.valid and tier.failures
    world.reactor.advance(LEASE)
    assert tier.valid


def test_a_purge_counts_though_another_one_is_being_recorded_late(world: World) -> None:
    """More purges fail than are remembered while one of them is on its way."""
    tier = world.cache(ONE).nodes.tier
    world.ask(TWO)
    tier._remember(Purge("url", b"http://h:8000/0"), False)
    world.redis.hung = True
    world.reactor.advance(0.15)
    for number in range(MOST_PENDING + 1):
        tier._remember(Purge("url", b"http://h:8000/%d" % number), False)
    world.redis.hung = False
    for link in world.redis._links:
        link.dataReceived(b"")
    world.body = b"two"
    world.reactor.advance(2 * LEASE)
    assert world.ask(TWO).body == b"two"


def test_an_invalidating_post_reaches_the_other_node(world: World) -> None:
    for node in (ONE, TWO):
        world.ask(node)
    world.ask(ONE, method="POST")
    world.reactor.advance(LEASE)
    world.body = b"two"
    assert world.ask(TWO).body == b"two"


def test_a_fetch_that_began_before_a_purge_elsewhere_is_not_stored(world: World) -> None:
    world.after, world.body = 1.0, b"old"
    pending = world.nodes[TWO].begin("GET", "http://a.test:8002/a", headers={"Host": "h:8000"})
    world.reactor.advance(0.2)
    world.purge(ONE, "url", b"http://h:8000/a")
    assert pending.wait(1).body == b"old"
    world.after, world.body = 0.0, b"one"
    for node in (TWO, ONE):
        assert world.ask(node).body == b"one"


def test_a_node_with_an_old_response_does_not_remove_a_later_one_of_another_node() -> None:
    world = World("client_no_cache = obey")
    world.ask(ONE)
    world.ask(TWO)
    [old] = world.cache(TWO).store.by_url(b"http://h:8000/a")
    world.reactor.advance(1)
    world.body = b"two"
    assert world.ask(ONE, Cache_Control="no-cache").body == b"two"
    world.cache(TWO).store.remove(old)
    world.reactor.advance(1)
    assert world.ask(TWO).body == b"two" and world.fetches == 2
    [new] = world.cache(TWO).store.by_url(b"http://h:8000/a")
    world.cache(TWO).store.remove(new)
    world.reactor.advance(1)
    world.ask(TWO)
    assert world.fetches == 3, "the present one is removed"
    world.close()


def test_what_was_stored_by_a_node_that_had_not_heard_of_a_purge_is_purged(world: World) -> None:
    tier = world.cache(TWO).nodes.tier
    world.purge(ONE, "tag", b"product-7")
    tier._seen -= 1  # as if its question came a moment earlier
    world.head["Cache-Tag"] = "product-7"
    world.ask(TWO)
    assert world.ask(ONE).status == 200
    assert world.fetches == 2


def test_redis_that_goes_costs_hits_and_no_request(world: World) -> None:
    world.ask(ONE)
    world.redis.stop()
    before = world.reactor.seconds()
    assert world.ask(ONE).status == 200 and world.ask(TWO, "/b").status == 200
    assert world.reactor.seconds() == before, "nobody waits for it"
    world.reactor.advance(LEASE + 1)
    world.body = b"two"
    assert world.ask(ONE).body == b"two", "a purge may have been missed"
    error = world.purge(ONE, "all")
    assert isinstance(error, OSError) and "shared store" in str(error)
    world.redis.lose()
    world.redis.start()
    world.reactor.advance(10)
    assert world.ask(ONE).status == 200
    fetches = world.fetches
    assert world.ask(TWO).body == b"two" and world.fetches == fetches


def test_a_restart_of_redis_with_old_data_empties_the_cache(world: World) -> None:
    world.ask(ONE)
    world.redis.stop()
    world.redis.run_id = "other"  # with the data of a snapshot
    world.redis.start()
    world.reactor.advance(10)
    world.body = b"two"
    assert world.ask(TWO).body == b"two"
    assert world.ask(ONE).body == b"two"


def test_redis_forgets_the_purges_of_a_process_that_has_ended(world: World) -> None:
    """Also after a purge, which makes keys anew; those of the present process stay."""
    world.purge(ONE, "tag", b"product-7")
    old = {key for key in world.redis.data if b":main:a:" in key}
    world.redis.stop()
    world.redis.run_id = "b"
    world.redis.start()
    world.reactor.advance(10)
    assert len(old) == 6
    assert all(world.redis.data[key].until for key in world.redis.data)
    tier = world.cache(ONE).nodes.tier
    epoch = tier._epoch
    for _ in range(4):  # in leaps, as the nodes ask ten times a second
        for value in world.redis.data.values():
            value.until -= KEPT / 3
        world.reactor.advance(1)
    assert not any(world.redis._live(key) for key in old)
    assert tier.valid and tier._epoch == epoch


def test_evicted_purges_empty_the_cache(world: World) -> None:
    world.head["Cache-Tag"] = "product-7"
    world.ask(ONE)
    world.purge(TWO, "tag", b"product-7")
    names = next(key for key in world.redis.data if key.endswith(b":names"))
    del world.redis.data[names]
    world.body = b"two"
    world.reactor.advance(1)
    assert world.ask(ONE).body == b"two"
    assert world.ask(TWO).body == b"two"


def test_a_redis_that_hangs_delays_a_miss_by_the_deadline_once(world: World) -> None:
    world.redis.hung = True
    before = world.reactor.seconds()
    assert world.ask(ONE, "/a").status == 200
    assert world.reactor.seconds() - before == pytest.approx(0.02, abs=0.002)
    before = world.reactor.seconds()
    assert world.ask(ONE, "/b").status == 200
    assert world.reactor.seconds() == before
    assert world.cache(ONE).counters.shared_failures >= 1
    world.redis.hung = False
    world.redis.stop()
    world.redis.start()
    world.reactor.advance(REST + 10)
    world.ask(ONE, "/c")
    fetches = world.fetches
    world.ask(TWO, "/c")
    assert world.fetches == fetches


@pytest.mark.parametrize("how", ["cut", "flipped", "moved", "no line", "empty"])
def test_a_damaged_value_is_a_miss(world: World, how: str) -> None:
    world.ask(ONE, "/a")
    objects = [one for key, one in world.redis.data.items() if b":o:" in key]
    ((selected, value),) = objects[0].value.items()
    if how == "moved":
        world.ask(ONE, "/b")
        other = next(one for key, one in world.redis.data.items()
                     if b":o:" in key and one is not objects[0])  # fmt: skip
        other.value[selected] = value
        path = "/b"
    else:
        path = "/a"
        middle = len(value) - 40
        objects[0].value[selected] = {
            "cut": value[:-40],
            "flipped": value[:middle] + bytes([value[middle] ^ 1]) + value[middle + 1 :],
            "no line": b"nonsense",
            "empty": b"",
        }[how]
    fetches = world.fetches
    assert world.ask(TWO, path).body == b"one"
    assert world.fetches == fetches + 1


def test_a_value_of_a_node_with_another_secret_is_a_miss() -> None:
    world = World(secrets=("s" * 32, "t" * 32))
    world.ask(ONE)
    assert world.ask(TWO).status == 200 and world.fetches == 2
    assert world.cache(TWO).counters.shared_failures == 1
    world.close()


def test_a_reload_of_the_section_keeps_the_connection(world: World) -> None:
    asked: list[Any] = []
    world.ask(TWO)
    world.cache(ONE).purge(Purge("all")).addBoth(asked.append)
    text = CONFIG.format(port=8001, cache="grace = 1m", secret="s" * 32)
    assert world.nodes[ONE].service.reload(text).ok
    assert world.cache(ONE).nodes.tier.valid
    world.reactor.advance(2 * LEASE)
    assert asked == [0] and world.cache(ONE).nodes.tier._client.counts.connects == 1
    assert world.cache(TWO).memory.bytes == 0
    gone = world.cache(ONE).nodes.tier
    assert world.nodes[ONE].service.reload(text.replace("cache = main", "")).ok
    world.reactor.advance(0.1)
    assert gone._task is None and not gone._client.up


def test_a_reload_changes_the_secret_of_values(world: World) -> None:
    world.ask(ONE)
    for number, node in enumerate(world.nodes):
        text = CONFIG.format(port=8001 + number, cache="", secret="new" * 11)
        assert node.service.reload(text).ok
    world.ask(TWO)
    assert world.fetches == 2 and world.cache(TWO).counters.shared_failures == 1, "the old secret"
    world.purge(TWO, "all")
    world.ask(ONE)
    world.ask(TWO)
    assert world.fetches == 3


def test_bodies_are_binary_and_bounded(world: World) -> None:
    world.body = bytes(range(256)) * (LARGEST // 256)
    world.ask(ONE, "/a")
    assert world.ask(TWO, "/a").body == world.body and world.fetches == 1
    world.body += b"x"
    world.ask(ONE, "/b")
    assert world.ask(TWO, "/b").body == world.body and world.fetches == 3
    kept = [one.value for key, one in world.redis.data.items() if b":o:" in key]
    assert len([one for one in kept if one]) == 1


OBEY = "client_no_cache = obey"


def test_a_body_too_large_for_redis_leaves_nothing_of_the_one_it_replaces() -> None:
    world = World(OBEY)
    world.ask(ONE)
    world.body = bytes(LARGEST + 1)
    world.ask(ONE, Cache_Control="no-cache")
    world.body = b"three"
    assert world.ask(TWO).body == b"three"
    world.close()


def test_a_body_that_becomes_too_large_leaves_nothing_of_the_one_it_replaces() -> None:
    world = World(f"{OBEY}\nmax_object = 1k")
    world.ask(ONE)
    body = bytes(2000)
    raw = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n"
    world.origin.handler = Answer(raw=raw + b"7d0\r\n%s\r\n0\r\n\r\n" % body)
    cache: Any = world.cache(ONE)
    cache.memory.discard(next(iter(cache.memory)))
    assert world.ask(ONE, Cache_Control="no-cache").body == body
    world.origin.handler = world.handle
    world.body = b"three"
    assert world.ask(TWO).body == b"three"
    world.close()


def test_a_response_that_redis_refuses_leaves_nothing_of_the_one_it_replaces(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(OBEY)
    world.ask(ONE)
    world.body = b"two"
    cache: Any = world.cache(ONE)
    run = cache.nodes.tier._client.run
    monkeypatch.setattr(
        cache.nodes.tier._client,
        "run",
        lambda script, *more: fail(RedisRefused("OOM")) if script is PUT else run(script, *more),
    )
    assert world.ask(ONE, Cache_Control="no-cache").body == b"two"
    world.body = b"three"
    assert world.ask(TWO).body == b"three"
    world.close()


FORCED: list[dict[str, str]] = [{"Cache_Control": "no-cache"}, {"X_New": "1"}]
FORCING = f"{OBEY}\nrefresh = header X-New"


@pytest.mark.parametrize("forced", FORCED)
def test_a_request_that_only_a_server_may_answer_passes_redis(forced: dict[str, str]) -> None:
    world = World(FORCING)
    world.ask(ONE)
    world.body = b"two"
    assert world.ask(TWO, **forced).body == b"two"
    world.cache(ONE).memory.resize(0)
    assert (world.ask(ONE).body, world.fetches) == (b"two", 2)
    world.close()


@pytest.mark.parametrize("forced", FORCED)
def test_a_refusal_removes_what_only_redis_has(forced: dict[str, str]) -> None:
    world = World(FORCING)
    world.ask(ONE)
    world.body, world.head = b"two", {"Cache-Control": "no-store"}
    assert world.ask(TWO, **forced).body == b"two"
    world.body, world.head = b"three", MINUTE
    world.cache(ONE).memory.resize(0)
    assert world.ask(ONE).body == b"three"
    world.close()


def test_variants_are_apart_and_bounded(world: World) -> None:
    world.head["Vary"] = "Accept-Language"
    for number in range(20):
        world.body = b"%d" % number
        world.ask(ONE, Accept_Language=f"l{number}")
    (found,) = [one for key, one in world.redis.data.items() if b":o:" in key]
    assert len(found.value) == 8
    assert world.ask(TWO, Accept_Language="l19").body == b"19"
    assert world.fetches == 20


def test_parts_displace_no_whole_response(world: World) -> None:
    """And are bounded, too."""
    world.head["Vary"] = "X"
    for number in range(MOST_VARIANTS):
        world.ask(ONE, X=f"{number}")

    def handle(request: Request) -> Answer:
        first = int(request.header("Range").removeprefix("bytes=").partition("-")[0])
        part = {"Content-Range": f"bytes {first}-{first}/100", "ETag": '"1"'}
        return Answer(206, b"x", {**world.head, **part})

    world.origin.handler = handle
    for first in range(0, 40, 2):
        assert world.ask(ONE, Range=f"bytes={first}-{first}", X="part").status == 206
    (found,) = [one.value for key, one in world.redis.data.items() if b":o:" in key]
    assert sorted(map(len, found)) == [8] * MOST_VARIANTS + [9] * MOST_PARTS
    fetches = world.fetches
    for number in range(MOST_VARIANTS):
        assert world.ask(TWO, X=f"{number}").status == 200
    assert world.ask(TWO, Range="bytes=38-38", X="part").status == 206
    assert world.fetches == fetches


@pytest.mark.parametrize("same", [True, False])
def test_posts_to_other_urls_displace_no_purges(
    world: World, monkeypatch: pytest.MonkeyPatch, same: bool
) -> None:
    """Redis keeps a purge only if a stored response may have its names."""
    monkeypatch.setattr(rediscache, "NAMES", 10)
    world.ask(ONE, "/a")
    world.ask(ONE, "/b")
    for number in range(20):
        assert world.ask(ONE, "/p" if same else f"/p{number}", method="POST").status == 204
    fetches = world.fetches
    assert world.ask(TWO, "/a").status == 200
    assert world.fetches == fetches
    (names,) = [one.value for key, one in world.redis.data.items() if key.endswith(b":names")]
    assert len(names) == 0
    world.reactor.advance(0.2)
    for number in range(20):  # these are stored
        world.ask(ONE, f"/p{number}")
        world.ask(ONE, f"/p{number}", method="POST")
    assert len(names) == 10
    fetches = world.fetches
    assert world.ask(TWO, "/b").status == 200
    assert world.fetches == fetches + 1, "more purges than are kept"


def test_equal_purges_wait_for_redis_once(world: World) -> None:
    world.redis.stop()
    for number in range(MOST_PENDING + 10):
        world.cache(ONE).purge(Purge("url", b"http://h:8000/%d" % (number % 5))).addBoth(id)
    assert len(world.cache(ONE).nodes.tier._pending) == 5


def test_redis_forgets_a_response_after_its_lifetime_and_grace() -> None:
    world = World("grace = 100s")
    world.ask(ONE)
    (found,) = [one for key, one in world.redis.data.items() if b":o:" in key]
    assert found.until - world.redis.now() == pytest.approx(160, abs=2)
    world.close()


def test_a_stale_response_of_another_node_is_validated() -> None:
    world = World()
    world.head.update({"ETag": '"1"', "Cache-Control": "max-age=5"})
    world.ask(ONE)
    world.reactor.advance(10)
    assert world.ask(TWO).body == b"one"
    assert world.origin.requests[-1].header("If-None-Match") == '"1"'
    assert "hit" in world.ask(ONE).header("Cache-Status") or world.fetches == 2
    world.close()


def test_many_requests_ask_redis_once(world: World) -> None:
    world.ask(ONE)
    before = [words[0] for words in world.redis.seen].count(b"EVALSHA")
    url, fields = "http://a.test:8002/a", {"Host": "h:8000"}
    waiting = [world.nodes[TWO].begin("GET", url, headers=fields) for _ in range(10)]
    assert {one.wait(1).body for one in waiting} == {b"one"}
    after = [words[0] for words in world.redis.seen].count(b"EVALSHA")
    assert after - before <= 2 and world.fetches == 1


@pytest.mark.parametrize("status", [403, 503])
def test_an_error_answers_all_who_wait_at_a_node(world: World, status: int) -> None:
    world.origin.handler = Answer(status, b"no", after=0.5)
    fields = {"Host": "h:8000"}
    for turn in (1, 2):
        waiting = [
            world.nodes[node].begin("GET", f"http://a.test:{8001 + node}/a", headers=fields)
            for node in (ONE, TWO)
            for _ in range(10)
        ]
        assert [one.wait(3).status for one in waiting] == [status] * 20
        assert world.fetches == 2 * turn, "one of each node"
    assert not any(one.value for key, one in world.redis.data.items() if b":o:" in key)


def test_a_client_that_leaves_while_redis_is_asked(world: World) -> None:
    world.redis.hung = True
    pending = world.nodes[ONE].begin("GET", "http://a.test:8001/a", headers={"Host": "h:8000"})
    pending.client.close()
    world.reactor.advance(1)
    assert world.fetches == 0
    world.redis.hung = False


def test_a_reload_switches_it_off_and_on(world: World) -> None:
    world.ask(ONE)
    text = CONFIG.format(port=8001, cache="", secret="s" * 32)
    assert world.nodes[ONE].service.reload(text.replace("redis = yes", "")).ok
    assert world.cache(ONE).nodes is None
    assert world.ask(ONE).status == 200 and world.fetches == 2
    assert world.nodes[ONE].service.reload(text).ok
    world.reactor.advance(1)
    assert world.ask(ONE).status == 200 and world.fetches == 2


@pytest.mark.parametrize("seed", [*range(4), 114, 116])
def test_no_request_gets_what_was_purged_before_it(seed: int) -> None:
    """Random requests and purges at both nodes, while Redis comes and goes."""
    pick = Random(seed)
    world = World("grace = 60s\nredis_timeout = 200ms")
    latency = pick.choice([0.0, 0.01, 0.04])
    world.head["Cache-Tag"] = "product-7"
    floor = version = 0
    waiting: list[tuple[int, Any]] = []
    for _ in range(150):
        what = pick.random()
        if what < 0.5:
            world.after = pick.choice([0.0, 0.0, 0.3, 1.5])
            node = pick.choice([ONE, TWO])
            url = f"http://a.test:{8001 + node}/a"
            world.reactor.latency = 0.0  # for the connection of the client
            pending = world.nodes[node].begin("GET", url, headers={"Host": "h:8000"})
            world.reactor.latency = latency
            waiting.append((floor, pending))
        elif what < 0.75:
            world.reactor.advance(pick.choice([0.01, 0.1, 0.4, 2.0]))
        elif what < 0.9:
            version += 1
            world.body = b"%d" % version
            kind, value = pick.choice(PURGES)
            if not isinstance(world.purge(pick.choice([ONE, TWO]), kind, value), Exception):
                floor = version
        elif what < 0.95:
            world.redis.stop()
            if pick.random() < 0.5:
                world.redis.lose()
        else:
            world.redis.start()
        for least, pending in list(waiting):
            if pending.response is not None:
                waiting.remove((least, pending))
                assert pending.response.status == 200
                assert int(pending.response.body.replace(b"one", b"0")) >= least
    world.redis.start()
    for least, pending in waiting:
        assert int(pending.wait(10).body.replace(b"one", b"0")) >= least
    counters = world.cache(ONE).counters, world.cache(TWO).counters
    assert sum(one.hits for one in counters) > 0
    world.close()
