"""The laws of a rate, for both methods, on a virtual clock."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproxy.limits.asking import Charge, Method, charge_all, first_refusal
from lbproxy.limits.bucket import Buckets
from lbproxy.limits.cells import Cells
from lbproxy.limits.rate import Rate
from lbproxy.limits.window import PARTS, SLICES, Windows

RATES = st.builds(
    Rate,
    amount=st.integers(1, 50).map(float),
    seconds=st.sampled_from([0.5, 1.0, 10.0, 60.0]),
    burst=st.integers(1, 60).map(float),
)
STEPS = st.lists(
    st.tuples(st.floats(0, 20, allow_nan=False), st.integers(1, 4)), min_size=1, max_size=80
)


def table(keys: int = 1000, extra: int = 0) -> Cells:
    return Cells(memoryview(bytearray(Cells.size(keys, extra))), extra, b"secret")


def bucket(rate: Rate) -> Buckets:
    return Buckets(table(), "one", rate)


def window(rate: Rate) -> Windows:
    return Windows(table(extra=SLICES), "one", rate)


def take(method: Method, key: str, cost: float, now: float) -> float:
    """Ask, and charge if it may be; the seconds to wait."""
    ident = method.ident(key)
    wait = method.ask(ident, cost, now)
    if wait == 0:
        method.charge(ident, cost, now)
    return wait


def run(method: Method, steps: list[tuple[float, int]]) -> list[tuple[float, int, bool]]:
    """Time, cost and whether it passed, of each step."""
    now, found = 1000.0, []
    for pause, cost in steps:
        now += pause
        found.append((now, cost, take(method, "k", cost, now) == 0))
    return found


@given(RATES, STEPS)
def test_a_bucket_never_gives_more_than_rate_and_burst(
    rate: Rate, steps: list[tuple[float, int]]
) -> None:
    passed = [(at, cost) for at, cost, ok in run(bucket(rate), steps) if ok]
    for i, (start, _) in enumerate(passed):
        for j in range(i, len(passed)):
            given_ = sum(cost for _, cost in passed[i : j + 1])
            allowed = (passed[j][0] - start) * rate.amount / rate.seconds + rate.burst
            assert given_ <= allowed + 1e-6


@given(RATES, STEPS)
def test_a_bucket_never_gives_fewer_than_it_holds(
    rate: Rate, steps: list[tuple[float, int]]
) -> None:
    level, before = rate.burst, 1000.0  # an independent model: a level that rises
    for at, cost, ok in run(bucket(rate), steps):
        level = min(rate.burst, level + (at - before) * rate.amount / rate.seconds)
        before = at
        if abs(level - cost) > 1e-6:
            assert ok == (cost <= level), (at, cost, level)
        if ok:
            level -= cost


@given(RATES, STEPS)
def test_a_window_never_gives_more_than_its_count(
    rate: Rate, steps: list[tuple[float, int]]
) -> None:
    passed = [(at, cost) for at, cost, ok in run(window(rate), steps) if ok]
    for start, _ in passed:
        within = [cost for at, cost in passed if start <= at < start + rate.seconds]
        assert sum(within) <= rate.burst


@given(RATES, STEPS)
def test_a_window_refuses_only_who_used_it_up(rate: Rate, steps: list[tuple[float, int]]) -> None:
    passed: list[tuple[float, int]] = []
    for at, cost, ok in run(window(rate), steps):
        span = rate.seconds * (1 + 1 / PARTS) + 1e-6
        used = sum(one for then, one in passed if then > at - span)
        assert ok or used + cost > rate.burst
        if ok:
            passed.append((at, cost))


@pytest.mark.parametrize("make", [bucket, window])
@given(rate=RATES, steps=STEPS)
def test_what_is_refused_costs_nothing_and_the_wait_is_exact(
    make: type[Method], rate: Rate, steps: list[tuple[float, int]]
) -> None:
    method = make(rate)  # type: ignore[call-arg]
    ident = method.ident("k")
    now = 1000.0
    for pause, cost in steps:
        now += pause
        before = (method.left(ident, now), method.reset(ident, now))
        wait = method.ask(ident, cost, now)
        assert (method.left(ident, now), method.reset(ident, now)) == before
        if wait == inf:
            assert cost > rate.burst
        elif wait:
            assert method.ask(ident, cost, now + wait + 2e-6) == 0
        else:
            method.charge(ident, cost, now)
            assert method.left(ident, now) >= -1e-6


def test_who_keeps_trying_is_served_at_the_rate() -> None:
    method = bucket(Rate(100, 10, 50))
    passed = sum(take(method, "k", 1, 1000 + n / 1000) == 0 for n in range(60_001))
    assert 50 + 600 - 1 <= passed <= 50 + 600


def test_keys_and_names_are_apart() -> None:
    cells = table()
    one, two = (Buckets(cells, name, Rate(1, 60, 1)) for name in ("one", "two"))
    assert take(one, "a", 1, 0) == 0 and take(one, "a", 1, 0) > 0
    assert take(one, "b", 1, 0) == 0 and take(two, "a", 1, 0) == 0
    assert one.forget(one.ident("a")) and take(one, "a", 1, 0) == 0
    assert not one.forget(one.ident("never"))


def test_a_debt_is_paid_before_anything_passes() -> None:
    method = bucket(Rate(10, 1, 10))
    ident = method.ident("k")
    method.charge(ident, 30, 100.0)
    assert method.left(ident, 100.0) == pytest.approx(-20)
    assert method.ask(ident, 1, 100.0) == pytest.approx(2.1)
    assert method.ask(ident, 11, 100.0) == inf


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 3)), max_size=60))
def test_all_are_asked_before_any_is_charged(asks: list[tuple[int, int]]) -> None:
    cells = table()
    methods = [Buckets(cells, str(n), Rate(n + 1, 10, 2 * n + 3)) for n in range(3)]
    for skipped, cost in asks:
        charges = [
            Charge(one, one.ident("k"), cost) for n, one in enumerate(methods) if n != skipped
        ]
        before = [one.left(one.ident("k"), 0.0) for one in methods]
        found = first_refusal(charges, 0.0)
        if found is None:
            charge_all(charges, 0.0)
        after = [one.left(one.ident("k"), 0.0) for one in methods]
        for n in range(3):
            paid = 0 if found is not None or n == skipped else cost
            assert after[n] == pytest.approx(before[n] - paid)
        if found is not None:
            waits = [one.method.ask(one.ident, one.cost, 0.0) for one in charges]
            assert found[1] == max(waits) > 0
