"""DATA. Heads and bodies of responses from the store: whole, 304, 206 and 416."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any, Final

from lbproxy.cache.cachestatus import cache_status
from lbproxy.cache.conditions import is_not_modified, range_allowed
from lbproxy.cache.ranges import RangePart, Span, multipart, spans
from lbproxy.cache.stored import Stored
from lbproxy.http.message import Headers, RequestHead, ResponseHead
from lbproxy.proxy.http.replies import reason_phrase

__all__ = ["Body", "Said", "answer", "fresh_head", "not_modified"]

Body = bytes | Iterator[bytes]

PIECE: Final = 64 * 1024
"""Bytes of a stored body that are given at a time."""

_OF_BODY: Final = frozenset(
    {b"content-type", b"content-encoding", b"content-language", b"content-range", b"last-modified"}
)
"""Fields that a 304 leaves out, as its ETag stands for them (RFC 9110 §15.4.5)."""


class Said:
    """The cache's data about a response:

    ``age`` in seconds, and Cache-Status if it is ``shown``.
    """

    __slots__ = ("age", "value")

    def __init__(self, name: str, age: float, shown: bool, **facts: Any) -> None:
        self.age = age
        self.value = cache_status(name, **facts) if shown else None


def fresh_head(stored: Stored, said: Said, length: int | None) -> ResponseHead:
    """Return a head of its own for one client, with Age and Cache-Status."""
    headers = [pair for pair in stored.headers if pair[0].lower() != b"age"]
    _add(headers, said)
    return ResponseHead(stored.status, headers, stored.reason, length=length)


def _add(headers: Headers, said: Said) -> None:
    headers.append((b"Age", b"%d" % said.age))
    if said.value is not None:
        headers.append((b"Cache-Status", said.value))


def answer(
    stored: Stored, body: bytes, request: RequestHead, said: Said, now: float
) -> tuple[ResponseHead, Body]:
    """Return the response to ``request`` from a complete stored one: its head and its body."""
    if is_not_modified(stored, request, now):
        return not_modified(fresh_head(stored, said, 0)), b""
    asked = request.header_values(b"range")
    if asked and request.method == b"GET" and stored.status == 200:
        found = spans(asked, len(body)) if range_allowed(stored, request, now) else None
        if found is not None:
            return _partial(stored, body, found, said)
    head = fresh_head(stored, said, len(body))
    if request.method == b"HEAD":
        head.add_header(b"Content-Length", b"%d" % len(body))
        head.length = 0
        return head, b""
    return head, body if len(body) <= PIECE else _pieces(body, Span(0, len(body) - 1))


def not_modified(head: Stored | ResponseHead) -> ResponseHead:
    """Return the 304 that stands for a response."""
    gone = _OF_BODY if head.header(b"etag") is not None else _OF_BODY - {b"last-modified"}
    gone |= {b"content-length", b"transfer-encoding"}
    headers = [pair for pair in head.headers if pair[0].lower() not in gone]
    return ResponseHead(304, headers, reason_phrase(304), length=0)


def _partial(
    stored: Stored, body: bytes, found: list[Span], said: Said
) -> tuple[ResponseHead, Body]:
    """A 206 with one part or several, or a 416 (RFC 9110 §15.3.7, §15.5.17)."""
    length = len(body)
    if not found:
        headers: Headers = [(b"Content-Range", b"bytes */%d" % length)]
        _add(headers, said)
        return ResponseHead(416, headers, reason_phrase(416), length=0), b""
    head = fresh_head(stored, said, found[0].size)
    head.status, head.reason = 206, reason_phrase(206)
    if len(found) == 1:
        head.add_header(b"Content-Range", found[0].content_range(length))
        return head, _pieces(body, found[0])
    boundary = secrets.token_hex(16).encode()
    parts, head.length = multipart(found, length, stored.header(b"content-type"), boundary)
    head.set_header(b"Content-Type", b"multipart/byteranges; boundary=" + boundary)
    return head, _joined(body, parts)


def _pieces(body: bytes, span: Span) -> Iterator[bytes]:
    for at in range(span.first, span.last + 1, PIECE):
        yield body[at : min(at + PIECE, span.last + 1)]


def _joined(body: bytes, parts: list[RangePart]) -> Iterator[bytes]:
    for part in parts:
        yield part.before
        if part.span is not None:
            yield from _pieces(body, part.span)
