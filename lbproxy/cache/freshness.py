"""PURE. Freshness of responses (RFC 9111 §4.2): their age, and how long they stay fresh."""

from __future__ import annotations

from typing import Any, Final

from lbproxy.cache.age import date_of
from lbproxy.cache.control import Control
from lbproxy.cache.dates import http_seconds

__all__ = ["HEURISTIC", "FreshnessLifetime", "current_age", "lifetime_of"]

HEURISTIC: Final = frozenset({200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501})
"""Statuses that may be stored without explicit freshness (RFC 9110 §15.1)."""

FRACTION: Final = 0.1
"""Share of the time since Last-Modified that a response stays fresh (RFC 9111 §4.2.2)."""

LONGEST_GUESS: Final = 86400.0
"""Upper bound of a heuristic lifetime in seconds."""


class FreshnessLifetime:
    """A freshness lifetime. ``seconds``: its length, an int or a float. ``stated``: the response
    contains it. ``rule``: its source.
    """

    __slots__ = ("rule", "seconds", "stated")

    def __init__(self, seconds: Any, stated: bool, rule: str) -> None:
        self.seconds = seconds
        self.stated = stated
        self.rule = rule


def lifetime_of(
    head: Any, status: int, control: Control, received: float
) -> FreshnessLifetime | None:
    """Return the freshness lifetime of a response for a shared cache (RFC 9111 §4.2.1).

    ``control``: its effective directives. The result is None if the response states no lifetime and
    a heuristic one is not allowed.
    """
    if control.s_maxage is not None:
        return FreshnessLifetime(control.s_maxage, True, "s-maxage")
    if control.max_age is not None:
        return FreshnessLifetime(control.max_age, True, "max-age")
    date = date_of(head, received)
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


def current_age(stored: Any, now: float) -> float:
    """Return the age of a stored response in seconds (RFC 9111 §4.2.3).

    If the clock has been set back, the age is greater than ``now`` suggests. The amount is unknown
    until the clock reaches the same time again, so that at least the difference counts.
    """
    age: float = stored.first_age + abs(now - stored.received)
    return age
