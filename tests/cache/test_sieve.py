"""Eviction: the queue, its hand, and what it is worth on a skewed trace."""

from __future__ import annotations

import itertools
from bisect import bisect
from collections import OrderedDict
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from lbproxy.cache.sieve import Node, Sieve


class Named(Node):
    """A member with a name."""

    def __init__(self, name: int) -> None:
        super().__init__()
        self.name = name


def test_what_was_used_is_spared_once() -> None:
    order: Sieve[Named] = Sieve()
    nodes = [Named(number) for number in range(4)]
    for node in nodes:
        order.add(node)
    nodes[0].used = nodes[2].used = True
    evicted = []
    for _ in range(4):
        victim = order.victim()
        assert victim is not None
        evicted.append(victim.name)
        order.remove(victim)
    assert evicted == [1, 3, 0, 2]
    assert order.victim() is None


@given(st.lists(st.tuples(st.sampled_from(["add", "use", "evict", "remove"]), st.integers(0, 9))))
def test_it_holds_what_was_added_and_not_removed(steps: list[tuple[str, int]]) -> None:
    order: Sieve[Named] = Sieve()
    members: dict[int, Named] = {}
    for step, name in steps:
        if step == "add" and name not in members:
            members[name] = Named(name)
            order.add(members[name])
        elif step == "use" and name in members:
            members[name].used = True
        elif step == "remove" and name in members:
            order.remove(members.pop(name))
        elif step == "evict":
            victim = order.victim()
            assert (victim is None) == (not members)
            if victim is not None:
                assert members.pop(victim.name) is victim
                order.remove(victim)
        assert order.count == len(members)
    while (victim := order.victim()) is not None:
        del members[victim.name]
        order.remove(victim)
    assert not members


def trace(objects: int, requests: int, exponent: float) -> list[int]:
    """Requests for objects whose popularity follows Zipf's law."""
    random = Random(7)
    weights = list(itertools.accumulate(1 / (rank + 1) ** exponent for rank in range(objects)))
    names = list(range(objects))
    random.shuffle(names)
    return [names[bisect(weights, random.random() * weights[-1])] for _ in range(requests)]


def test_it_keeps_more_than_lru() -> None:
    size = 200
    wanted = trace(20_000, 100_000, 0.9)
    lru: OrderedDict[int, None] = OrderedDict()
    order: Sieve[Named] = Sieve()
    held: dict[int, Named] = {}
    hits = [0, 0]
    for name in wanted:
        if name in lru:
            lru.move_to_end(name)
            hits[0] += 1
        else:
            lru[name] = None
            if len(lru) > size:
                lru.popitem(last=False)
        if name in held:
            held[name].used = True
            hits[1] += 1
            continue
        if len(held) == size:
            victim = order.victim()
            assert victim is not None
            order.remove(victim)
            del held[victim.name]
        held[name] = Named(name)
        order.add(held[name])
    assert hits[1] >= hits[0] + 0.03 * len(wanted)
