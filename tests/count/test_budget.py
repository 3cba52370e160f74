"""The budgets: reading, writing, and what they refuse."""

from __future__ import annotations

import pytest

from tests.count.budget import BUDGETS, Budget, complaints, parse, render, unexplained
from tests.count.measure import Figure
from tests.count.rows import ROWS

BUDGET = Budget(
    {"python": "3.11.7 (May  9 2026 07:40:00)", "glibc": "2.36"},
    ("first figures",),
    {"same": (60_000.0, 4.3), "tls-connection": (3_000_000.0, 38.0)},
)


def figure(instructions: float, calls: float, row: str = "same") -> Figure:
    return Figure(row, "lbproxy", instructions, calls)


def test_a_budget_is_read_as_it_was_written() -> None:
    assert parse(render(BUDGET)) == BUDGET


def test_new_figures_come_with_a_reason() -> None:
    new = BUDGET.with_figures([figure(70_000, 5)], {"glibc": "2.37"}, "a new header")
    assert new.versions == {"glibc": "2.37"}
    assert new.reasons == ("first figures", "a new header")
    assert new.rows == {"same": (70_000, 5), "tls-connection": (3_000_000, 38)}


@pytest.mark.parametrize("measured", [(60_000, 4.3), (61_700, 4.7), (30_000, 2.0)])
def test_noise_and_improvements_pass(measured: tuple[float, float]) -> None:
    assert complaints(BUDGET.rows, [figure(*measured)]) == []


def test_a_rise_of_more_than_three_percent_fails() -> None:
    (found,) = complaints(BUDGET.rows, [figure(62_000, 4.3)])
    assert found == "same: 62,000 instructions are 3.3% above the budget of 60,000"


def test_an_added_system_call_fails() -> None:
    (found,) = complaints(BUDGET.rows, [figure(60_000, 5.3)], "parent commit's")
    assert found == "same: 5.30 system calls are more than the parent commit's of 4.30"


def test_a_row_without_a_budget_fails() -> None:
    assert complaints(BUDGET.rows, [figure(1, 1, "new")]) == ["new: the budget has no such row"]


def test_a_higher_budget_needs_a_reason() -> None:
    higher = {**BUDGET.rows, "same": (65_000.0, 4.3)}
    silent = Budget(BUDGET.versions, BUDGET.reasons, higher)
    assert unexplained(BUDGET, silent) == ["same: its budget rose, and [reasons] has no new line"]
    assert unexplained(BUDGET, Budget(BUDGET.versions, ("first figures", "why"), higher)) == []
    replaced = Budget(BUDGET.versions, ("why",), higher)
    assert unexplained(BUDGET, replaced) == []
    more = Budget(BUDGET.versions, BUDGET.reasons, {**BUDGET.rows, "same": (60_000.0, 5.3)})
    assert len(unexplained(BUDGET, more)) == 1
    lower = Budget(BUDGET.versions, BUDGET.reasons, {**BUDGET.rows, "same": (50_000.0, 3.0)})
    assert unexplained(BUDGET, lower) == []


def test_every_row_has_a_budget() -> None:
    budget = parse(BUDGETS.read_text())
    assert set(budget.rows) == set(ROWS)
    assert budget.reasons and budget.versions
