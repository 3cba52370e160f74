"""PURE. The age of a response at its arrival (RFC 9111 §4.2.3)."""

from __future__ import annotations

from typing import Any

from lbproxy.cache.control import delta_seconds
from lbproxy.cache.dates import http_seconds

__all__ = ["date_of", "initial_age"]


def date_of(head: Any, received: float) -> Any:
    """Return the Date of a response, the earliest of several, or the time of its arrival (RFC 9110
    §6.6.1).

    ``head``: :class:`~lbproxy.cache.targeted.Fields`.
    """
    dates: list[bytes] = head.header_values(b"date")
    if len(dates) == 1:
        found: int | None = http_seconds(dates[0], received)
        return received if found is None else found
    several = [http_seconds(value, received) for value in dates]
    return min((one for one in several if one is not None), default=received)


def initial_age(head: Any, asked: float, received: float) -> float:
    """Return the age in seconds of a response at its arrival (RFC 9111 §4.2.3)."""
    age: float = received - date_of(head, received)
    age = max(age, 0.0)
    corrected = received - asked
    corrected = max(corrected, 0.0)
    ages: list[bytes] = head.header_values(b"age")
    if ages:
        value: int | None = delta_seconds(ages[0].split(b",")[0].strip(b" \t"))
        if value is not None:
            corrected += float(value)
    return age if age > corrected else corrected
