from __future__ import annotations

from collections import Counter

import pytest

from lbproxy.balance.group import ServerGroup
from lbproxy.balance.server import AdminState
from lbproxy.errors import Outcome

from .tools import Clock, Context, group_of, make, server, servers


class World:
    """Servers that answer in a known time, one request at a time."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self.clock = Clock()
        self.seconds = seconds
        self.failing: set[str] = set()
        members = servers([1] * len(seconds))
        self.group: ServerGroup = group_of(make("ewma", self.clock), members, self.clock)

    def run(self, count: int, pause: float = 0.01) -> Counter[str]:
        seen: Counter[str] = Counter()
        for _ in range(count):
            lease = self.group.pick(Context())
            assert lease is not None
            name = lease.server.name
            seen[name] += 1
            self.clock.time += pause
            if name in self.failing:
                lease.release(Outcome.FAILED)
            else:
                lease.release(Outcome.OK, self.seconds[name])
        return seen

    def score(self, name: str) -> float:
        return next(v for s, v, _ in self.group.balancer.scores(Context()) if s.name == name)


def test_prefers_the_fast_server() -> None:
    world = World({"s0": 0.010, "s1": 0.100})
    world.run(20)
    assert world.run(200)["s0"] >= 198


def test_a_slow_server_is_tried_again_and_recovers() -> None:
    world = World({"s0": 0.010, "s1": 0.100})
    world.run(20)
    world.seconds["s1"] = 0.010
    seen = world.run(10_000)  # 100 seconds
    assert seen["s1"] > 2_000


def test_a_slower_answer_counts_at_once_a_faster_one_slowly() -> None:
    world = World({"s0": 0.010})
    world.run(50)
    low = world.score("s0")
    world.seconds["s0"] = 1.0
    world.run(1)
    assert world.score("s0") == pytest.approx(1.0, rel=0.01)
    world.seconds["s0"] = 0.010
    world.run(1)
    assert world.score("s0") > 0.9
    world.run(10_000)
    assert world.score("s0") == pytest.approx(low, rel=0.2)


def test_a_failure_costs_the_penalty() -> None:
    world = World({"s0": 0.010, "s1": 0.010})
    world.run(20)
    world.failing = {"s1"}
    seen = world.run(300)
    assert 1 <= seen["s1"] <= 2
    assert world.score("s1") > 10 * world.score("s0")


def test_what_was_not_measured_says_nothing() -> None:
    world = World({"s0": 0.010, "s1": 0.010})
    world.run(20)
    before = world.score("s0")
    lease = world.group.take(world.group.servers["s0"])
    assert lease is not None
    lease.release(Outcome.NEUTRAL)
    assert world.score("s0") == before


def test_a_new_server_is_average() -> None:
    world = World({"s0": 0.010, "s1": 0.050})
    world.run(30, pause=0.0)
    world.group.add(server("s2"))
    assert 0.009 < world.score("s2") < 0.051
    notes = {s.name: note for s, _, note in world.group.balancer.scores(Context())}
    assert "not measured yet" in notes["s2"] and "not measured" not in notes["s0"]


def test_a_server_that_comes_back_starts_anew() -> None:
    world = World({"s0": 0.010, "s1": 5.0})
    world.run(30)
    world.group.set_admin("s1", AdminState.MAINT)
    world.group.set_admin("s1", AdminState.READY)
    assert world.score("s1") < 1.0


def test_load_counts_too() -> None:
    world = World({"s0": 0.010, "s1": 0.010})
    world.run(50, pause=0.0)
    for _ in range(100):
        assert world.group.pick(Context()) is not None
    active = [s.active for s in world.group.listed]
    assert abs(active[0] - active[1]) <= 2


@pytest.mark.parametrize("seconds", [60.0, 3600.0, 1e6])
def test_a_clock_that_is_set_back_changes_no_average(seconds: float) -> None:
    world = World({"s0": 0.010, "s1": 0.020})
    world.run(200)
    world.clock.time -= seconds
    world.seconds.update(s0=0.005, s1=0.015)
    world.run(200)
    assert world.group.balancer_errors == 0
    assert world.score("s0") < 0.05
    assert world.score("s1") < 0.05
