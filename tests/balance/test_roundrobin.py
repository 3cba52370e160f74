from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbproxy.balance.server import AdminState
from lbproxy.errors import Outcome

from .tools import Context, group_of, make, names, servers


def picks(weights: list[int], count: int) -> list[str]:
    return names(group_of(make("roundrobin"), servers(weights)), count)


@pytest.mark.parametrize(
    ("weights", "order"),
    [
        ([1, 1, 1], "0 1 2 0 1 2"),
        ([7, 7], "0 1 0 1"),
        ([5, 1, 1], "0 1 0 0 2 0 0"),
        ([2, 1], "0 1 0 0 1 0"),
    ],
)
def test_order(weights: list[int], order: str) -> None:
    expected = [f"s{i}" for i in order.split()]
    assert picks(weights, len(expected)) == expected


@settings(max_examples=60, deadline=None, derandomize=True)
@given(weights=st.lists(st.integers(1, 12), min_size=1, max_size=8), start=st.integers(0, 50))
def test_every_window_of_a_round_is_exact(weights: list[int], start: int) -> None:
    total = sum(weights)
    window = picks(weights, start + total)[start:]
    assert Counter(window) == {f"s{i}": weight for i, weight in enumerate(weights)}


@settings(max_examples=60, deadline=None, derandomize=True)
@given(weights=st.lists(st.integers(1, 1000), min_size=2, max_size=12))
def test_never_a_whole_turn_from_the_exact_share(weights: list[int]) -> None:
    total = sum(weights)
    seen: Counter[str] = Counter()
    for count, name in enumerate(picks(weights, 300), 1):
        seen[name] += 1
        for i, weight in enumerate(weights):
            assert abs(seen[f"s{i}"] - count * weight / total) < 1


def test_one_heavy_among_many_light_alternates() -> None:
    window = picks([100] + [1] * 100, 200)
    assert {window[i] == "s0" or window[i + 1] == "s0" for i in range(0, 200, 2)} == {True}


def test_weights_without_a_small_common_multiple_stay_fair() -> None:
    weights = [999_983, 999_979, 999_961, 999_959, 7]
    seen = Counter(picks(weights, 4000))
    assert all(abs(seen[f"s{i}"] - 1000) <= 1 for i in range(4))


@pytest.mark.parametrize("weights", [[1, 1, 1], [3, 1, 2]])
def test_the_avoided_stays_next_in_turn(weights: list[int]) -> None:
    members = servers(weights)
    group = group_of(make("roundrobin"), members)
    lease = group.pick(Context(), (members[0],))
    assert lease is not None and lease.server is not members[0]
    assert names(group, 1) == ["s0"]
    assert group.pick(Context(), members) is None


@pytest.mark.parametrize("weights", [[1, 1, 1], [3, 1, 2]])
def test_a_server_that_was_full_has_no_claim_to_what_it_missed(weights: list[int]) -> None:
    members = servers(weights)
    members[1].maxconn = 1
    group = group_of(make("roundrobin"), members)
    lease = group.take(members[1])
    assert lease is not None
    assert "s1" not in names(group, 1000)
    lease.release(Outcome.OK)
    rounds = Counter(names(group, 2 * sum(weights)))
    assert 1 <= rounds["s1"] <= 2 * weights[1] + 1


@pytest.mark.parametrize("weights", [[1] * 4, [4, 3, 2, 1]])
def test_a_flapping_server_does_not_restart_the_rotation(weights: list[int]) -> None:
    members = servers(weights)
    group = group_of(make("roundrobin"), members)
    seen: Counter[str] = Counter()
    for turn in range(4000):
        seen.update(names(group, 1))
        group.set_admin("s3", AdminState.MAINT if turn % 2 else AdminState.READY)
    assert all(
        abs(seen[f"s{i}"] / seen["s1"] - weights[i] / weights[1]) < 0.1 * weights[i]
        for i in range(3)
    )


def test_scores_follow_the_order() -> None:
    for weights in ([1, 1, 1], [5, 1, 3]):
        group = group_of(make("roundrobin"), servers(weights))
        for _ in range(20):
            best = min(group.balancer.scores(Context()), key=lambda row: row[1])
            assert names(group, 1) == [best[0].name]
