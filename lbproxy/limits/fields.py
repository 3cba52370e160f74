"""PURE. ``RateLimit``, ``RateLimit-Policy`` (draft-ietf-httpapi-ratelimit-headers-10) and
``Retry-After``.

Both fields are lists of structured fields (RFC 9651): one item per policy, a string with integer
parameters.
"""

from __future__ import annotations

from math import ceil, floor, isfinite

from lbproxy.limits.rate import Rate

__all__ = ["LONGEST", "policy_item", "rate_item", "retry_after"]

LONGEST = 86_400 * 366
"""Upper limit of times in these fields, in seconds."""

_MOST = 999_999_999_999_999  # maximum integer of a structured field


def policy_item(name: str, rate: Rate, unit: str = "requests") -> str:
    """Return the item of RateLimit-Policy: the quota ``q`` in a window of ``w`` seconds.

    Rates with a period below a second are scaled up to whole seconds. ``requests`` is the default
    unit.
    """
    times = ceil(1 / rate.seconds) if rate.seconds < 1 else 1
    quota, seconds = _whole(rate.amount * times), max(1, round(rate.seconds * times))
    words = {"bytes": ';qu="content-bytes"', "concurrent": ';qu="concurrent-requests"'}
    return f"{_string(name)};q={quota}{words.get(unit, '')};w={seconds}"


def rate_item(name: str, left: float, reset: float) -> str:
    """Return the item of RateLimit: ``r`` units are left, all of them in ``t`` seconds."""
    return f"{_string(name)};r={_whole(left)};t={retry_after(reset)}"


def retry_after(seconds: float) -> int:
    """Return ``seconds`` as delay-seconds of Retry-After: rounded up."""
    return min(ceil(seconds), LONGEST) if isfinite(seconds) else LONGEST


def _whole(number: float) -> int:
    return max(0, min(floor(number + 1e-9), _MOST))


def _string(name: str) -> str:
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
