"""Purges in steps: what they name is gone at once, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproxy.cache import sweep as module
from lbproxy.cache.catalog import Catalog, Listed
from lbproxy.cache.purge import Purge
from lbproxy.cache.sweep import STEP, Sweep

PURGES = (
    *(Purge("prefix", b"http://h/%d" % digit) for digit in range(3)),
    *(Purge("tag", b"t%d" % digit) for digit in range(3)),
    Purge("host", b"h"),
    Purge("all"),
    Purge("url", b"http://h/11"),
)


class Entry(Listed[bytes]):
    """An entry with a number."""

    def __init__(self, number: int) -> None:
        tags = frozenset([b"t%d" % (number % 3)])
        url = b"http://h/%d" % number
        super().__init__(b"%d" % (number // 2), url, tags, frozenset(), 1)
        self.stale: list[Purge] = []


class World:
    """A catalog and its model: what is in, and what has been made stale."""

    def __init__(self) -> None:
        self.catalog: Catalog[bytes, Entry] = Catalog(1000)
        self.model: dict[Entry, list[Purge]] = {}
        self.running: list[Iterator[None]] = []
        self.sweeps: list[tuple[Any, int]] = []

    def add(self, number: int) -> None:
        one = Entry(number)
        self.catalog.insert(one)
        self.model[one] = []

    def purge(self, purge: Purge, soft: bool) -> None:
        def purged(entry: Entry) -> bool:
            if soft:
                entry.stale.append(purge)
            else:
                assert self.catalog.discard(entry)
            return True

        sweep = Sweep(self.catalog, purge, purged)
        meant = [entry for entry in self.model if purge.names(entry)]
        for entry in meant:
            if soft:
                self.model[entry].append(purge)
            else:
                del self.model[entry]
        self.sweeps.append((sweep, len(meant)))
        self.running.append(sweep.steps())

    def step(self, which: int) -> None:
        if self.running:
            next(self.running[which % len(self.running)], None)

    def drop(self, which: int) -> None:
        """Take an entry out, as evictions do."""
        if self.model:
            entry = list(self.model)[which % len(self.model)]
            del self.model[entry]
            self.catalog.lookup(entry.key)
            assert self.catalog.discard(entry)

    def move(self, which: int) -> None:
        """Take an entry out and put it back, as a folder does before it drops one."""
        if self.model:
            entry = list(self.model)[which % len(self.model)]
            self.catalog.lookup(entry.key)
            self.catalog.discard(entry)
            self.catalog.insert(entry)

    def check(self, number: int) -> None:
        key = b"%d" % (number // 2)
        found = self.catalog.lookup(key)
        assert set(found) == {entry for entry in self.model if entry.key == key}
        for entry in found:
            assert entry.stale == self.model[entry]

    def end(self) -> None:
        for steps in self.running:
            for _ in steps:
                pass
        assert not self.catalog.sweeps
        assert set(self.catalog) == set(self.model)
        assert {entry: entry.stale for entry in self.catalog} == self.model
        assert not self.catalog._order._cursors


STEPS = st.one_of(
    st.tuples(st.just("add"), st.integers(0, 12)),
    st.tuples(st.just("check"), st.integers(0, 12)),
    st.tuples(st.just("purge"), st.sampled_from(PURGES), st.booleans()),
    st.tuples(st.just("step"), st.integers(0, 3)),
    st.tuples(st.just("drop"), st.integers(0, 12)),
    st.tuples(st.just("move"), st.integers(0, 12)),
)


@given(st.lists(STEPS, min_size=5, max_size=60))
def test_a_purge_is_true_between_its_steps(steps: list[tuple[Any, ...]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "STEP", 1)
        patch.setattr(module, "_MOST", 4)
        world = World()
        for number in range(6):
            world.add(number)
        for name, *arguments in steps:
            getattr(world, name)(*arguments)
        world.end()


def test_counts_are_those_of_what_was_there() -> None:
    world = World()
    for number in range(4 * STEP):
        world.add(number)
    world.purge(Purge("prefix", b"http://h/1"), False)
    world.purge(Purge("all"), True)
    assert world.catalog.lookup(b"5") == [], "before the first step"
    world.add(1)
    for steps in world.running:
        assert list(steps), "not all at once"
    assert [sweep.count for sweep, _ in world.sweeps] == [count for _, count in world.sweeps]
    assert [len(world.catalog.lookup(b"0"))] == [2], "0 and the new 1"


def test_a_catalog_that_is_cleared_ends_its_sweeps() -> None:
    world = World()
    for number in range(4 * STEP):
        world.add(number)
    world.purge(Purge("all"), True)
    world.step(0)
    world.catalog.clear()
    for number in range(4 * STEP):
        world.add(number)
    assert list(world.running[0]) == []
    assert not world.catalog.lookup(b"0")[0].stale


def test_the_oldest_of_many_sweeps_is_completed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST", 3)
    world = World()
    for number in range(4 * STEP):
        world.add(number)
    for _ in range(10):
        world.purge(Purge("host", b"h"), True)
        assert len(world.catalog.sweeps) <= 3
    assert len(world.catalog.lookup(b"0")[0].stale) == 10
