"""Shared state in Redis: the commands, their answers, and what a Redis that is down gives."""

from __future__ import annotations

import json
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed

from lbproxy.limits.rate import Rate
from lbproxy.net.redis import RedisDown
from lbproxy.nodes.backing import RedisBacking
from lbproxy.nodes.scripts import LEASE, RELEASE, TAKE
from lbproxy.sharing.contracts import SharedStateError


class Client:
    """Notes what it is asked, and gives ``answer``."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.answer: Any = None

    def call(self, *words: Any) -> Deferred[Any]:
        self.asked.append(words)
        return self._answered()

    def run(self, script: Any, keys: list[str], words: Any) -> Deferred[Any]:
        self.asked.append((script, keys, list(words)))
        return self._answered()

    def _answered(self) -> Deferred[Any]:
        if isinstance(self.answer, Exception):
            return fail(self.answer)
        return succeed(self.answer)


@pytest.fixture
def client() -> Client:
    return Client()


@pytest.fixture
def backing(client: Client) -> Any:
    return RedisBacking(client, "lb", "node1")


def result(call: Any) -> Any:
    """What the coroutine returns, or raises."""
    found: list[Any] = []
    Deferred.fromCoroutine(call).addBoth(found.append)
    (one,) = found
    if hasattr(one, "raiseException"):
        one.raiseException()
    return one


def test_a_cost_is_taken_or_has_to_wait(backing: Any, client: Client) -> None:
    rate = Rate(10, 1.0, 5)
    client.answer = b"1500000"
    assert result(backing.take("k", 2, rate)) == 1.5
    assert client.asked == [(TAKE, ["lb:take:k"], [repr(rate.each), repr(rate.burst), "2"])]
    for cost in (-1, 6):
        with pytest.raises(ValueError, match="between 0 and the burst"):
            result(backing.take("k", cost, rate))
    assert len(client.asked) == 1


def test_leases_belong_to_a_holder_at_a_node(backing: Any, client: Client) -> None:
    client.answer = 1
    assert result(backing.lease("job", "me", 0.0001)) is True
    client.answer = 0
    assert result(backing.lease("job", "me", 2)) is False
    assert result(backing.release("job", "me")) is None
    assert client.asked == [
        (LEASE, ["lb:lease:job"], ["node1/me", 1]),
        (LEASE, ["lb:lease:job"], ["node1/me", 2000]),
        (RELEASE, ["lb:lease:job"], ["node1/me"]),
    ]


def test_values(backing: Any, client: Client) -> None:
    assert result(backing.get("k")) is None
    client.answer = b'{"a": [1]}'
    assert result(backing.get("k")) == {"a": [1]}
    for value, seconds in (({"a": 1}, 0.0), ([2], 1.5), (None, 3.0)):
        assert result(backing.put("k", value, seconds)) is None
    assert client.asked[2:] == [
        ("SET", "lb:value:k", json.dumps({"a": 1})),
        ("SET", "lb:value:k", "[2]", "PX", 1500),
        ("DEL", "lb:value:k"),
    ]


def test_a_redis_that_is_down(backing: Any, client: Client) -> None:
    client.answer = RedisDown("refused")
    with pytest.raises(SharedStateError, match="refused"):
        result(backing.get("k"))
    with pytest.raises(SharedStateError, match="refused"):
        result(backing.lease("job", "me", 1))
