"""Passive health by itself: what ejects, for how long, and what is forgiven."""

from __future__ import annotations

from statistics import fmean, median, pstdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproxy.config.model import PassiveSpec
from lbproxy.health.passive import PassiveHealth, _median_without, _others


def judge(may_eject=lambda server: True, **options) -> PassiveHealth[str]:
    return PassiveHealth(PassiveSpec(**options), may_eject)


def fail(health: PassiveHealth[str], times: int, now: float = 0.0, server: str = "a"):
    """The last of so many failures."""
    result = None
    for _ in range(times):
        assert result is None
        result = health.failed(server, "connect_failed", now)
    return result


def test_a_run_ejects() -> None:
    health = judge(errors=3)
    assert fail(health, 2) is None
    ejection = health.failed("a", "status 503", 7.0)
    assert ejection is not None
    assert (ejection.server, ejection.seconds, ejection.until) == ("a", 10.0, 17.0)
    assert ejection.reason == "3 failures in a row, the last: status 503"


def test_a_success_breaks_the_run() -> None:
    health = judge(errors=3)
    for _ in range(10):
        assert fail(health, 2) is None
        health.succeeded("a", 0.1)


def test_servers_are_judged_apart() -> None:
    health = judge(errors=3)
    for _ in range(2):
        for server in "abc":
            assert health.failed(server, "x", 0.0) is None


def test_no_run_without_errors() -> None:
    assert fail(judge(errors=0, latency=3.0), 1000) is None


def test_what_comes_in_while_it_is_out_changes_nothing() -> None:
    health = judge(errors=2)
    assert fail(health, 2)
    assert fail(health, 100) is None
    health.returned("a", 10.0)
    assert health.failed("a", "x", 10.0).times == 2  # the trial, not the hundred


def test_ejections_grow_and_are_capped() -> None:
    health = judge(errors=1, eject=10.0, eject_max=35.0)
    now, lengths = 0.0, []
    for _ in range(5):
        ejection = health.failed("a", "x", now)
        lengths.append(ejection.seconds)
        now = ejection.until
        health.returned("a", now)
    assert lengths == [10, 20, 30, 35, 35]


@pytest.mark.parametrize(("in_service", "times"), [(9, 4), (10, 3), (25, 2), (39, 1), (1000, 1)])
def test_each_ejection_is_forgiven_after_a_while(in_service: float, times: int) -> None:
    health = judge(errors=1, eject=10.0)
    now = 0.0
    for _ in range(3):
        now = health.failed("a", "x", now).until
        health.returned("a", now)
    health.succeeded("a", 0.1)
    assert health.failed("a", "x", now + in_service).times == times


def test_a_trial_ends_with_a_success() -> None:
    health = judge(errors=3)
    assert fail(health, 3)
    health.returned("a", 10.0)
    health.succeeded("a", 0.1)
    assert fail(health, 2, 11.0) is None
    assert fail(health, 1, 11.0).times == 2


def test_an_ejection_may_be_forbidden_and_the_run_begins_anew() -> None:
    allowed: set[str] = set()
    health = judge(allowed.__contains__, errors=3)
    assert fail(health, 5) is None
    assert health.refused == 1
    allowed.add("a")
    assert fail(health, 1) is not None


def test_forget() -> None:
    health = judge(errors=3)
    fail(health, 2)
    health.forget("a")
    health.forget("never there")
    assert fail(health, 2) is None


# -- outliers


def rates(health: PassiveHealth[str], shares: dict[str, float], requests: int = 200) -> list[str]:
    for server, share in shares.items():
        for n in range(requests):
            if n < share * requests:
                health.succeeded(server, 0.01)
            else:
                health.failed(server, "x", 0.0)
    return [ejection.server for ejection in health.judge(1.0)]


FIVE = dict.fromkeys("bcdef", 1.0)


@pytest.mark.parametrize(
    ("shares", "out"),
    [
        ({"a": 0.5, **FIVE}, ["a"]),
        ({"a": 0.9, **FIVE}, ["a"]),
        ({"a": 0.99, **FIVE}, []),  # no difference worth an ejection
        ({"a": 0.0, **dict.fromkeys("bcdef", 0.0)}, []),  # all are equally bad
        ({"a": 0.5, "b": 0.5, **dict.fromkeys("cdefgh", 1.0)}, ["a", "b"]),
        ({"a": 0.8, "b": 0.9, "c": 0.85, "d": 0.95}, []),  # they differ, but not by much for them
    ],
)
def test_success_rates(shares: dict[str, float], out: list[str]) -> None:
    assert rates(judge(errors=0, success_rate=True), shares) == out


@pytest.mark.parametrize(("requests", "out"), [(10, []), (1000, ["a"])])
def test_a_few_requests_say_little(requests: int, out: list[str]) -> None:
    health = judge(errors=0, success_rate=True, min_requests=10)
    assert rates(health, {"a": 0.8, **dict.fromkeys("bcdef", 0.9)}, requests) == out


def test_too_few_servers_or_requests_say_nothing() -> None:
    health = judge(errors=0, success_rate=True, min_servers=4)
    assert rates(health, {"a": 0.0, "b": 1.0, "c": 1.0}) == []
    assert rates(health, {"a": 0.0, **FIVE}, requests=50) == []
    assert rates(health, {"a": 0.0, **FIVE}, requests=50) == []  # intervals do not add up
    assert rates(health, {"a": 0.0, **FIVE}) == ["a"]


def slow(health: PassiveHealth[str], seconds: dict[str, float]) -> list[str]:
    for server, time in seconds.items():
        for _ in range(100):
            health.succeeded(server, time)
    return [ejection.server for ejection in health.judge(1.0)]


@pytest.mark.parametrize(
    ("seconds", "out"),
    [
        ({"a": 0.5, "b": 0.1, "c": 0.1}, ["a"]),
        ({"a": 0.25, "b": 0.1, "c": 0.1}, []),
        ({"a": 0.009, "b": 0.001, "c": 0.001}, []),  # below latency_min
        ({"a": 5.0, "b": 4.0, "c": 0.1, "d": 0.1, "e": 0.1, "f": 0.1}, ["a", "b"]),
        ({"a": 5.0, "b": 0.1}, []),  # two cannot be compared
    ],
)
def test_latency(seconds: dict[str, float], out: list[str]) -> None:
    assert slow(judge(errors=0, latency=3.0), seconds) == out


def test_unmeasured_answers_have_no_latency() -> None:
    health = judge(errors=0, latency=3.0)
    assert slow(health, {"a": 5.0, "b": 0.1, "c": -1.0, "d": -1.0}) == []


def test_the_reason_is_for_people() -> None:
    health = judge(errors=0, latency=3.0, success_rate=True)
    for server, time in {"a": 0.5, "b": 0.1, "c": 0.1}.items():
        for _ in range(100):
            health.succeeded(server, time)
    assert health.judge(1.0)[0].reason == "answers in 0.5 s, the others in 0.1 s"
    assert health.compares
    assert not judge().compares


@given(st.lists(st.floats(0, 1), min_size=2, max_size=30))
def test_the_others(values: list[float]) -> None:
    for i, (mean, spread) in _others(list(enumerate(values))).items():
        rest = values[:i] + values[i + 1 :]
        assert mean == pytest.approx(fmean(rest), abs=1e-9)
        assert spread == pytest.approx(pstdev(rest), abs=1e-6)


@given(st.lists(st.floats(0, 100), min_size=2, max_size=30))
def test_the_median_of_the_others(values: list[float]) -> None:
    order = sorted(values)
    for i, value in enumerate(values):
        assert _median_without(order, value) == pytest.approx(median(values[:i] + values[i + 1 :]))


@given(
    st.integers(1, 5),
    st.lists(st.tuples(st.sampled_from("abcd"), st.booleans(), st.floats(0, 30)), max_size=300),
)
def test_any_history(errors: int, events: list[tuple[str, bool, float]]) -> None:
    """Nobody is ejected twice at once, without a failure, or for longer than allowed."""
    health = judge(errors=errors, eject=5.0, eject_max=20.0)
    out: dict[str, float] = {}
    runs = dict.fromkeys("abcd", 0)
    now = 0.0
    for server, good, pause in events:
        now += pause
        for back in [s for s, until in out.items() if until <= now]:
            del out[back]
            health.returned(back, now)
            runs[back] = errors - 1  # on trial
        if good:
            health.succeeded(server, 0.1)
            runs[server] = 0
            continue
        ejection = health.failed(server, "x", now)
        if server in out:
            assert ejection is None
            continue
        runs[server] += 1
        assert (ejection is not None) == (runs[server] >= errors)
        if ejection is not None:
            assert 5.0 <= ejection.seconds <= 20.0
            out[server] = ejection.until


def test_an_outlier_that_must_stay_is_counted() -> None:
    """The others would be too few without it."""
    stay = judge(lambda server: server != "c", latency=3.0, latency_min=0.0, min_requests=2)
    for server, seconds in [("a", 0.1), ("b", 0.1), ("c", 9.0), ("d", 0.1), ("e", 0.1)]:
        for _ in range(5):
            stay.succeeded(server, seconds)
    assert stay.judge(10.0) == []
    assert stay.refused == 1
