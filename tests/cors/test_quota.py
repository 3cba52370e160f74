"""Quotas and usage of keys and origins."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lbproxy.cors.quota import KEPT_S, Allowance, Quota, UsageTable
from lbproxy.limits.cells import Cells
from lbproxy.limits.rate import Rate
from lbproxy.limits.window import SLICES

NOW = 1_800_000_000.0


def cells() -> Cells:
    return Cells(memoryview(bytearray(Cells.size(100, SLICES))), SLICES, b"secret")


def allowance(quota: Quota, memory: Cells | None = None, name: str = "app") -> Allowance:
    return Allowance(memory or cells(), name, quota, "key")


def test_a_quota_of_requests() -> None:
    one = allowance(Quota(requests=Rate(2, 60, 2)))
    for _ in range(2):
        assert one.refusal(NOW) is None
        one.begin(NOW)
    refusal = one.refusal(NOW)
    assert refusal is not None
    assert (refusal.unit, refusal.owner) == ("requests", "key")
    assert 0 < refusal.seconds <= 60 * 9 / 8
    assert one.refusal(NOW + refusal.seconds) is None
    assert one.used(NOW) == {"requests": 2}


def test_a_quota_of_bytes_ends_calls() -> None:
    one = allowance(Quota(bytes=Rate(1000, 60, 1000)))
    assert one.passed(1000, NOW)
    assert not one.passed(1, NOW)
    refusal = one.refusal(NOW)
    assert refusal is not None
    assert refusal.unit == "bytes"


@given(
    amount=st.integers(1, 20),
    steps=st.lists(st.floats(0, 30, allow_nan=False), max_size=60),
)
def test_no_window_has_more_than_the_quota(amount: int, steps: list[float]) -> None:
    one = allowance(Quota(requests=Rate(amount, 60, amount)))
    now, begun = NOW, []
    for step in steps:
        now += step
        if one.refusal(now) is None:
            one.begin(now)
            begun.append(now)
    for start in begun:
        assert sum(start <= at < start + 60 for at in begun) <= amount


def test_another_amount_keeps_what_is_used() -> None:
    memory = cells()
    allowance(Quota(requests=Rate(9, 60, 9)), memory).begin(NOW)
    assert allowance(Quota(requests=Rate(1, 60, 1)), memory).refusal(NOW) is not None
    assert allowance(Quota(requests=Rate(2, 60, 2)), memory).refusal(NOW) is None
    assert allowance(Quota(requests=Rate(1, 60, 1)), memory, "other").refusal(NOW) is None


def test_usage() -> None:
    table = UsageTable(cells())
    assert table.read("app").requests == 0
    table.add("app", NOW, requests=1.0)
    table.add("app", NOW + 5, requests=1.0, bytes_out=7.0)
    found = table.read("app")
    assert (found.requests, found.bytes_out, found.refused) == (2, 7, 0)
    assert (found.first, found.last) == (NOW, NOW + 5)
    assert table.read("other").last == 0


def test_usage_outlives_windows_when_there_is_no_room() -> None:
    memory = Cells(memoryview(bytearray(Cells.size(1, SLICES))), SLICES, b"secret")
    table = UsageTable(memory)
    table.add("app", NOW, requests=1.0)
    for number in range(100):
        allowance(Quota(requests=Rate(1, 60, 1)), memory, str(number)).begin(NOW)
    assert table.read("app").requests == 1
    assert KEPT_S > 366 * 86400


def test_an_empty_quota_is_false() -> None:
    assert not Quota()
    for one in (Quota(concurrent=1), Quota(Rate(1, 1, 1)), Quota(bytes=Rate(1, 1, 1))):
        assert one
