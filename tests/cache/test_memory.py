"""The memory store: its bound, variants and purges."""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Callable
from time import thread_time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproxy.cache.cachestatus import cache_status
from lbproxy.cache.memory import Memory
from lbproxy.cache.purge import Purge
from lbproxy.cache.ready import ready_head
from lbproxy.cache.stored import Stored
from tests.cache.conftest import kept, request, response
from tests.support.purging import purged_of


def page(number: int = 0, tags: str = "", **asking: str) -> Stored:
    """A stored response of its own URL."""
    answer = response(Cache_Control="max-age=60", Vary="Accept", Surrogate_Key=tags)
    one = kept(request(**asking), answer)
    object.__setattr__(one, "url", b"http://h/%d" % number)
    return one


def test_a_response_that_is_too_large_leaves_nothing_of_the_one_it_replaces() -> None:
    memory = Memory(100_000)
    assert memory.add((b"x",), page(), b"old") is not None
    assert memory.add((b"x",), page(), bytes(100_001)) is None
    assert not memory.lookup((b"x",))


def test_it_stays_within_its_limit() -> None:
    memory = Memory(100_000)
    for number in range(100):
        memory.add((b"%d" % number,), page(number), bytes(5000))
        assert memory.bytes <= 100_000
    assert memory.counts.evicted == 100 - len(memory)
    assert memory.bytes == sum(entry.bytes for entry in memory)
    assert memory.add((b"x",), page(), bytes(100_001)) is None
    memory.resize(10_000)
    assert memory.bytes <= 10_000


def test_a_response_replaces_the_one_of_its_selection() -> None:
    memory = Memory(100_000, variants=2)
    key = (b"k",)
    memory.add(key, page(Accept="a"), b"1")
    memory.add(key, page(Accept="a"), b"2")
    assert [entry.body for entry in memory.lookup(key)] == [b"2"]
    memory.add(key, page(Accept="b"), b"3")
    memory.add(key, page(Accept="c"), b"4")
    assert len(memory.lookup(key)) == 2


def test_purges() -> None:
    memory = Memory(1_000_000)
    for number in range(10):
        memory.add((b"%d" % number,), page(number, tags=f"all t{number % 2}"), b"x")
    assert purged_of(memory, Purge("url", b"http://h/3")) == 1
    assert purged_of(memory, Purge("tag", b"t0"), soft=True) == 5
    assert all(entry.stored.purged for entry in memory.by_tag(b"t0"))
    assert purged_of(memory, Purge("tag", b"t1")) == 4
    assert memory.by_tag(b"t1") == []
    assert purged_of(memory, Purge("prefix", b"http://h/")) == 5
    assert (len(memory), memory.bytes, memory.by_tag(b"all")) == (0, 0, [])


def test_a_refreshed_head_keeps_the_body() -> None:
    memory = Memory(100_000)
    entry = memory.add((b"k",), page(), b"body")
    assert entry is not None
    memory.use(entry)
    new = memory.replace(entry, page())
    assert new is not None
    assert (new.body, new.hits, len(memory)) == (b"body", 1, 1)
    assert memory.replace(entry, page()) is None, "it is not the stored one any more"


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["add", "use", "url", "tag", "soft"]),
            st.integers(0, 5),
            st.integers(0, 9000),
        ),
        max_size=40,
    )
)
def test_the_indexes_agree(steps: list[tuple[str, int, int]]) -> None:
    memory = Memory(30_000)
    for step, number, size in steps:
        if step == "add":
            one = page(number, tags=f"t{number % 2}", Accept=f"a{size % 3}")
            memory.add((b"%d" % number,), one, bytes(size))
        elif step == "use":
            for entry in memory.lookup((b"%d" % number,)):
                memory.use(entry)
        elif step == "url":
            purged_of(memory, Purge("url", b"http://h/%d" % number))
        else:
            purged_of(memory, Purge("tag", b"t%d" % (number % 2)), soft=step == "soft")
        entries = set(memory)
        assert memory.bytes == sum(entry.bytes for entry in entries) <= 30_000
        assert len(memory) == len(entries)
        for tag in (b"t0", b"t1"):
            assert set(memory.by_tag(tag)) == {e for e in entries if tag in e.stored.tags}
        assert set(memory.walk()) == entries


def test_the_overhead_is_what_is_counted() -> None:
    """What 500 entries take is no more than they count, and no less than half of it."""
    tracemalloc.start()
    memory = Memory(50_000_000)
    before = tracemalloc.get_traced_memory()[0]
    for number in range(500):
        memory.add((b"http", b"app", b"%d" % number), page(number, tags=f"t{number}"), bytes(100))
    for entry in memory:
        entry.ready = ready_head(entry.stored)  # as the first hit does
    used = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert used <= memory.bytes <= 2 * used


def test_cache_status() -> None:
    assert cache_status("main", hit=True, ttl=-3.5) == b"main; hit; ttl=-4"
    text = cache_status("a b", fwd="stale", status=304, ttl=60, stored=True, detail='say "x"\n')
    expected = rb'"a b"; fwd=stale; fwd-status=304; ttl=60; stored; detail="say \"x\"?"'
    assert text == expected


def lines_run(work: Callable[[], Any]) -> int:
    """Return how many lines of Python ``work`` runs."""
    count = 0

    def trace(frame: Any, event: str, argument: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("objects", [20_000, pytest.param(1_000_000, marks=pytest.mark.long)])
def test_a_hit_takes_no_longer_among_many_objects(objects: int) -> None:
    memory = Memory(1 << 40)
    one = page()

    def hit(number: int) -> None:
        (entry,) = memory.lookup((b"app", b"%d" % number))
        memory.use(entry)
        memory.end_reading(memory.begin_reading(entry))

    costs = []
    for number in range(objects):
        memory.add((b"app", b"%d" % number), one, b"x")
        if number == 999:
            costs.append(lines_run(lambda: hit(500)))
    costs.append(lines_run(lambda: hit(objects // 2)))
    assert costs[0] == costs[1] > 0


def test_many_objects_are_cleared_at_once_and_freed_in_short_steps() -> None:
    many = 100_000
    memory = Memory(many * 10_000)
    one = page(tags="news")
    for number in range(many):
        memory.add((b"%d" % number,), one, b"")
    entry = memory.lookup((b"5",))[0]
    reading = memory.begin_reading(entry)
    longest, start = 0.0, thread_time()
    steps = memory.begin_clear()
    assert (len(memory), memory.bytes, memory.by_tag(b"news")) == (0, 0, [])
    assert memory.add((b"5",), one, b"new") is not None
    for _ in steps:
        now = thread_time()
        longest, start = max(longest, now - start), now
    assert longest < 0.02
    assert [found.body for found in memory] == [b"new"]
    assert memory.detached == entry.bytes, "still being sent"
    memory.end_reading(reading)
    assert memory.detached == 0
