"""The Redis client on the virtual clock."""

from __future__ import annotations

from itertools import pairwise
from random import Random
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from lbproxy.model import SharedSpec
from lbproxy.net.redis import MOST_WAITING, RedisClient, RedisDown, RedisRefused, RedisScript
from lbproxy.net.stock import StockNetwork
from lbproxy.nodes.scripts import BUCKETS
from lbproxy.testing import MemoryReactor
from lbproxy.testing.redis import FakeRedis


class World:
    def __init__(self, url: str = "redis://10.0.0.1/0", **options: Any) -> None:
        self.reactor = MemoryReactor()
        self.server = FakeRedis(self.reactor)
        network = StockNetwork(self.reactor)
        spec = SharedSpec(redis=url, **options)
        self.client = RedisClient(spec, self.reactor, network.dialler, Random(0))

    def begin(self) -> World:
        self.server.start()
        self.client.start()
        self.reactor.advance(0.5)
        return self

    def ask(self, *words: Any, within: float = 1.0) -> Any:
        return self.wait(self.client.call(*words), within)

    def wait(self, asked: Deferred[Any], within: float = 1.0) -> Any:
        found: list[Any] = []
        asked.addBoth(found.append)
        self.reactor.advance_until(lambda: found, within)
        assert found, "nothing came within its deadline"
        return getattr(found[0], "value", found[0])


def test_commands_are_answered_in_their_order() -> None:
    world = World().begin()
    found: list[Any] = []
    for words in (("SET", "a", "1"), ("GET", "a"), ("GET", "b"), ("DEL", "a", "b")):
        world.client.call(*words).addBoth(found.append)
    world.reactor.advance(0)
    assert found == [b"OK", b"1", None, 1]


def test_a_script_is_sent_once_and_then_named() -> None:
    world = World().begin()
    for _ in range(3):
        assert world.wait(world.client.run(BUCKETS, ["k"], ["0"])) == [0]
    names = [words[0] for words in world.server.seen if words[0].startswith(b"EVAL")]
    assert names == [b"EVALSHA", b"EVAL", b"EVALSHA", b"EVALSHA"]
    assert RedisScript("-- x\nreturn 1").name == "x"


def test_an_error_of_redis_is_an_error_of_that_command_alone() -> None:
    world = World().begin()
    world.server.errors["GET"] = "WRONGTYPE Operation against a key"
    assert isinstance(world.ask("GET", "a"), RedisRefused)
    assert world.ask("SET", "a", "1") == b"OK"
    assert world.client.up


def test_a_command_fails_at_its_deadline_and_the_late_reply_is_dropped() -> None:
    world = World(timeout=0.05).begin()
    world.server.hung = True
    before = world.reactor.seconds()
    assert isinstance(world.ask("GET", "a"), RedisDown)
    assert world.reactor.seconds() - before == pytest.approx(0.05, abs=0.001)
    assert world.client.up, "one late reply is no outage"


def test_a_server_that_answers_nothing_is_given_up() -> None:
    world = World(timeout=0.05).begin()
    world.server.hung = True
    world.client.call("GET", "a").addErrback(lambda _: None)
    world.reactor.advance(1.1)
    assert not world.client.up
    assert "no reply" in world.client.error
    world.server.hung = False
    world.reactor.advance(6)
    assert world.client.up
    assert world.ask("SET", "a", "1") == b"OK"


def test_an_idle_connection_that_died_silently_is_noticed() -> None:
    world = World().begin()
    world.reactor.partition("10.0.0.1:6379")
    world.reactor.advance(2.5)
    assert not world.client.up


def test_commands_fail_at_once_while_there_is_no_connection() -> None:
    world = World().begin()
    heard: list[bool] = []
    world.client.watchers.append(heard.append)
    world.server.stop()
    assert isinstance(world.ask("GET", "a", within=0), RedisDown)
    world.server.start()
    world.reactor.advance(2)
    assert heard == [False, True]
    assert world.ask("SET", "a", "1") == b"OK"


def test_commands_that_wait_fail_with_the_connection() -> None:
    world = World().begin()
    world.server.hung = True
    asked = world.client.call("GET", "a")
    world.server.stop()
    assert isinstance(world.wait(asked, 0), RedisDown)


def test_pauses_between_attempts_double_up_to_a_bound() -> None:
    world = World()
    attempts: list[float] = []
    dial = world.client._login._dialler.dial

    def noted(*args: Any, **options: Any) -> Any:
        attempts.append(world.reactor.seconds())
        return dial(*args, **options)

    world.client._login._dialler.dial = noted  # type: ignore[method-assign]
    world.client.start()
    world.reactor.advance(60)
    pauses = [later - one for one, later in pairwise(attempts)]
    assert 0.05 < pauses[0] < 0.2
    assert all(pause <= 6.01 for pause in pauses)
    assert 10 < len(attempts) < 25


def test_commands_beyond_the_bound_fail_at_once() -> None:
    world = World(timeout=10.0).begin()
    world.server.hung = True
    for _ in range(MOST_WAITING):
        world.client.call("GET", "a").addErrback(lambda _: None)
    assert isinstance(world.ask("GET", "a", within=0), RedisDown)


def test_login_with_user_and_password_and_a_database() -> None:
    world = World("redis://me:s3cr%40t@10.0.0.1/3")
    world.server.password = "s3cr@t"
    world.begin()
    assert world.client.up
    assert [b"AUTH", b"me", b"s3cr@t"] in world.server.seen
    assert [b"SELECT", b"3"] in world.server.seen


def test_the_password_may_be_in_a_file(tmp_path: Any) -> None:
    path = tmp_path / "password"
    path.write_text("hidden\n")
    world = World(password_file=str(path))
    world.server.password = "hidden"
    assert world.begin().client.up


@pytest.mark.parametrize("url", ["redis://:wrong-one@10.0.0.1", "redis://10.0.0.1"])
def test_a_refused_login_says_so_without_the_password(url: str) -> None:
    world = World(url)
    world.server.password = "right"
    world.server.errors["AUTH"] = "ERR unknown command 'AUTH', with args beginning with: wrong-one"
    world.begin()
    assert not world.client.up
    assert "login refused" in world.client.error
    assert "wrong-one" not in world.client.error
    assert "wrong-one" not in repr(world.client.place) + str(world.client.place)


def test_a_server_that_became_a_replica_is_left() -> None:
    world = World().begin()
    world.server.errors["SET"] = "READONLY You can't write against a read only replica."
    world.ask("SET", "a", "1")
    world.reactor.advance(0)
    assert not world.client.up


def test_a_name_is_looked_up_and_each_address_tried() -> None:
    world = World("redis://store.test/0")
    world.reactor.resolver.table["store.test"] = ["10.0.0.9", "10.0.0.1"]
    assert world.begin().client.up


def test_sentinels_name_the_master() -> None:
    world = World("sentinel://10.0.0.8,10.0.0.7:26380/mymaster/0")
    sentinel = FakeRedis(world.reactor, "10.0.0.7:26380", master="10.0.0.1:6379")
    sentinel.start()
    assert world.begin().client.up


def test_stop_closes_the_connection_and_makes_no_other() -> None:
    world = World().begin()
    world.client.stop()
    world.reactor.advance(10)
    assert not world.client.up
    assert not world.server._links
    assert not world.reactor.getDelayedCalls()


def test_hiredis_is_faster_and_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    import txredisapi

    from lbproxy.net import redislink

    monkeypatch.setattr(txredisapi, "RedisProtocol", txredisapi.BaseRedisProtocol)
    redislink._link_class.cache_clear()
    world = World().begin()
    assert world.ask("SET", "a", b"\x00\xff") == b"OK"
    assert world.ask("GET", "a") == b"\x00\xff"
    assert world.ask("XREVRANGE", "none", "+", "-", "COUNT", 1) == []
    assert isinstance(world.ask("NONE"), RedisRefused)
    world.client.stop()
    redislink._link_class.cache_clear()


def test_a_password_file_that_cannot_be_read_leaves_no_connection_open(tmp_path: Any) -> None:
    world = World(password_file=str(tmp_path / "missing"))
    world.begin()
    world.reactor.advance(30)
    assert not world.client.up
    assert "missing" in world.client.error
    assert not world.server._links


def test_a_replica_is_left_also_if_a_script_of_old_redis_says_so() -> None:
    world = World().begin()
    world.server.errors["EVALSHA"] = (
        "ERR Error running script (call to f_ab): @user_script:10: @user_script: 10: "
        "-READONLY You can't write against a read only replica."
    )
    assert isinstance(world.wait(world.client.run(BUCKETS, ["k"], ["1"])), RedisRefused)
    world.reactor.advance(0)
    assert not world.client.up


@pytest.mark.parametrize("running", [False, True])
def test_a_server_of_another_protocol_is_named_and_left(
    running: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World()
    if running:
        world.begin()
    answer = lambda link, data: link.transport.write(b"HTTP/1.1 400 Bad\r\n\r\n")  # noqa: E731
    monkeypatch.setattr("lbproxy.testing.redis._Link.dataReceived", answer)
    world.begin()
    world.reactor.advance(2)
    assert not world.client.up
    assert "does not speak" in world.client.error
    assert len(world.server._links) <= 1


def test_commands_that_fail_one_after_another_do_not_keep_the_reactor_busy() -> None:
    world = World(timeout=0.25).begin()
    world.server.hung = True
    failed: list[Any] = []
    for _ in range(3):
        world.client.call("PING").addErrback(failed.append)
        world.reactor.advance(0.2)  # MemoryReactor raises Livelock for a timer without an end
    world.reactor.advance(0.3)
    assert len(failed) == 3
    world.reactor.advance(1)
    assert not world.client.up, "and the connection is given up all the same"
