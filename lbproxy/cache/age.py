"""PURE. The age of a response at its arrival (RFC 9111 §4.2.3)."""

from __future__ import annotations

from lbproxy.cache.control import delta_seconds
from lbproxy.cache.dates import http_seconds
from lbproxy.cache.targeted import Fields

__all__ = ["date_of", "initial_age"]


def date_of(head: Fields, received: float) -> float:
    """Return the Date of a response, or the time of its arrival (RFC 9110 §6.6.1)."""
    dates = head.header_values(b"date")
    found = http_seconds(dates[0], received) if len(dates) == 1 else None
    return received if found is None else found


def initial_age(head: Fields, asked: float, received: float) -> float:
    """Return the age in seconds of a response at its arrival (RFC 9111 §4.2.3)."""
    ages = head.header_values(b"age")
    value = delta_seconds(ages[0].split(b",")[0].strip(b" \t")) if ages else None
    delay = max(0.0, received - asked)
    apparent = max(0.0, received - date_of(head, received))
    return max(apparent, (value or 0) + delay)
