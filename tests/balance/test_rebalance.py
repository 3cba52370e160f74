"""The plan of a rebalancing: laws."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lbproxy.balance.rebalance import Load, plan

LOADS = st.lists(
    st.builds(
        Load,
        server=st.just(0),
        active=st.integers(0, 500),
        weight=st.integers(0, 9),
        eligible=st.booleans(),
    ),
    max_size=8,
).map(lambda loads: [Load(n, one.active, one.weight, one.eligible) for n, one in enumerate(loads)])
TOLERANCE = st.sampled_from((0.0, 0.05, 0.3, 1.0))


def takes_part(load: Load[int]) -> bool:
    return load.eligible and load.weight > 0


def test_from_one_server_to_two() -> None:
    assert plan([Load("a", 100, 1), Load("b", 0, 1)]) == {"a": 50}
    assert plan([Load("a", 100, 3), Load("b", 0, 1)]) == {"a": 25}
    assert plan([Load("a", 3, 1), Load("b", 2, 1)]) == {}
    assert plan([Load("a", 104, 1), Load("b", 96, 1)], 0.05) == {}
    assert plan([Load("a", 100, 1), Load("b", 0, 1, eligible=False)]) == {}
    assert plan([Load("a", 100, 0), Load("b", 0, 1)]) == {}
    assert plan([]) == {}


@given(LOADS, TOLERANCE)
def test_only_what_is_above_a_share_moves(loads: list[Load[int]], tolerance: float) -> None:
    there = [load for load in loads if takes_part(load)]
    total = sum(load.active for load in there)
    weights = sum(load.weight for load in there)
    moves = plan(loads, tolerance)
    for load in loads:
        count = moves.get(load.server, 0)
        if count:
            assert takes_part(load)
            assert (load.active - count) * weights >= total * load.weight, "more than needed"
            assert count <= load.active
    room = sum(
        max(0, -(-total * load.weight // weights) - load.active)
        for load in there
    )  # fmt: skip
    assert sum(moves.values()) <= room, "where should they go?"


@given(LOADS, TOLERANCE)
def test_it_converges_at_once(loads: list[Load[int]], tolerance: float) -> None:
    """What moves and arrives where most is missing leaves nothing to do."""
    moves = plan(loads, tolerance)
    active = {load.server: load.active - moves.get(load.server, 0) for load in loads}
    there = [load for load in loads if takes_part(load)]
    total = sum(load.active for load in there)
    weights = sum(load.weight for load in there)
    for _ in range(sum(moves.values())):
        poorest = max(
            there, key=lambda one: total * one.weight / weights - active[one.server]
        )  # fmt: skip
        active[poorest.server] += 1
    after = [Load(one.server, active[one.server], one.weight, one.eligible) for one in loads]
    assert plan(after, tolerance) == {}
