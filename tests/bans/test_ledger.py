"""Bans: how long they last, whom they hold, and how many there can be."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproxy.bans.ledger import Ban, Ledger
from lbproxy.bans.record import as_record, from_record


def test_times_double_up_to_the_longest() -> None:
    ledger, now, seconds = Ledger(), 1000.0, []
    for _ in range(8):
        ban = ledger.ban("192.0.2.1", now, 60, 1000, "rude")
        seconds.append(ban.until - ban.since)
        assert ledger.find("192.0.2.1", now + seconds[-1] - 1) is ban
        now += seconds[-1]
        assert ledger.find("192.0.2.1", now) is None
    assert seconds == [60, 120, 240, 480, 960, 1000, 1000, 1000]
    assert ledger.history("192.0.2.1") is ban
    assert ledger.ban("192.0.2.1", now + 999, 60, 1000, "rude").times == 9
    good = ledger.ban("192.0.2.1", now + 999 + 1000 + 1000, 60, 1000, "rude")
    assert good.times == 1 and good.until - good.since == 60


def test_attempts_do_not_lengthen_it() -> None:
    ledger = Ledger()
    first = ledger.ban("192.0.2.1", 0, 60, 1000, "rude", "why", "id")
    assert ledger.ban("192.0.2.1", 30, 60, 1000, "rude") is first
    assert (first.reason, first.request) == ("why", "id")


def test_an_ipv6_ban_holds_the_prefix() -> None:
    ledger = Ledger()
    ledger.ban("2001:db8:1:2::1", 0, 60, 60, "rude")
    assert ledger.find("2001:db8:1:2:ffff::9", 1) and not ledger.find("2001:db8:1:3::1", 1)
    ledger.ban("::ffff:192.0.2.1", 0, 60, 60, "rude")
    assert ledger.find("192.0.2.1", 1) and not ledger.find("192.0.2.2", 1)
    assert ledger.find("", 1) is None
    with pytest.raises(ValueError, match="no IP address"):
        ledger.ban("", 0, 60, 60, "rude")


def test_lifting_forgets() -> None:
    ledger = Ledger()
    ledger.ban("192.0.2.1", 0, 60, 1000, "rude")
    assert ledger.lift("192.0.2.1") and ledger.lift("192.0.2.1") is None
    assert ledger.ban("192.0.2.1", 1, 60, 1000, "rude").times == 1
    ledger.sweep(1e9)
    assert len(ledger) == 0


@given(st.lists(st.tuples(st.integers(0, 30), st.floats(0, 100)), max_size=100))
def test_it_stays_within_its_bound(steps: list[tuple[int, float]]) -> None:
    ledger, now = Ledger(10), 0.0
    for host, pause in steps:
        now += pause
        ban = ledger.ban(f"192.0.2.{host}", now, 20, 200, "rude")
        assert len(ledger) <= 10 and ban.until <= now + 200
        assert all(one.until > now for one in ledger.held(now))
    ledger.sweep(now + 1000)
    assert len(ledger) == 0 and not ledger._memory


def test_records_can_be_written_and_read() -> None:
    one, two = Ledger(), Ledger()
    one.ban("192.0.2.1", 0, 60, 1000, "rude")
    one.put(Ban("192.0.2.2", 0, 50, 3, "operator"), 100)
    for ban in one.known():
        copy = from_record(json.loads(json.dumps(as_record(ban))))
        assert copy == ban and copy is not ban
        two.put(copy, 100)
    assert two.find("192.0.2.1", 59) and two.ban("192.0.2.2", 60, 10, 100, "rude").times == 4


def test_numbers_that_are_none() -> None:
    good = {"ip": "192.0.2.1", "rule": "rude", "until": 60}
    assert from_record(good) == Ban("192.0.2.1", 0, 60, 1, "rude")
    for wrong in (math.nan, math.inf, "60", None):
        assert from_record({**good, "until": wrong}) is None
    for far in (10**400, 1e300):
        found = from_record({**good, "until": far, "times": far})
        assert found is not None and found.until == 4e9
