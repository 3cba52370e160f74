"""DATA. The header fields of the feature ``limits`` in responses."""

from __future__ import annotations

from typing import Any

from lbproxy.limits.fields import policy_item, rate_item, retry_after
from lbproxy.proxy.features.limiting.note import LimitNote

__all__ = ["state_limits"]


def state_limits(note: LimitNote, response: Any, now: float) -> None:
    """Add ``RateLimit``, ``RateLimit-Policy`` and ``Retry-After`` to ``response`` where
    required.
    """
    refused = note.refused
    of_limits = {one.limit.name: one for one in reversed(note.asked)}
    if refused is not None:
        of_limits[refused.limit.name] = refused
    asked = {one.limit.name: of_limits[one.limit.name] for one in note.asked}
    stated = [one for one in asked.values() if one.limit.spec.headers or one is refused]
    if not stated:
        return
    headers = response.headers
    if refused is not None and response.status in (429, 503):
        headers.append((b"Retry-After", b"%d" % max(1, retry_after(refused.wait))))
    policies, rates = [], []
    for one in stated:
        method = one.method
        if method is not None:
            policies.append(policy_item(one.limit.name, method.rate, one.limit.spec.unit))
            left, reset = method.left(one.ident, now), method.reset(one.ident, now)
            rates.append(rate_item(one.limit.name, left, reset))
    if policies:
        headers.append((b"RateLimit-Policy", ", ".join(policies).encode()))
        headers.append((b"RateLimit", ", ".join(rates).encode()))
