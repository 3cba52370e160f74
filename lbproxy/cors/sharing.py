"""PURE. The responses of a CORS proxy that the cache may share between calls, and their lifetime.

A response with ``Set-Cookie`` or ``WWW-Authenticate`` is never stored. ``ttl=`` of a call sets the
lifetime of a successful response, unless the target sends ``no-store`` or ``private``.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["lookup_fields", "shared_fields"]

Fields = list[tuple[bytes, bytes]]

_PERSONAL: Final = (b"set-cookie", b"www-authenticate")
_LIFETIMES: Final = frozenset((b"cache-control", b"expires", b"pragma"))
_FORBIDS: Final = re.compile(rb"(?i)(?:\A|[,\s])(?:no-store|private)(?:[,\s=]|\Z)")
_GOOD: Final = (200, 203)


def shared_fields(fields: Fields, status: int, ttl: int | None) -> Fields:
    """Return the fields of a target's response for the cache. ``ttl``: seconds, None if not set."""
    if any(name.lower() in _PERSONAL for name, _ in fields):
        kept = [pair for pair in fields if not _is_lifetime(pair[0])]
        return [*kept, (b"Cache-Control", b"no-store")]
    if ttl is None or status not in _GOOD:
        return fields
    if any(_is_lifetime(name) and _FORBIDS.search(value) for name, value in fields):
        return fields
    kept = [pair for pair in fields if not _is_lifetime(pair[0])]
    return [*kept, (b"Cache-Control", b"max-age=%d" % ttl)]


def lookup_fields(fields: Fields, ttl: int | None) -> Fields:
    """Return the fields of a request for the cache. With ``ttl``, older responses are not
    accepted.
    """
    if ttl is None:
        return fields
    kept = [pair for pair in fields if pair[0].lower() not in (b"cache-control", b"pragma")]
    return [*kept, (b"Cache-Control", b"max-age=%d" % ttl)]


def _is_lifetime(name: bytes) -> bool:
    low = name.lower()
    return low in _LIFETIMES or low.endswith(b"-cache-control")  # RFC 9213
