"""Sticky tables of several processes: what one learns, all know."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest

from lbproxy.process import replication
from lbproxy.registry import parse_config
from lbproxy.testing import LB

TEXT = """
[frontend web]
listen = tcp:8080
backend = app
[backend app]
sticky = header X-User size=50 expire=80s
servers =
    a 10.0.0.1:80
    b 10.0.0.2:80
    c 10.0.0.3:80
"""


class Published:
    """Replicated for one worker: what it publishes is kept until :meth:`World.spread`."""

    alone = False
    ready = True

    def __init__(self) -> None:
        self.messages: list[Any] = []

    def publish(self, topic: str, message: Any) -> None:
        assert topic == replication.TOPIC
        self.messages.append(message)

    def subscribe(self, topic: str, receive: Any, whole: Any = None, *, kept: bool = False) -> Any:
        return lambda: None


class World:
    """Two workers and a master, which carries nothing itself."""

    def __init__(self) -> None:
        self.master, *self.workers = self.all = [LB.from_config(TEXT) for _ in range(3)]
        self.published = [Published() for _ in self.workers]
        self.tables_of = [
            replication.StickyReplication(published, lambda lb=lb: lb.service.backends)
            for lb, published in zip(self.workers, self.published, strict=True)
        ]
        for lb, replicating in zip(self.workers, self.tables_of, strict=True):
            for number, name in enumerate("abc", 1):
                lb.origin(name, f"10.0.0.{number}:80")
            replicating.attach()

    def taken(self, worker: int) -> list[Any]:
        """What this worker publishes now."""
        self.published[worker].messages.clear()
        self.tables_of[worker].publish()
        return list(self.published[worker].messages)

    def spread(self) -> None:
        """As workers and master do, over JSON."""
        said = deque(json.dumps(one) for worker in range(2) for one in self.taken(worker))
        for text in said:
            for lb in self.all:
                replication.learn(lb.service.backends, json.loads(text))

    def ask(self, worker: int, user: str) -> str:
        """The server that got the request."""
        lb = self.workers[worker]
        before = {name: lb.server("app", name).counters.picked for name in "abc"}
        assert lb.get("http://h:8080/", headers={"X-User": user}).status == 200
        (server,) = (n for n in "abc" if lb.server("app", n).counters.picked > before[n])
        return server

    def tables(self) -> list[list[tuple[bytes, str]]]:
        return [
            sorted((k, s) for k, s, _ in lb.backend("app").sticky.table.entries())
            for lb in self.all
        ]

    def advance(self, seconds: float) -> None:
        for lb in self.all:
            lb.advance(seconds)


@pytest.fixture
def world() -> Iterator[World]:
    yield World()


def test_what_one_learns_all_know(world: World) -> None:
    users = [f"user{number}" for number in range(9)]
    first = {user: world.ask(index % 2, user) for index, user in enumerate(users)}
    world.spread()
    assert {user: world.ask((index + 1) % 2, user) for index, user in enumerate(users)} == first
    one, two, three = world.tables()
    assert one == two == three and len(one) == 9
    assert set(first.values()) == set("abc")


def test_two_who_disagree_agree_soon(world: World) -> None:
    world.ask(1, "x")
    assert {world.ask(0, "u"), world.ask(1, "u")} == {"a", "b"}
    world.spread()
    assert world.ask(0, "u") == world.ask(1, "u")


def test_a_client_in_use_at_one_is_not_forgotten_by_the_others(world: World) -> None:
    server = world.ask(0, "u")
    world.ask(1, "v")
    for _ in range(20):
        world.spread()
        world.advance(9)
        assert world.ask(0, "u") == server
    world.spread()
    assert world.ask(1, "u") == server
    assert all(len(table) == 1 for table in world.tables()), "v was not seen for long"


def test_use_is_not_told_each_time(world: World) -> None:
    world.ask(0, "u")
    world.spread()
    for _ in range(5):
        world.ask(0, "u")
        world.advance(1)
    assert world.taken(0) == []


def test_a_server_that_is_down_breaks_the_bond_everywhere(world: World) -> None:
    server = world.ask(0, "u")
    world.spread()
    for lb in world.all:
        lb.service.maint("app", server)
    other = world.ask(1, "u")
    assert other != server
    world.spread()
    assert world.ask(0, "u") == other


def test_forgetting_is_told(world: World) -> None:
    world.ask(0, "u")
    world.spread()
    table = world.workers[1].backend("app").sticky.table
    ((key, _, _),) = table.entries()
    assert table.remove(key)
    world.spread()
    assert world.tables() == [[], [], []]


def test_a_reload_listens_to_the_new_table_and_leaves_keys_of_another_kind_out(
    world: World,
) -> None:
    world.ask(0, "u")
    other = parse_config(TEXT.replace("header X-User", "header X-Session"))
    world.workers[0].service.reload(other)
    world.tables_of[0].attach()
    world.ask(1, "w")
    world.spread()
    assert [len(table) for table in world.tables()] == [1, 0, 1]
    gone = parse_config(TEXT.replace("sticky = header X-User size=50 expire=80s\n", ""))
    for lb in world.all:
        lb.service.reload(gone)
    for replicating in world.tables_of:
        replicating.attach()
    world.ask(1, "w")
    world.spread()


def test_what_was_not_told_yet_when_stickiness_went(world: World) -> None:
    world.ask(0, "u")
    service, replicating = world.workers[0].service, world.tables_of[0]
    service.reload(parse_config(TEXT.replace("sticky = header X-User size=50 expire=80s\n", "")))
    replicating.attach()
    assert world.taken(0) == []
    service.reload(parse_config(TEXT))
    replicating.attach()
    world.ask(0, "u")
    assert len(world.taken(0)) == 1


def test_the_whole_table_in_pieces(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replication, "CHUNK", 4)
    numbers = count()
    for _ in range(10):
        world.ask(0, f"u{next(numbers)}")
    pieces = list(replication.whole(world.workers[0].service.backends))
    assert [len(piece["app"]["entries"]) for piece in pieces] == [4, 4, 2]
    for piece in pieces:
        replication.learn(world.master.service.backends, json.loads(json.dumps(piece)))
    assert list(world.master.backend("app").sticky.table.entries()) == list(
        world.workers[0].backend("app").sticky.table.entries()
    )
    (newest,) = replication.whole(world.workers[0].service.backends, 3)
    assert list(newest["app"]["entries"]) == list(pieces[1]["app"]["entries"])[-1:] + list(
        pieces[2]["app"]["entries"]
    )


def test_a_new_process_knows_them_after_an_upgrade(world: World) -> None:
    server = world.ask(0, "u")
    known = json.loads(json.dumps(world.workers[0].service.known()))
    new = LB.from_config(TEXT)
    from lbproxy.net.endpoints import Inherited

    new.service.inherit(Inherited([]), known)
    assert [s for _, s, _ in new.backend("app").sticky.table.entries()] == [server]


def test_a_message_is_bounded_in_bytes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replication, "CHUNK_BYTES", 1000)
    table = world.workers[0].backend("app").sticky.table
    for number in range(20):
        table.put(b"%2d" % number * 150, "a")
    said = world.taken(0)
    assert [len(one["app"]["entries"]) for one in said] == [4] * 5
    assert [
        len(one["app"]["entries"]) for one in replication.whole(world.workers[0].service.backends)
    ] == ([4] * 5)


def test_what_nobody_takes_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replication, "MOST_KEPT", 3)
    table = world.workers[0].backend("app").sticky.table
    for key in (b"1", b"2", b"3", b"4"):
        table.put(key, "a")
    table.put(b"1", "b")
    said = world.taken(0)
    assert [one["app"]["entries"] for one in said] == [{"31": "b", "32": "a", "33": "a"}]


def test_a_later_piece_takes_nothing_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replication, "CHUNK", 1)
    table = world.master.backend("app").sticky.table
    for key in (b"1", b"2", b"3"):
        table.put(key, "a")
    pieces = replication.whole(world.master.service.backends)
    assert next(pieces)["app"]["entries"] == {"31": "a"}
    table.learn(b"2", "b")
    table.learn(b"3", "")
    assert [one["app"]["entries"] for one in pieces] == [{"32": "b"}]
