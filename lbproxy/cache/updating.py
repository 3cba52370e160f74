"""PURE. Update of stored responses by a 304 or a HEAD (RFC 9111 §3.2, §4.3.3 to §4.3.5)."""

from __future__ import annotations

from email.utils import formatdate
from typing import Final

from attrs import evolve

from lbproxy.cache.asked import Asked
from lbproxy.cache.conditions import weak_match
from lbproxy.cache.policy import Policy
from lbproxy.cache.ranges import DIGESTS
from lbproxy.cache.stored import Stored, without
from lbproxy.cache.storing import store, stored_fields
from lbproxy.http.headerlist import first_value
from lbproxy.http.message import Headers, RequestHead, ResponseHead, field_name

__all__ = ["answered", "head_agrees", "is_same", "updated", "validated"]

_DATE: Final = field_name(b"date")

_KEPT: Final = frozenset({b"content-length", b"content-encoding", b"content-range", *DIGESTS})
"""Fields that describe the bytes of the stored body, which an update does not change (RFC 9111
§3.2).
"""


def is_same(stored: Stored, response: ResponseHead) -> bool:
    """Return whether a 304 applies to ``stored`` (RFC 9111 §4.3.4)."""
    etag = response.header(b"etag")
    own = stored.header(b"etag")
    if etag is not None:
        if own is None:
            return False
        return etag == own or (etag.startswith(b"W/") and weak_match(etag, own))
    changed = response.header(b"last-modified")
    return changed is None or changed == stored.header(b"last-modified")


def updated(
    stored: Stored,
    request: RequestHead,
    asked: Asked,
    response: ResponseHead,
    policy: Policy,
    times: tuple[float, float],
) -> Stored | None:
    """Return ``stored`` with the fields of the 304 or HEAD ``response``, fresh again.

    The result is None if the merged response must not be stored any more.
    """
    merged = ResponseHead(
        stored.status,
        _merged(stored, response),
        stored.reason,
        length=stored.length,
        nominated=response.nominated,
    )
    found = store(stored.url, request, asked, merged, policy, times)
    if not isinstance(found, Stored):
        return None
    return evolve(found, length=stored.length)


def answered(stored: Stored, response: ResponseHead, times: tuple[float, float]) -> Stored:
    """Return ``stored`` as a 304 describes it, to answer a request that stores nothing."""
    headers = _merged(stored, response)
    if first_value(headers, _DATE) is None:
        headers.append((b"Date", formatdate(times[1], usegmt=True).encode()))
    return evolve(stored, headers=headers, asked=times[0], received=times[1], purged=False)


def _merged(stored: Stored, response: ResponseHead) -> Headers:
    """Return the fields of ``stored``, replaced by those of ``response``."""
    named = frozenset(name.lower() for name, _ in response.headers) - _KEPT
    age = frozenset({b"age"}) if response.header(b"age") is None else frozenset()
    if response.header(b"date") is None:
        named |= {b"date"}  # stored again, with the time of this response
    return without(stored.headers, named | age) + stored_fields(response, _KEPT)


def validated(stored: Stored, response: ResponseHead) -> bool:
    """Return whether the response to a HEAD has a validator of ``stored``."""
    names = (b"etag", b"last-modified")
    return any(
        value is not None and value == stored.header(name)
        for name, value in ((name, response.header(name)) for name in names)
    )


def head_agrees(stored: Stored, response: ResponseHead) -> bool:
    """Return whether the response to a HEAD describes the stored body (RFC 9111 §4.3.5)."""
    length = response.header(b"content-length")
    if length is not None and length != b"%d" % stored.length:
        return False
    for name in (b"etag", b"last-modified"):
        value = response.header(name)
        if value is not None and value != stored.header(name):
            return False
    return True
