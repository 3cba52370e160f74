"""Slow start on a virtual clock: who warms up, and how far traffic follows."""

from __future__ import annotations

from collections import Counter

import pytest

from lbproxy.balance.server import AdminState
from tests.proxy.http_kit import TWO_SERVERS, A, B, rigs

rig = pytest.fixture(rigs)

SLOW = "slow_start = 20s"


@pytest.fixture
def two(rig):
    r = rig(servers=TWO_SERVERS, app=SLOW)
    r.lb.origin("a", A)
    r.lb.origin("b", B)
    return r


def share(r, requests: int = 110) -> float:
    """The part of a's server in so many requests."""
    origins = Counter(r.lb.get("http://a/").header("x-origin") for _ in range(requests))
    return origins["a"] / requests


def test_nobody_warms_up_at_the_start(two):
    assert share(two) == 0.5
    assert two.state().weight == 1


def test_down_and_up(two):
    group = two.backend.group
    group.set_health(two.state(), False)
    assert share(two) == 0
    group.set_health(two.state(), True)
    assert share(two) == pytest.approx(0.1 / 1.1, abs=0.02)
    two.advance(10)
    assert share(two) == pytest.approx(0.55 / 1.55, abs=0.03)
    two.advance(10.2)
    assert share(two) == pytest.approx(0.5, abs=0.02)
    assert (two.state().weight, two.state().share) == (1, 1.0)


def test_down_while_it_warms_up_begins_anew(two):
    group = two.backend.group
    for _ in range(2):
        group.set_health(two.state(), False)
        assert two.state("b").weight == 1
        two.advance(5)
        group.set_health(two.state(), True)
        assert two.state().share == 0.1
        two.advance(15)
        assert two.state().share > 0.5


def test_maint_is_cold_and_drain_is_not(two):
    for admin, expected in ((AdminState.DRAIN, 1.0), (AdminState.MAINT, 0.1)):
        two.backend.set_admin("a", admin)
        two.advance(1)
        two.backend.set_admin("a", AdminState.READY)
        assert two.state().share == expected


def test_a_server_added_later_warms_up(two):
    two.lb.service.add_server("app", "c 10.0.0.3:8000 weight=2")
    c = two.state("c")
    assert (c.share, c.full_weight) == (0.1, 2)
    two.advance(30)
    assert (c.share, c.weight) == (1.0, 2)


def test_a_server_removed_while_it_warms_up(two):
    two.lb.service.add_server("app", "c 10.0.0.3:8000")
    two.lb.service.remove_server("app", "c")
    two.advance(30)
    assert two.state().weight == two.state("b").weight == 1


def test_an_ejected_server_warms_up(rig):
    r = rig(servers=TWO_SERVERS, app=f"{SLOW}\npassive = errors=1 eject=5s")
    r.lb.origin("b", B)
    for _ in range(2):
        r.lb.get("http://a/")
    assert r.state().ejected
    r.lb.origin("a", A)
    r.advance(5.1)
    assert r.state().share == 0.1
