"""Lifetimes and ages (RFC 9111 §4.2)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproxy.cache.age import initial_age
from lbproxy.cache.dates import http_seconds
from lbproxy.cache.freshness import current_age, lifetime_of
from lbproxy.cache.targeted import response_control
from tests.cache.conftest import NOW, date, kept, request, response


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (b"Sun, 06 Nov 1994 08:49:37 GMT", 784111777),
        (b"Sunday, 06-Nov-94 08:49:37 GMT", 784111777),
        (b"Sun Nov  6 08:49:37 1994", 784111777),
        (b"Thu, 01 Jan 1970 00:00:00 GMT", 0),
        (b"Sunday, 06-Nov-80 08:49:37 GMT", 342348577),
        (b"0", None),
        (b"-1", None),
        (b"", None),
        (b"Sun, 06 Nov 1994 08:49:37", None),
        (b"Sun, 06 Nov 1994 08:49:37 UTC", None),
        (b"sun, 06 NOV 1994 08:49:37 gmt", 784111777),
        (b"SUNDAY, 06-nov-94 08:49:37 Gmt", 784111777),
        (b"sun nov  6 08:49:37 1994", 784111777),
        (b"Sun, 06 nov 1994 08:49:37 utc", None),
        (b"Sun, 31 Feb 1994 08:49:37 GMT", None),
        (b"Sun, 06 Nov 1994 24:49:37 GMT", None),
        (b"Sun, 06 Nov 0000 08:49:37 GMT", None),
        (b"Sun,  6 Nov 1994 08:49:37 GMT", None),
        (b"Sun, 06 Nov 1994 08:49:60 GMT", 784111799),
        (b"Sun, 06 Nov 1994 08:49:61 GMT", None),
    ],
)
def test_dates(text: bytes, seconds: int | None) -> None:
    assert http_seconds(text, NOW) == seconds


@given(st.integers(0, 4_000_000_000))
def test_every_second_is_read(seconds: int) -> None:
    assert http_seconds(date(seconds).encode(), NOW) == seconds


@given(st.binary(max_size=40))
def test_no_text_makes_dates_fail(text: bytes) -> None:
    http_seconds(text, NOW)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Cache_Control": "max-age=60"}, 60),
        ({"Cache_Control": "max-age=60, s-maxage=5"}, 5),
        ({"Cache_Control": "max-age=60, s-maxage=x"}, 0),
        ({"Expires": date(NOW + 60)}, 60),
        ({"Expires": date(NOW - 60)}, 0),
        ({"Expires": "0"}, 0),
        ({"Expires": [date(NOW + 60), date(NOW + 30)]}, 30),
        ({"Expires": [date(NOW + 60), "x"]}, 0),
        ({"Expires": date(NOW + 60), "Cache_Control": "max-age=9"}, 9),
        ({"Expires": date(NOW + 60), "CDN_Cache_Control": "public"}, None),
        ({"Last_Modified": date(NOW - 1000)}, 100),
        ({"Last_Modified": date(NOW - 100_000_000)}, 86400),
        ({"Last_Modified": date(NOW + 1000)}, None),
        ({"Last_Modified": "yesterday"}, None),
        ({}, None),
    ],
)
def test_lifetimes(headers: dict[str, str], seconds: float | None) -> None:
    head = response(**headers)
    found = lifetime_of(head, 200, response_control(head), NOW)
    assert (None if found is None else found.seconds) == seconds


def test_a_status_that_may_not_be_guessed_needs_public() -> None:
    head = response(302, Last_Modified=date(NOW - 1000))
    assert lifetime_of(head, 302, response_control(head), NOW) is None
    public = response(302, Last_Modified=date(NOW - 1000), Cache_Control="public")
    assert lifetime_of(public, 302, response_control(public), NOW) is not None


@pytest.mark.parametrize(
    ("headers", "asked", "age"),
    [
        ({}, 0, 0),
        ({"Age": "7"}, 0, 7),
        ({"Age": "7, 9"}, 0, 7),
        ({"Age": ["7", "9"]}, 0, 7),
        ({"Age": "-7"}, 0, 0),
        ({"Age": "x"}, 2, 2),
        ({"Age": "7"}, 2, 9),
        ({"Date": date(NOW - 50)}, 0, 50),
        ({"Date": date(NOW + 50)}, 0, 0),
        ({"Date": date(NOW - 50), "Age": "80"}, 1, 81),
        ({"Date": "x"}, 0, 0),
        ({"Date": [date(NOW - 20), "x", date(NOW - 50)]}, 0, 50),
        ({"Date": ["x", "y"]}, 0, 0),
    ],
)
def test_ages(headers: dict[str, str], asked: float, age: float) -> None:
    assert initial_age(response(**headers), NOW - asked, NOW) == age


@given(st.integers(0, 100), st.floats(0, 1e6), st.floats(0, 1e6))
def test_age_grows_by_the_time_that_passes(age: int, first: float, later: float) -> None:
    one = kept(request(), response(Cache_Control="max-age=60", ETag='"x"', Age=str(age)))
    start = current_age(one, NOW + first)
    assert start >= age
    assert current_age(one, NOW + first + later) == pytest.approx(start + later, abs=1e-3)
    assert current_age(one, NOW - 100) == age + 100, "a clock that was set back"
