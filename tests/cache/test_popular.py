"""The most used entries of a store, found without looking at all."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lbproxy.cache.popular import SHOWN, Popular


class Entry:
    def __init__(self, name: int) -> None:
        self.name = name
        self.hits = 0


def use(popular: Popular[Entry], entry: Entry, times: int = 1) -> None:
    for _ in range(times):
        entry.hits += 1
        if entry.hits >= popular.floor:
            popular.note(entry)


@given(st.lists(st.integers(0, 400), max_size=3000))
def test_the_top_is_that_of_a_full_sort(uses: list[int]) -> None:
    entries = [Entry(number) for number in range(401)]
    popular: Popular[Entry] = Popular()
    for one in uses:
        use(popular, entries[one])
    wanted = sorted((one.hits for one in entries if one.hits), reverse=True)[:SHOWN]
    assert [one.hits for one in popular.top()] == wanted


def test_candidates_are_few_and_the_floor_falls_when_they_go() -> None:
    popular: Popular[Entry] = Popular()
    entries = [Entry(number) for number in range(10_000)]
    for one in entries:
        use(popular, one, 1 + one.name % 7)
    assert len(popular._found) <= 8 * SHOWN and popular.floor > 1
    for one in list(popular._found):
        popular.forget(one)
    assert popular.top() == [] and popular.floor == 1
    late = Entry(-1)
    use(popular, late)
    assert popular.top() == [late]
