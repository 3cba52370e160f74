"""Slow start: shares, weights, and what every balancer makes of them."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproxy.balance.ramp import FIRST, SCALE, Ramp, effective_weight
from lbproxy.errors import Outcome
from tests.balance.tools import BUILTIN, Clock, Context, group_of, make, servers


def test_a_share_grows_in_a_straight_line() -> None:
    ramp: Ramp[str] = Ramp(10.0)
    ramp.begin("a", 100.0)
    seen = [ramp.shares(100.0 + age).get("a") for age in (0, 2.5, 5, 10, 11)]
    assert seen == [pytest.approx(x) for x in (0.1, 0.325, 0.55, 1.0)] + [None]
    assert len(ramp) == 0


def test_down_and_up_again_begins_anew() -> None:
    ramp: Ramp[str] = Ramp(10.0)
    ramp.begin("a", 0.0)
    assert ramp.end("a")
    assert not ramp.end("never")
    assert ramp.shares(5.0) == {}
    ramp.begin("a", 5.0)
    assert ramp.shares(5.0) == {"a": FIRST}


@given(st.floats(0.1, 86400), st.floats(0, 1e6), st.floats(-10, 1e6))
def test_shares_are_shares(seconds: float, begun: float, age: float) -> None:
    ramp: Ramp[str] = Ramp(seconds)
    ramp.begin("a", begun)
    assert FIRST <= ramp.shares(begun + age)["a"] <= 1.0


@given(st.integers(0, 1_000_000), st.floats(FIRST, 1.0))
def test_effective_weights(weight: int, share: float) -> None:
    assert effective_weight(weight, share, False) == weight
    scaled = effective_weight(weight, share, True)
    assert (scaled == 0) == (weight == 0)
    assert scaled <= weight * SCALE
    assert abs(scaled - weight * SCALE * share) <= 1


def test_weights_come_back_when_it_is_over() -> None:
    group = group_of(make("roundrobin"), servers([1, 2, 3]))
    a, b, c = group.servers.values()
    group.set_shares({a: 0.5})
    assert [s.weight for s in (a, b, c)] == [32, 128, 192]
    group.set_weight("s0", 4)
    group.set_weight("s1", 1)
    assert [s.weight for s in (a, b, c)] == [128, 64, 192]
    assert [s.full_weight for s in (a, b, c)] == [4, 1, 3]
    group.add(d := servers([1, 1, 1, 5])[3])
    assert d.weight == 320
    group.set_shares({a: 1.0})
    assert [s.weight for s in (a, b, c, d)] == [4, 1, 3, 5]


def test_a_removed_server_does_not_keep_the_others_scaled() -> None:
    group = group_of(make("roundrobin"), servers([1, 1]))
    a, b = group.servers.values()
    group.set_shares({a: 0.5})
    group.remove("s0")
    group.set_shares({a: 0.6})
    assert b.weight == 1


@pytest.mark.parametrize("kind", sorted(set(BUILTIN) - {"first"}))
def test_every_balancer_gives_it_its_share(kind: str) -> None:
    """Also after more than one step, and with work in hand."""
    group = group_of(make(kind, Clock()), servers([2, 2, 2, 2]))
    a = group.servers["s0"]
    for share in (0.1, 0.3, 0.25):
        group.set_shares({a: share})
    counts: Counter[str] = Counter()
    held = []
    for n in range(8000):
        lease = group.pick(Context(client_ip=f"10.{n % 251}.{n % 241}.{n % 239}"))
        counts[lease.server.name] += 1
        held.append(lease)
        if len(held) > 40:
            held.pop(0).release(Outcome.OK, 0.01)
    expected = 0.25 / 3.25
    assert counts["s0"] / 8000 == pytest.approx(expected, rel=0.45 if "hash" in kind else 0.25)


def test_the_ring_moves_only_the_keys_of_the_one_that_warms_up() -> None:
    group = group_of(make("hash"), servers([1, 3, 4, 2]))
    a = group.servers["s0"]

    def homes() -> dict[str, str]:
        found = {}
        for n in range(2000):
            ip = f"10.{n % 251}.{n % 241}.{n % 239}"
            lease = group.pick(Context(client_ip=ip))
            found[ip] = lease.server.name
            lease.release(Outcome.OK)
        return found

    before = homes()
    group.set_shares({a: 0.5})
    during = homes()
    assert all(before[ip] == "s0" for ip in before if during[ip] != before[ip])
    assert "s0" in during.values()
    group.set_shares({a: 1.0})
    assert homes() == before
