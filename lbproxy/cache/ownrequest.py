"""PURE. Heads of requests that the cache sends on behalf of clients.

They share the lines of the client's head, without those that the cache handles itself, so that a
miss copies no field.
"""

from __future__ import annotations

from typing import Any, Final

from lbproxy.cache.key import sent_headers, sent_target
from lbproxy.http.message import RequestHead, field_name

__all__ = ["own_request"]

_ANSWERED: Final = [
    field_name(name)
    for name in (
        b"if-none-match",
        b"range",
        b"if-range",
        b"if-match",
        b"if-modified-since",
        b"if-unmodified-since",
    )
]
"""Conditions and ranges, which the cache answers from the whole response."""


def own_request(asked: RequestHead, policy: Any, length: int, stored: Any = None) -> RequestHead:
    """Return the head of a request for the whole response to ``asked``, which is unchanged.

    ``policy``: a :class:`~lbproxy.cache.policy.Policy`. ``length``: bytes of the body. ``stored``:
    the :class:`~lbproxy.cache.stored.Stored` response that the request validates
    (RFC 9111 §4.3.1), or None.
    """
    target = sent_target(asked, policy)
    head = RequestHead(
        b"POST" if asked.method == b"POST" else b"GET",
        target,
        asked.pairs() if asked.listed else None,
        asked.version,
        asked.host,
        asked.scheme,
        length,
        nominated=asked.nominated,
        lines=asked.lines,
    )
    if target is asked.target:
        head.checked = asked.checked
    head.without, head.gone = asked.without, asked.gone
    head.host_line = asked.host_line
    head.before, head.ours = asked.before, asked.ours
    if asked.added is not None:
        head.added = asked.added.copy()
    for name in _ANSWERED:
        head.remove(name)
    if stored is not None:
        _add_validators(head, stored)
    if policy.cookies.ignore:
        head.headers = sent_headers(head.pairs(), policy)
    return head


def _add_validators(head: RequestHead, stored: Any) -> None:
    etag: bytes | None = stored.header(b"etag")
    changed: bytes | None = stored.header(b"last-modified")
    if etag is not None:
        head.add_header(b"If-None-Match", etag)
    if changed is not None:
        head.add_header(b"If-Modified-Since", changed)
