"""Limits, leases and values of one process."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from lbproxy.sharing.contracts import Rate
from lbproxy.sharing.local import LocalReplicated, LocalShared
from lbproxy.sharing.store import Store


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


RATE = Rate(amount=10, seconds=1.0, burst=3)


def test_a_burst_and_then_the_rate() -> None:
    clock = Clock()
    store = Store(clock)
    assert [store.take("k", 1, RATE) for _ in range(3)] == [0.0] * 3
    assert store.take("k", 1, RATE) == pytest.approx(0.1)
    assert store.take("other", 1, RATE) == 0.0
    clock.now += 0.1
    assert store.take("k", 1, RATE) == 0.0
    assert store.take("k", 1, RATE) == pytest.approx(0.1), "a refusal takes nothing"
    clock.now += 100
    assert store.take("k", 3, RATE) == 0.0, "no more than the burst is saved up"
    assert store.take("k", 1, RATE) > 0
    with pytest.raises(ValueError, match="burst"):
        store.take("k", 4, RATE)


def test_leases_have_an_owner_and_an_end() -> None:
    clock = Clock()
    store = Store(clock)
    assert store.lease("acme", "a", 10) and store.lease("acme", "a", 10)
    assert not store.lease("acme", "b", 10)
    store.release("acme", "b")
    assert not store.lease("acme", "b", 10), "it was not its own"
    clock.now += 10
    assert store.lease("acme", "b", 10)
    store.release("acme", "b")
    assert store.lease("acme", "a", 10)
    store.release_all("a")
    assert store.lease("acme", "b", 10)


def test_values_expire() -> None:
    clock = Clock()
    store = Store(clock)
    assert store.get("k") is None
    store.put("k", [1, 2])
    store.put("short", "x", 5)
    clock.now += 5
    assert store.get("k") == [1, 2] and store.get("short") is None
    store.put("k", None)
    assert store.get("k") is None


def test_each_kind_is_bounded() -> None:
    store = Store(Clock(), most=3)
    for number in range(5):
        store.put(str(number), number)
        store.lease(str(number), "a", 10)
        store.take(str(number), 3, RATE)
    assert [store.get(str(number)) for number in range(5)] == [None, None, 2, 3, 4]
    assert store.lease("0", "b", 10) and not store.lease("4", "b", 10)
    assert store.take("0", 1, RATE) == 0.0 and store.take("4", 1, RATE) > 0


def test_a_single_process_shares_with_itself() -> None:
    local = LocalReplicated(Clock())
    got: list[Any] = []
    end = local.subscribe("t", got.append, lambda: iter("whole"))
    local.publish("t", 1)
    local.publish("other", 2)
    end()
    local.publish("t", 3)
    assert got == [1] and local.alone and local.ready

    async def everything() -> list[Any]:
        await local.put("k", 1)
        await local.lease("l", 1.0)
        await local.release("l")
        return [
            await local.get("k"),
            await local.take("k", 3, RATE),
            await local.take("k", 1, RATE),
        ]

    assert asyncio.run(everything()) == [1, 0.0, pytest.approx(0.1)]


def test_a_single_process_has_no_others() -> None:
    local = LocalShared()
    local.add("k", 5)
    assert local.others("k") == 0
    assert local.claim("k", 1) and not local.claim("k", 0)
    local.release("k")
    assert local.claims() is None and local.peers("web") is None and local.turn("app") is None
