"""The share that an overloaded process refuses."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from lbproxy.health.overload import MOST, Overload, fits_queue


def steps(
    overload: Overload, count: int, pressure: float, traffic: dict[int, int]
) -> dict[int, float]:
    """The share of each priority that was refused in the last step."""
    found: dict[int, float] = {}
    for _ in range(count):
        found = {
            priority: sum(overload.refuses(priority) for _ in range(number)) / number
            for priority, number in traffic.items()
        }
        overload.step(pressure)
    return found


def test_nothing_is_refused_below_the_limit() -> None:
    assert steps(Overload(Random(1).random), 100, 0.99, {0: 50, 9: 50}) == {0: 0, 9: 0}


def test_the_share_grows_with_the_load_and_shrinks_after_it() -> None:
    overload = Overload(Random(1).random)
    shares = []
    for pressure in (1.1, 1.1, 3.0, 3.0):
        steps(overload, 1, pressure, {0: 50})
        shares.append(overload.share)
    assert shares == sorted(shares) and shares[3] - shares[2] > shares[1] - shares[0]
    steps(overload, 100, 9.0, {0: 50})
    assert overload.share == MOST
    steps(overload, 100, 0.5, {0: 50})
    assert overload.share == 0
    assert steps(overload, 2, 0.5, {0: 50}) == {0: 0}


def test_worse_priorities_go_first() -> None:
    overload = Overload(Random(1).random)
    overload.share = 0.5
    found = steps(overload, 30, 0.9, {-5: 100, 0: 100, 5: 200})
    assert found[-5] == 0 and found[0] == 0 and found[5] == 1
    overload.share = 0.75
    found = steps(overload, 30, 0.9, {-5: 100, 0: 100, 5: 200})
    assert found[-5] == 0 and found[0] == 1 and found[5] == 1


def test_a_priority_beyond_those_of_routes_is_the_nearest_of_them() -> None:
    """Filters may set any number."""
    overload = Overload(Random(1).random)
    overload.share = 0.5
    found = steps(overload, 30, 0.9, {-1000: 100, 0: 100, 1000: 200})
    assert found[-1000] == 0 and found[1000] == 1


def test_within_a_priority_chance_decides() -> None:
    overload = Overload(Random(7).random)
    overload.share = 0.3
    found = steps(overload, 40, 0.9, {0: 2000})
    assert 0.25 < found[0] < 0.35


@given(
    st.lists(st.floats(0, 50), max_size=60),
    st.dictionaries(st.integers(-9, 9), st.integers(1, 30), max_size=6),
)
def test_the_share_is_a_share(loads: list[float], traffic: dict[int, int]) -> None:
    overload = Overload(Random(1).random)
    for pressure in loads:
        steps(overload, 1, pressure, traffic)
        assert 0 <= overload.share <= MOST
        chances = [overload._chances.get(one, 0.0) for one in sorted(traffic)]
        assert chances == sorted(chances)  # a worse priority is never better off


def test_places_of_a_queue() -> None:
    assert [fits_queue(0.49, 0.5, one) for one in (9, 0, -9)] == [True, True, True]
    assert [fits_queue(0.5, 0.5, one) for one in (9, 0, -9)] == [False, True, True]
    assert [fits_queue(0.75, 0.5, one) for one in (9, 0, -9)] == [False, False, True]
    assert [fits_queue(1.0, 0.5, one) for one in (9, 0, -9)] == [False, False, False]


def test_the_first_requests_of_an_overloaded_process_are_refused_by_its_share() -> None:
    """The priorities are not known yet: each has the same chance."""
    overload = Overload(Random(1).random)
    for _ in range(200):
        overload.step(4.0)
    assert overload.share == MOST
    refused = {one: sum(overload.refuses(one) for _ in range(400)) for one in (-9, 0, 9)}
    assert all(0.85 * MOST < count / 400 <= 1 for count in refused.values())
