"""PURE. Cache-Control fields that address one kind of cache (RFC 9213)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol

from lbproxy.cache.control import MOST, Control, parse_control

__all__ = ["TARGETS", "Fields", "response_control"]

TARGETS: Final = (b"cdn-cache-control",)
"""The targeted fields that lbproxy obeys, in order of precedence, unless a policy names others."""

_BOOLEANS: Final = {
    "no-store": "no_store",
    "no-cache": "no_cache",
    "private": "private",
    "public": "public",
    "must-revalidate": "must_revalidate",
    "proxy-revalidate": "proxy_revalidate",
    "must-understand": "must_understand",
    "immutable": "immutable",
}
_INTEGERS: Final = {
    "max-age": "max_age",
    "s-maxage": "s_maxage",
    "stale-while-revalidate": "stale_while_revalidate",
    "stale-if-error": "stale_if_error",
}


class Fields(Protocol):
    """The interface of a head that the rules use."""

    def header_values(self, name: bytes) -> list[bytes]:
        """Return all values of ``name`` (lower case) in order."""


def response_control(head: Fields, targets: Sequence[bytes] = TARGETS) -> Control:
    """Return the directives of a response for this cache.

    The first of ``targets`` that is present, valid and not empty replaces Cache-Control and Expires
    (RFC 9213 §2.2). An invalid field is ignored as a whole.
    """
    for target in targets:
        values = head.header_values(target)
        if values:
            found = _targeted(values, target)
            if found is not None:
                return found
    return parse_control(head.header_values(b"cache-control"))


def _targeted(values: Sequence[bytes], field: bytes) -> Control | None:
    """Return the directives in a targeted field, or None if it is ignored."""
    import http_sf

    try:
        directives: Any = http_sf.parse(b", ".join(values), tltype="dictionary")
    except (ValueError, http_sf.StructuredFieldError):
        return None
    if not isinstance(directives, dict) or not directives:
        return None
    found: dict[str, Any] = {}
    for name, (value, _parameters) in directives.items():
        if name in _BOOLEANS and value is not False:
            found[_BOOLEANS[name]] = True  # any value but "no": the restrictive interpretation
        elif name in _INTEGERS:
            whole = isinstance(value, int) and not isinstance(value, bool) and value >= 0
            found[_INTEGERS[name]] = min(value, MOST) if whole else 0
    if found.get("public") and directives["public"][0] is not True:
        del found["public"]
    return Control(field=field, **found)
