"""PURE. Conditional requests that a cache answers itself (RFC 9110 §13, RFC 9111 §4.3.2)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from lbproxy.cache.dates import http_seconds
from lbproxy.cache.stored import Stored
from lbproxy.cache.targeted import Fields
from lbproxy.http.message import ResponseHead

__all__ = ["entity_tags", "is_not_modified", "range_allowed", "weak_match"]

_TAG: Final = re.compile(rb'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"')
ANY: Final = b"*"


def entity_tags(values: Sequence[bytes]) -> list[bytes]:
    """Return the entity tags of If-None-Match lines; ``*`` is returned as such."""
    text = b", ".join(values)
    return [ANY] if text.strip() == ANY else _TAG.findall(text)


def weak_match(first: bytes, second: bytes) -> bool:
    """Return whether two entity tags match by weak comparison (RFC 9110 §8.8.3.2)."""
    return first.removeprefix(b"W/") == second.removeprefix(b"W/")


def is_not_modified(response: Stored | ResponseHead, request: Fields, now: float) -> bool:
    """Return whether ``response`` meets the conditions of a request, which then gets a 304.

    If-None-Match takes precedence over If-Modified-Since (RFC 9110 §13.1.3). Only a 200 is compared
    (RFC 9111 §4.3.2). A malformed entity tag, such as one without quotes, matches itself.
    """
    if response.status != 200:
        return False
    tags = request.header_values(b"if-none-match")
    if tags:
        own = response.header(b"etag")
        asked = entity_tags(tags)
        if ANY in asked or own in tags:
            return True
        return own is not None and any(weak_match(own, tag) for tag in asked)
    since = request.header_values(b"if-modified-since")
    if len(since) != 1:
        return False
    limit = http_seconds(since[0], now)
    if limit is None:
        return False
    changed = response.header(b"last-modified") or response.header(b"date")
    at = http_seconds(changed, now) if changed is not None else None
    return at is not None and at <= limit


def range_allowed(stored: Stored, request: Fields, now: float) -> bool:
    """Return whether Range applies, given If-Range (RFC 9110 §13.1.5): strong comparison, exact
    date.
    """
    condition = request.header_values(b"if-range")
    if not condition:
        return True
    if len(condition) > 1:
        return False
    value = condition[0].strip()
    if value.startswith((b'"', b"W/")):
        return not value.startswith(b"W/") and value == stored.header(b"etag")
    changed = stored.header(b"last-modified")
    date = stored.header(b"date")
    if changed is None or value != changed or date is None:
        return False
    made, at = http_seconds(date, now), http_seconds(changed, now)
    # a strong validator only if it is well before the Date of the response (RFC 9110 §8.8.2.2)
    return made is not None and at is not None and made - at >= 1
