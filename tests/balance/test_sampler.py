"""The samplers, and the balancers of chance that draw from them: random and p2c."""

from __future__ import annotations

from collections import Counter
from random import Random as Chance

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbproxy.balance.sampler import EqualSampler, WeightedSampler, sampler
from lbproxy.errors import Outcome

from .tools import Context, chi_square, group_of, make, names, server, servers


def test_the_cheaper_sampler() -> None:
    assert isinstance(sampler(servers([3, 3])), EqualSampler)
    assert isinstance(sampler(servers([3, 4])), WeightedSampler)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    weights=st.lists(st.integers(1, 9), min_size=1, max_size=20),
    toggles=st.lists(st.integers(0, 19), max_size=40),
)
def test_draws_are_exactly_by_weight(weights: list[int], toggles: list[int]) -> None:
    for kind in (WeightedSampler, EqualSampler):
        members = servers(weights if kind is WeightedSampler else [1] * len(weights))
        drawn = kind(members)
        inside = set(members)
        for index in toggles:
            one = members[index % len(members)]
            if one in inside:
                assert drawn.drop(one) and not drawn.drop(one)
                inside.remove(one)
            else:
                assert drawn.add(one) and not drawn.add(one)
                inside.add(one)
        assert not drawn.add(server("stranger")) and not drawn.drop(server("stranger"))
        assert len(drawn) == len(inside)
        total = sum(m.weight for m in inside)
        seen = Counter(drawn.draw((i + 0.5) / total) for i in range(total))
        assert seen == {m: m.weight for m in inside}
        if not inside:
            with pytest.raises(IndexError):
                drawn.draw(0.5)


@pytest.mark.parametrize("weights", [[1] * 10, [1, 2, 3, 4, 10]])
def test_random_draws_by_weight(weights: list[int]) -> None:
    group = group_of(make("random", seed=3), servers(weights))
    count = 20_000
    expected = {f"s{i}": count * w / sum(weights) for i, w in enumerate(weights)}
    # 99.9% point of chi square with 9 degrees of freedom: 27.9
    assert chi_square(Counter(names(group, count)), expected) < 27.9


def test_random_draws_among_those_with_room() -> None:
    members = servers([1, 5, 2], maxconn=1)
    group = group_of(make("random"), members)
    held = group.take(members[1])
    assert held is not None
    assert set(names(group, 100)) == {"s0", "s2"}
    held.release(Outcome.OK)
    seen = Counter(names(group, 800))
    assert seen["s1"] > seen["s0"] + seen["s2"]
    chances = {s.name: 1 - score for s, score, _ in group.balancer.scores(Context())}
    assert chances == pytest.approx({"s0": 1 / 8, "s1": 5 / 8, "s2": 2 / 8})


@pytest.mark.parametrize("weights", [[1] * 10, [1, 2, 3, 4, 10]])
def test_idle_p2c_draws_by_weight(weights: list[int]) -> None:
    group = group_of(make("p2c", seed=3), servers(weights))
    count = 20_000
    expected = {f"s{i}": count * w / sum(weights) for i, w in enumerate(weights)}
    assert chi_square(Counter(names(group, count)), expected) < 27.9


@pytest.mark.parametrize("weights", [[1] * 20, [1, 2, 3, 4, 10]])
def test_p2c_is_far_more_even_than_chance(weights: list[int]) -> None:
    def spread(kind: str) -> float:
        members = servers(weights)
        group = group_of(make(kind, seed=9), members)
        for _ in range(100 * sum(weights)):
            assert group.pick(Context()) is not None
        return max(abs(m.active / m.weight - 100) for m in members)

    assert spread("p2c") < 6 < spread("random")


def test_p2c_takes_the_less_loaded_of_two() -> None:
    members = servers([1, 1])
    group = group_of(make("p2c"), members)
    assert group.take(members[0]) is not None
    assert set(names(group, 50)) == {"s1"}


@pytest.mark.parametrize("weights", [[1, 1, 1], [1_000_000, 1, 1]])
@pytest.mark.parametrize("kind", ["random", "p2c", "ewma"])
def test_avoiding_the_heavy_one_costs_no_luck(kind: str, weights: list[int]) -> None:
    members = servers(weights)
    group = group_of(make(kind, seed=Chance(1).randrange(99)), members)
    for _ in range(50):
        lease = group.pick(Context(), (members[0], members[2]))
        assert lease is not None and lease.server is members[1]
        lease.release(Outcome.OK)
    assert group.pick(Context(), members) is None
