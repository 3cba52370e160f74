from __future__ import annotations

from collections import Counter
from random import Random as Chance

import pytest

from lbproxy.balance.lease import Lease
from lbproxy.balance.leastconn import FEW, LeastConn
from lbproxy.errors import Outcome

from .tools import Context, group_of, make, names, server, servers

SIZES = [2, 5, FEW, FEW + 1, 60]


@pytest.mark.parametrize("size", SIZES)
def test_equal_loads_take_turns(size: int) -> None:
    group = group_of(make("leastconn"), servers([1] * size))
    expected = [f"s{i}" for i in range(size)]
    assert names(group, 3 * size) == expected * 3


@pytest.mark.parametrize("weights", [[1] * 3, [1] * 20, [1, 2, 3], list(range(1, 21))])
def test_always_one_of_the_least_loaded(weights: list[int]) -> None:
    chance = Chance(5)
    members = servers(weights)
    group = group_of(make("leastconn"), members)
    leases: list[Lease] = []
    for _ in range(3000):
        if leases and chance.random() < 0.48:
            leases.pop(chance.randrange(len(leases))).release(Outcome.OK)
            continue
        least = min(m.active / m.weight for m in members)
        lease = group.pick(Context())
        assert lease is not None
        assert (lease.server.active - 1) / lease.server.weight == least
        leases.append(lease)


@pytest.mark.parametrize("weights", [[4, 1, 1], [10] + [1] * 20])
def test_held_leases_are_shared_by_weight(weights: list[int]) -> None:
    members = servers(weights)
    group = group_of(make("leastconn"), members)
    for _ in range(10 * sum(weights)):
        assert group.pick(Context()) is not None
    assert [m.active for m in members] == [10 * weight for weight in weights]


def test_idle_servers_take_turns_by_weight() -> None:
    group = group_of(make("leastconn"), servers([3, 2, 1]))
    seen = Counter(names(group, 600))
    assert all(abs(seen[f"s{i}"] - want) <= 2 for i, want in enumerate([300, 200, 100]))


def test_no_claim_to_turns_missed_while_busy() -> None:
    members = servers([2, 1, 1])
    group = group_of(make("leastconn"), members)
    lease = group.take(members[2])
    assert lease is not None
    assert "s2" not in names(group, 500)
    lease.release(Outcome.OK)
    assert Counter(names(group, 8))["s2"] <= 3


@pytest.mark.parametrize("size", SIZES)
def test_avoided_and_full_are_passed_over(size: int) -> None:
    members = servers([1] * size, maxconn=1)
    group = group_of(make("leastconn"), members)
    lease = group.pick(Context(), members[:-1])
    assert lease is not None and lease.server is members[-1]
    assert group.pick(Context(), members[:-1]) is None
    assert sorted(names(group, size - 1)) == sorted(f"s{i}" for i in range(size - 1))


def test_stale_entries_are_thrown_out() -> None:
    balancer = make("leastconn")
    assert isinstance(balancer, LeastConn)
    group = group_of(balancer, servers([1, 2] * 20))
    longest = 0
    for _ in range(2000):
        names(group, 1)
        assert balancer._heap is not None
        longest = max(longest, len(balancer._heap))
    assert 40 < longest <= 2 * 40 + 64


def test_from_few_to_many_and_back() -> None:
    group = group_of(make("leastconn"), servers([1, 1]))
    first = group.pick(Context())
    assert first is not None
    for i in range(FEW):
        group.add(server(f"t{i}"))
    assert first.server.name not in names(group, FEW + 1)
    for i in range(FEW):
        group.remove(f"t{i}")
    assert set(names(group, 4)) == {"s0", "s1"} - {first.server.name}
    first.release(Outcome.OK)
    assert set(names(group, 2)) == {"s0", "s1"}
