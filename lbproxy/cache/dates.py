"""PURE. A strict parser of the three forms of HTTP dates (RFC 9110 §5.6.7), in which case does not
matter (RFC 9111 §4.2).
"""

from __future__ import annotations

import re
from calendar import timegm
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

__all__ = ["http_seconds"]

_MONTHS: Final = b"jan feb mar apr may jun jul aug sep oct nov dec".split()
_MONTH: Final = {name: number for number, name in enumerate(_MONTHS, 1)}
_DAY: Final = rb"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_LONG_DAY: Final = rb"(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day"
_TIME: Final = rb"(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)"
_MONTH_NAME: Final = rb"(?P<month>[a-z]{3})"
_FORMS: Final = tuple(
    re.compile(form, re.IGNORECASE)
    for form in (
        _DAY + rb", (?P<day>\d\d) " + _MONTH_NAME + rb" (?P<year>\d{4}) " + _TIME + rb" GMT",
        _LONG_DAY + rb", (?P<day>\d\d)-" + _MONTH_NAME + rb"-(?P<year>\d\d) " + _TIME + rb" GMT",
        _DAY + b" " + _MONTH_NAME + rb" (?P<day>[ \d]\d) " + _TIME + rb" (?P<year>\d{4})",
    )
)

_USUAL_SIZE: Final = len(b"Sun, 06 Nov 1994 08:49:37 GMT")


def http_seconds(value: bytes, now: float) -> int | None:
    """Return an HTTP date as seconds since the epoch, or None if it is invalid.

    A two-digit year that would be more than 50 years after ``now`` (seconds since the epoch) is the
    latest past year with these digits. The name of the day is not compared with the date.
    """
    if len(value) == _USUAL_SIZE:  # only the first form contains it
        return _usual(value)
    for form in _FORMS[1:]:
        found = form.fullmatch(value)
        if found is not None:
            return _seconds(found, now)
    return None


@lru_cache(maxsize=256)
def _usual(value: bytes) -> int | None:
    """Parse an IMF-fixdate. Cached, because all responses of one second have the same Date."""
    found = _FORMS[0].fullmatch(value)
    return None if found is None else _seconds(found, 0.0)


def _seconds(found: re.Match[bytes], now: float) -> int | None:
    month = _MONTH.get(found["month"].lower())
    if month is None:
        return None
    year = int(found["year"])
    if len(found["year"]) == 2:
        this = datetime.fromtimestamp(now, UTC).year
        year += this - this % 100
        if year > this + 50:
            year -= 100
    second = int(found["second"])
    if second == 60:  # a leap second
        second = 59
    try:
        date = datetime(
            year, month, int(found["day"]), int(found["hour"]), int(found["minute"]), second
        )
    except ValueError:
        return None
    return timegm(date.timetuple())
