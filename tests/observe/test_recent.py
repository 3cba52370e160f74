"""Rates and percentiles of what is followed from outside."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproxy.observe.recent import Recent, ended, failed, quantile

BOUNDS = [0.1, 0.2, 0.4]


def state(at: float, requests: int, counts: list[int], started: float = 0.0) -> dict[str, Any]:
    return {
        "at": at,
        "process": {"started": started, "bounds": BOUNDS},
        "frontends": {
            "web": {"mode": "http", "responses": {"2xx": requests, "5xx": 0},
                    "request_seconds": {"counts": counts, "total": 0.0}},
        },
    }  # fmt: skip


def test_rates_are_over_the_last_three_seconds() -> None:
    recent = Recent()
    for second in range(20):
        recent.add(
            state(second, 10 * second if second < 15 else 150 + 100 * (second - 15), [0, 0, 0, 0])
        )
    assert recent.rate("frontends", "web", ended) == 100
    assert recent.rate("frontends", "new", ended) is None


def test_one_state_tells_no_rate() -> None:
    recent = Recent()
    recent.add(state(1, 5, [5, 0, 0, 0]))
    assert recent.rate("frontends", "web", ended) is None
    assert recent.quantile("frontends", ["web"], "request_seconds", 0.5) is None


def test_percentiles_are_over_the_last_ten_seconds() -> None:
    recent = Recent()
    for second in range(30):
        recent.add(state(second, second, [1000, second, 0, 0]))
    assert recent.times("frontends", ["web"], "request_seconds") == [0, 10, 0, 0]
    assert recent.quantile("frontends", ["web"], "request_seconds", 0.5) == pytest.approx(0.15)


def test_a_restart_forgets() -> None:
    recent = Recent()
    recent.add(state(1, 500, [0, 0, 0, 0], started=0))
    recent.add(state(2, 3, [0, 0, 0, 0], started=2))
    assert recent.rate("frontends", "web", ended) is None


def test_sessions_that_failed() -> None:
    row = {"mode": "tcp", "closes": {"ok": 5, "connect_failed": 2, "client_gone": 1}}
    assert (ended(row), failed(row)) == (8, 2)


@given(st.lists(st.integers(0, 50), min_size=4, max_size=4), st.floats(0, 1))
def test_a_quantile_is_within_its_bucket(counts: list[int], share: float) -> None:
    found = quantile(BOUNDS, counts, share)
    if not sum(counts):
        assert found is None
        return
    assert found is not None
    below = sum(c for b, c in zip(BOUNDS, counts, strict=False) if b <= found)
    assert 0 <= found <= BOUNDS[-1]
    assert below <= share * sum(counts) + max(counts)
