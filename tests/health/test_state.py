"""The rise and fall machine."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproxy.health.state import HealthState, Result, Transition

OK, BAD = Result(True, "fine"), Result(False, "broken")


def run(state: HealthState, word: str) -> str:
    """``+`` and ``-`` as results; U and D for transitions, . for none."""
    out = ""
    for char in word:
        found = state.result(OK if char == "+" else BAD)
        out += "." if found is None else "UD"[not found.healthy]
    return out


@pytest.mark.parametrize(
    ("rise", "fall", "results", "verdicts"),
    [
        (2, 3, "-", "D"),  # the first check alone decides
        (2, 3, "+---", "...D"),
        (2, 3, "+--+--+---", ".........D"),
        (2, 3, "-++", "D.U"),
        (2, 3, "-+-+-++", "D.....U"),
        (2, 3, "-++--", "D.U.."),  # up again needs the full fall
        (2, 3, "-++---", "D.U..D"),
        (1, 1, "+-+-", ".DUD"),
        (3, 1, "-+++-", "D..UD"),
    ],
)
def test_table(rise: int, fall: int, results: str, verdicts: str) -> None:
    assert run(HealthState(rise, fall), results) == verdicts


def test_a_transition_says_why() -> None:
    state = HealthState(2, 3)
    assert state.result(BAD) == Transition(False, "broken", 1)
    state.result(OK)
    assert state.result(OK) == Transition(True, "fine", 2)


def test_a_certain_failure_is_believed_at_once() -> None:
    certain = Result(False, "not the primary", certain=True)
    state = HealthState(2, 3)
    state.result(OK)
    assert state.result(certain) == Transition(False, "not the primary", 1)
    assert state.result(certain) is None
    state.result(OK)
    assert state.result(certain) is None, "while down it only forgets successes"
    assert run(state, "++") == ".U"


@pytest.mark.parametrize(
    ("results", "verdicts"),
    [("+", "U"), ("-", "D"), ("-+", "D."), ("-++", "D.U"), ("+--", "U.."), ("+---", "U..D")],
)
def test_presumed_down(results: str, verdicts: str) -> None:
    assert run(HealthState(2, 3, False, presumed=True), results) == verdicts


def test_reset_makes_fresh_again() -> None:
    state = HealthState(2, 3)
    assert run(state, "+--") == "..."
    state.reset()
    assert run(state, "-") == "D"
    state.reset()
    assert run(state, "+") == "."  # a server that is down needs its rise all the same


def test_intervals() -> None:
    state = HealthState(2, 3)
    run(state, "+")
    assert state.interval(2, 0.5, 10) == 2
    run(state, "-")
    assert state.interval(2, 0.5, 10) == 0.5
    assert state.interval(2) == 2
    run(state, "--")
    assert state.interval(2, 0.5, 10) == 10
    assert state.interval(2) == 2
    run(state, "+")
    assert state.interval(2, 0.5, 10) == 0.5


def test_rise_and_fall_are_positive() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        HealthState(0, 1)


@given(st.integers(1, 4), st.integers(1, 4), st.text("+-", max_size=40))
def test_laws(rise: int, fall: int, results: str) -> None:
    state = HealthState(rise, fall)
    healthy = True
    for n in range(len(results)):
        found = run(state, results[n])
        if found != ".":
            assert state.healthy is not healthy  # only changes are reported
            need = rise if state.healthy else (1 if n == 0 else fall)
            assert results[: n + 1].endswith(results[n] * need)
        healthy = state.healthy
        if n + 1 >= fall and results[: n + 1].endswith("-" * fall):
            assert not healthy
        if n + 1 >= rise and results[: n + 1].endswith("+" * rise):
            assert healthy
