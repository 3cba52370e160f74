"""The sticky table against a plain model: bounds, expiry, order of use, counts."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from lbproxy.balance.stickytable import StickyTable

from .tools import Clock

KEYS = st.integers(0, 9).map(lambda n: b"k%d" % n)
SERVERS = st.sampled_from(["a", "b", "c"])
SIZE, EXPIRE = 5, 10.0


class Model(RuleBasedStateMachine):
    """``plain``: (key, server, expires) in order of use."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.table = StickyTable(SIZE, EXPIRE, self.clock)
        self.plain: list[tuple[bytes, str, float]] = []

    def _live(self) -> None:
        self.plain = [one for one in self.plain if one[2] > self.clock()]

    def _pop(self, key: bytes) -> str | None:
        found = next((one for one in self.plain if one[0] == key), None)
        if found is not None:
            self.plain.remove(found)
        return found[1] if found else None

    @rule(key=KEYS, server=SERVERS)
    def put(self, key: bytes, server: str) -> None:
        self._live()
        self._pop(key)
        self.plain = [*self.plain[-(SIZE - 1) :], (key, server, self.clock() + EXPIRE)]
        self.table.put(key, server)

    @rule(key=KEYS)
    def get(self, key: bytes) -> None:
        self._live()
        server = self._pop(key)
        if server is not None:
            self.plain.append((key, server, self.clock() + EXPIRE))
        assert self.table.get(key) == server

    @rule(key=KEYS)
    def remove(self, key: bytes) -> None:
        self._live()
        gone = self._pop(key)
        len(self.table)  # what has expired is gone
        assert self.table.remove(key) is (gone is not None)

    @rule(server=st.sampled_from(["", "a", "b"]))
    def clear(self, server: str) -> None:
        self._live()
        len(self.table)
        left = [one for one in self.plain if server not in ("", one[1])]
        assert self.table.clear(server) == len(self.plain) - len(left)
        self.plain = left

    @rule(seconds=st.sampled_from([0.5, 3.0, 9.9, 10.0, 30.0]))
    def wait(self, seconds: float) -> None:
        self.clock.time += seconds

    @invariant()
    def same(self) -> None:
        self._live()
        shown = [(key, server) for key, server, _ in self.table.entries()]
        assert shown == [(key, server) for key, server, _ in reversed(self.plain)]
        assert len(self.table) == len(self.plain) <= SIZE
        for server in "abc":
            assert self.table.count(server) == sum(one[1] == server for one in self.plain)
        assert all(0 < left <= EXPIRE + 1e-9 for _, _, left in self.table.entries())


TestModel = settings(max_examples=60, stateful_step_count=30, deadline=None)(Model).TestCase


def test_what_is_dropped_is_counted() -> None:
    clock = Clock()
    table = StickyTable(2, 10.0, clock)
    for n in range(4):
        table.put(b"%d" % n, "a")
    clock.time += 11
    assert len(table) == 0
    assert (table.created, table.evicted, table.expired) == (4, 2, 2)


def test_another_table_takes_over_what_fits() -> None:
    clock = Clock()
    old = StickyTable(10, 100.0, clock)
    for n in range(5):
        old.put(b"%d" % n, "ab"[n % 2])
        clock.time += 1
    old.get(b"0")
    new: Any = StickyTable(3, 50.0, clock)
    new.adopt(old)
    assert [(key, server) for key, server, _ in new.entries()] == [
        (b"0", "a"), (b"4", "a"), (b"3", "b"),
    ]  # fmt: skip
    assert all(left <= 50 for _, _, left in new.entries())
    clock.time += 51
    assert len(new) == 0


def test_a_clock_that_is_set_back() -> None:
    """What was put before stays longer; what was put after has its time, is shown and told
    as ever.
    """
    clock = Clock()
    clock.time = 1000.0
    table = StickyTable(SIZE, EXPIRE, clock)
    told: list[tuple[bytes, str]] = []
    table.put(b"old", "a")
    clock.time = 100.0
    table.tell = lambda key, server: told.append((key, server))
    assert table.get(b"old") == "a"
    assert told == [(b"old", "a")]
    table.put(b"older", "c")
    clock.time = 1000.0
    table.put(b"before", "a")
    clock.time = 500.0
    table.put(b"new", "b")
    clock.time = 500.0 + EXPIRE
    assert [key for key, _, _ in table.entries()] == [b"before"]
    assert table.get(b"new") is None
    assert table.count("b") == 0
    assert table.get(b"before") == "a"
    clock.time += EXPIRE
    assert len(table) == 0
    assert table.expired == 4
