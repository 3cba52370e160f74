"""PURE. Freshness of responses (RFC 9111 §4.2): their age, and how long they stay fresh."""

from __future__ import annotations

from typing import Final

from attrs import frozen

from lbproxy.cache.control import Control, delta_seconds
from lbproxy.cache.dates import http_seconds
from lbproxy.cache.stored import Stored
from lbproxy.cache.targeted import Fields

__all__ = ["HEURISTIC", "FreshnessLifetime", "current_age", "initial_age", "lifetime_of"]

HEURISTIC: Final = frozenset({200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501})
"""Statuses that may be stored without stated freshness (RFC 9110 §15.1)."""

FRACTION: Final = 0.1
"""Share of the time since Last-Modified that a response stays fresh (RFC 9111 §4.2.2)."""

LONGEST_GUESS: Final = 86400.0
"""Upper bound of a heuristic lifetime in seconds."""


@frozen
class FreshnessLifetime:
    """``seconds`` of freshness, whether the response states it, and the ``rule`` it comes from."""

    seconds: float
    stated: bool
    rule: str


def lifetime_of(
    head: Fields, status: int, control: Control, received: float
) -> FreshnessLifetime | None:
    """Return the freshness lifetime of a response for a shared cache (RFC 9111 §4.2.1).

    ``control``: its effective directives.  None: it states none, and none may be guessed.
    """
    if control.s_maxage is not None:
        return FreshnessLifetime(control.s_maxage, True, "s-maxage")
    if control.max_age is not None:
        return FreshnessLifetime(control.max_age, True, "max-age")
    date = _date(head, received)
    if control.field == b"cache-control":  # a targeted field replaces Expires (RFC 9213 §2.2)
        expires = head.header_values(b"expires")
        if expires:
            ends = [http_seconds(value, received) for value in expires]
            if None in ends:
                return FreshnessLifetime(0, True, "Expires that is no date")
            soonest = min(end for end in ends if end is not None)
            return FreshnessLifetime(max(0, soonest - date), True, "Expires")
    if status not in HEURISTIC and not control.public:
        return None
    changed = [http_seconds(value, received) for value in head.header_values(b"last-modified")]
    if len(changed) != 1 or changed[0] is None or changed[0] > date:
        return None
    return FreshnessLifetime(
        min(LONGEST_GUESS, (date - changed[0]) * FRACTION), False, "Last-Modified"
    )


def _date(head: Fields, received: float) -> float:
    """The Date of a response, or the time it was received (RFC 9110 §6.6.1)."""
    dates = head.header_values(b"date")
    found = http_seconds(dates[0], received) if len(dates) == 1 else None
    return received if found is None else found


def initial_age(head: Fields, asked: float, received: float) -> float:
    """Return the age in seconds that a response had when it was received (RFC 9111 §4.2.3)."""
    ages = head.header_values(b"age")
    value = delta_seconds(ages[0].split(b",")[0].strip(b" \t")) if ages else None
    delay = max(0.0, received - asked)
    apparent = max(0.0, received - _date(head, received))
    return max(apparent, (value or 0) + delay)


def current_age(stored: Stored, now: float) -> float:
    """Return the age of a stored response in seconds (RFC 9111 §4.2.3).

    If the clock has been set back since, the response is older than ``now`` says: by how much the
    clock tells only later, so at least the time that is missing counts."""
    return initial_age(stored, stored.asked, stored.received) + abs(now - stored.received)
