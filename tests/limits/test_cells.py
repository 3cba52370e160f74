"""The table of cells: its bound, and which key is forgotten."""

from __future__ import annotations

import mmap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproxy.limits.bucket import Buckets
from lbproxy.limits.cells import WAYS, Cells
from lbproxy.limits.rate import Rate


def table(keys: int, extra: int = 0) -> Cells:
    return Cells(memoryview(bytearray(Cells.size(keys, extra))), extra, b"secret")


def test_a_million_keys_take_no_more_than_their_memory() -> None:
    assert Cells.size(1_000_000) == 32 << 20
    cells = table(20_000)
    for n in range(20_000):
        cells.words[cells.place(cells.ident(f"k{n}"), 0.0)] = 10.0
    kept = sum(cells.find(cells.ident(f"k{n}")) >= 0 for n in range(20_000))
    assert kept + cells.dropped == 20_000 and cells.dropped < 1000
    assert cells.used(0.0) == pytest.approx(kept, rel=0.05)
    for n in range(100_000):
        cells.place(cells.ident(f"other{n}"), 0.0)
    assert cells.cells == 65_536


@given(st.lists(st.floats(1, 100), min_size=WAYS + 1, max_size=40))
def test_the_least_debt_is_forgotten(untils: list[float]) -> None:
    cells = Cells(memoryview(bytearray(WAYS * 16)), 0)
    held: dict[int, float] = {}
    for ident, until in enumerate(untils, 1):
        at = cells.place(ident, 0.0)
        cells.words[at] = until
        if len(held) == WAYS:
            least = min(held.values())
            gone = [one for one in held if cells.find(one) < 0]
            assert len(gone) == 1 and held.pop(gone[0]) == least
        held[ident] = until
    assert all(cells.words[cells.find(one)] == until for one, until in held.items())
    assert cells.dropped == len(untils) - WAYS


def test_cells_that_no_longer_matter_give_way_first() -> None:
    cells = Cells(memoryview(bytearray(WAYS * 16)), 0)
    for ident in range(1, WAYS + 1):
        cells.words[cells.place(ident, 0.0)] = float(ident)
    cells.place(100, 1.5)
    assert cells.find(1) < 0 and cells.dropped == 0 and cells.used(1.5) == WAYS - 1


def test_many_keys_do_not_clear_a_heavy_one() -> None:
    cells = table(1000)
    limit = Buckets(cells, "l", Rate(1, 10, 5))
    heavy = limit.ident("heavy")
    limit.charge(heavy, 5, 0.0)
    for n in range(50_000):
        limit.charge(limit.ident(f"one request {n}"), 1, 0.0)
    assert limit.ask(heavy, 1, 0.0) > 0


def test_processes_share_the_memory() -> None:
    memory = memoryview(mmap.mmap(-1, Cells.size(100)))
    one, two = (Buckets(Cells(memory, 0, b"s"), "l", Rate(10, 1, 10)) for _ in range(2))
    passed = 0
    for n in range(40):
        limit = (one, two)[n % 2]
        if limit.ask(limit.ident("k"), 1, 5.0) == 0:
            limit.charge(limit.ident("k"), 1, 5.0)
            passed += 1
    assert passed == 10
    other = Cells(memory, 0, b"another secret")
    assert other.ident("k") != one._cells.ident("k")


def test_a_new_cell_begins_at_zero() -> None:
    cells = Cells(memoryview(bytearray(WAYS * 8 * 4)), 2)
    for ident in range(1, 100):
        at = cells.place(ident, 0.0)
        assert [cells.words[at + step * WAYS] for step in range(3)] == [0.0] * 3
        for step in range(3):
            cells.words[at + step * WAYS] = 7.0
        assert cells.place(ident, 0.0) == at and cells.words[at] == 7.0


def test_sets_are_a_power_of_two() -> None:
    with pytest.raises(ValueError, match="power of two"):
        Cells(memoryview(bytearray(WAYS * 16 * 3)), 0)
