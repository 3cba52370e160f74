"""Retry limits by themselves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproxy.health.breaker import WINDOW_S, RetryBudget, RetryLimit


def taken(budget: RetryBudget, now: float, tries: int = 1000) -> int:
    return sum(budget.take(now) for _ in range(tries))


def test_a_share_of_the_requests() -> None:
    budget = RetryBudget(0.2, 0.0)
    assert taken(budget, 100.0) == 0
    for n in range(100):
        budget.request(100.0 + n / 100)
    assert taken(budget, 101.0) == 20
    assert taken(budget, 101.0) == 0


def test_a_floor_whatever_comes() -> None:
    budget = RetryBudget(0.2, 3.0)
    assert taken(budget, 5.0) == 3 * WINDOW_S
    assert taken(budget, 5.0 + WINDOW_S - 1) == 0
    assert taken(budget, 5.0 + WINDOW_S) == 3 * WINDOW_S


def test_what_is_long_ago_does_not_count() -> None:
    budget = RetryBudget(0.5, 0.0)
    for second in range(20):
        budget.request(float(second))
    assert budget.requests == WINDOW_S
    assert taken(budget, 19.0) == WINDOW_S // 2
    assert taken(budget, 1e9) == 0
    assert (budget.requests, budget.retries) == (0, 0)


@given(
    st.floats(0, 2),
    st.floats(0, 5),
    st.lists(st.tuples(st.floats(0, 4), st.booleans()), max_size=200),
)
def test_any_history(share: float, floor: float, events: list[tuple[float, bool]]) -> None:
    """Never more than allowed in any window, as counted by hand."""
    budget = RetryBudget(share, floor)
    now = 1000.0
    requests: list[int] = []
    retries: list[int] = []
    for pause, retry in events:
        now += pause
        second = int(now)
        if not retry:
            budget.request(now)
            requests.append(second)
            continue
        recent = sum(second - s < WINDOW_S for s in requests)
        used = sum(second - s < WINDOW_S for s in retries)
        allowed = used + 1 <= floor * WINDOW_S + share * recent
        assert budget.take(now) is allowed
        if allowed:
            retries.append(second)


def test_so_many_at_once() -> None:
    limit = RetryLimit(2, None)
    limit.request(0.0)
    assert limit.take(0.0, False) and limit.take(0.0, False)
    assert not limit.take(0.0, False)
    assert limit.take(0.0, True)  # one of the two, once more
    assert (limit.running, limit.refused) == (2, 1)
    limit.end()
    assert limit.take(0.0, False)


@pytest.mark.parametrize("most", [0, 5])
def test_both(most: int) -> None:
    limit = RetryLimit(most, RetryBudget(0.0, 0.3))
    assert [limit.take(0.0, False) for _ in range(4)] == [True, True, True, False]
    assert limit.running == 3


def test_a_limit_with_a_budget_counts_the_requests() -> None:
    limit = RetryLimit(0, RetryBudget(0.5, 0.0))
    assert not limit.take(0.0, False)
    limit.request(0.0)
    limit.request(0.0)
    assert limit.take(0.0, False) and not limit.take(0.0, True)
    assert (limit.running, limit.refused) == (1, 2)
    RetryLimit(1, None).request(0.0)
