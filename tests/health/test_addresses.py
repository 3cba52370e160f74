"""Several addresses of one name: each rises and falls by itself."""

from __future__ import annotations

from lbproxy.health.addresses import AddressHealth
from lbproxy.health.state import Result

GOOD, BAD = Result(True, "ok", 0.1), Result(False, "refused", 0.2)


def test_one_that_fails_is_excluded_and_the_server_passes() -> None:
    health = AddressHealth(1, 1)
    unusable, result = health.judge({"a": GOOD, "b": BAD})
    assert unusable == {"b"}
    assert (result.ok, result.note, result.seconds) == (True, "b: refused", 0.2)


def test_rise_and_fall_count_for_each() -> None:
    health = AddressHealth(2, 3)
    health.judge({"a": GOOD, "b": GOOD})
    found = [health.judge({"a": GOOD, "b": one})[0] for one in (BAD, BAD, BAD, GOOD, GOOD)]
    assert found == [set(), set(), {"b"}, {"b"}, set()]


def test_when_all_fail_none_is_excluded_and_the_server_fails() -> None:
    health = AddressHealth(1, 1)
    unusable, result = health.judge({"a": BAD, "b": BAD})
    assert (unusable, result.ok) == (set(), False)
    assert result.note == "a: refused; b: refused"


def test_an_address_that_leaves_and_comes_back_is_fresh() -> None:
    health = AddressHealth(2, 3)
    health.judge({"a": GOOD, "b": BAD})
    health.judge({"a": GOOD})
    assert health.judge({"a": GOOD, "b": GOOD})[0] == set()


def test_the_announcements_of_an_address_that_passes_hold() -> None:
    health = AddressHealth(1, 1)
    announced = Result(True, "", 0.1, weight=7, drain=True)
    _, result = health.judge({"a": BAD, "b": announced})
    assert (result.weight, result.drain) == (7, True)


def test_a_certain_failure_is_certain_only_at_every_address() -> None:
    certain = Result(False, "replica", 0.1, certain=True)
    assert AddressHealth(1, 3).judge({"a": certain, "b": certain})[1].certain
    assert not AddressHealth(1, 3).judge({"a": certain, "b": BAD})[1].certain
