"""What runs at once, windows as counters, and the header fields."""

from __future__ import annotations

from math import inf

import http_sf
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproxy.limits.atonce import AtOnce
from lbproxy.limits.cells import Cells
from lbproxy.limits.fields import LONGEST, policy_item, rate_item, retry_after
from lbproxy.limits.rate import Rate
from lbproxy.limits.window import PARTS, SLICES, WindowCounts
from lbproxy.sharing.local import LocalShared


@given(st.integers(1, 5), st.lists(st.tuples(st.booleans(), st.sampled_from("abc"))))
def test_never_more_at_once(most: int, steps: list[tuple[bool, str]]) -> None:
    limit = AtOnce(LocalShared(), "l", most)
    held = dict.fromkeys("abc", 0)
    for take, key in steps:
        if take:
            assert limit.room(key) == most - held[key]
            taken = limit.take(key)
            assert taken == (held[key] < most)
            held[key] += taken
        elif held[key]:
            limit.give_back(key)
            held[key] -= 1
    assert limit.held == {key: count for key, count in held.items() if count}
    with pytest.raises(KeyError):
        limit.give_back("never")


@given(
    st.lists(st.tuples(st.floats(0, 30), st.integers(1, 10_000_000)), max_size=50),
    st.floats(0, 100),
)
def test_a_counter_forgets_after_its_window(steps: list[tuple[float, int]], later: float) -> None:
    memory = memoryview(bytearray(Cells.size(8, SLICES)))
    counts = WindowCounts(Cells(memory, SLICES), "t", 60.0)
    ident = counts.ident("k")
    now, added = 5000.0, []
    for pause, amount in steps:
        now += pause
        counts.add(ident, amount, now)
        added.append((now, amount))
    now += later
    least = sum(amount for at, amount in added if at > now - 60)
    most = sum(amount for at, amount in added if at >= now - 60 * (1 + 1 / PARTS) - 1e-6)
    assert least <= counts.count(ident, now) <= most
    assert (counts.ends(ident, now) > 0) == (counts.count(ident, now) > 0)
    assert counts.count(ident, now + counts.ends(ident, now) + 1e-6) == 0


def test_a_counter_of_other_cells() -> None:
    with pytest.raises(ValueError, match="another kind"):
        WindowCounts(Cells(memoryview(bytearray(Cells.size(8))), 0), "t", 60.0)


@given(
    st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1),
    st.integers(1, 10**9),
    st.sampled_from([0.001, 0.5, 1.0, 90.0, 86400.0]),
    st.floats(-1e18, 1e18),
    st.sampled_from([0.0, 0.1, 59.9, inf]),
)
def test_fields_are_structured(
    name: str, amount: int, seconds: float, left: float, reset: float
) -> None:
    policy = http_sf.parse(policy_item(name, Rate(amount, seconds, 1)).encode(), tltype="list")
    rate = http_sf.parse(rate_item(name, left, reset).encode(), tltype="list")
    assert policy[0][0] == rate[0][0] == name
    assert policy[0][1]["w"] >= 1 and policy[0][1]["q"] >= 1
    assert rate[0][1]["r"] >= 0 and rate[0][1]["t"] >= 0


def test_what_fields_say() -> None:
    assert policy_item("per-client", Rate(100, 10, 50)) == '"per-client";q=100;w=10'
    assert policy_item("a", Rate(5, 0.5, 5)) == '"a";q=10;w=1'
    assert policy_item("b", Rate(4096, 1, 4096), "bytes") == '"b";q=4096;qu="content-bytes";w=1'
    assert rate_item("a", 49.9999999999, 5.1) == '"a";r=50;t=6'
    assert rate_item("a", -3, 0) == '"a";r=0;t=0'
    assert retry_after(0.2) == 1 and retry_after(inf) == LONGEST
