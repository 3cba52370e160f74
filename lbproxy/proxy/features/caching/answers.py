"""DATA. Heads and bodies of responses from the store: whole, 304, 206 and 416."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any, Final, Protocol

from lbproxy.cache.cachestatus import cache_status
from lbproxy.cache.conditions import is_not_modified, range_allowed
from lbproxy.cache.ranges import DIGESTS, Span, multipart, spans
from lbproxy.cache.stored import Stored
from lbproxy.http.message import Headers, RequestHead, ResponseHead
from lbproxy.http.reasons import reason_phrase

__all__ = ["PIECE", "Said", "StoredFile", "answer", "fresh_head", "not_modified", "planned"]

PIECE: Final = 64 * 1024
"""Number of bytes of a stored body that are sent at a time."""


class StoredFile(Protocol):
    """A body in an open file: :class:`lbproxy.proxy.features.caching.reading.FileReading`."""

    @property
    def size(self) -> int: ...

    def pieces(self, plan: list[bytes | Span], size: int) -> Any:
        """Return the parts of ``plan`` as an asynchronous iterator; it closes the file."""

    def close(self) -> None:
        """Close the file."""


_OF_BODY: Final = frozenset(
    {b"content-type", b"content-encoding", b"content-language", b"content-range", b"last-modified"}
)
"""Fields that a 304 omits because its ETag stands for them (RFC 9110 §15.4.5)."""


class Said:
    """The cache's data about a response: ``age`` in seconds, and Cache-Status if ``shown``."""

    __slots__ = ("age", "value")

    def __init__(self, name: str, age: float, shown: bool, **facts: Any) -> None:
        self.age = age
        self.value = cache_status(name, **facts) if shown else None


def fresh_head(stored: Stored, said: Said, length: int | None) -> ResponseHead:
    """Return a separate head for one client, with Age and Cache-Status."""
    headers = [pair for pair in stored.headers if pair[0].lower() != b"age"]
    _add(headers, said)
    return ResponseHead(stored.status, headers, stored.reason, length=length)


def _add(headers: Headers, said: Said) -> None:
    headers.append((b"Age", b"%d" % said.age))
    if said.value is not None:
        headers.append((b"Cache-Status", said.value))


def answer(
    stored: Stored, body: bytes | StoredFile, request: RequestHead, said: Said, now: float
) -> tuple[ResponseHead, Any]:
    """Return the response to ``request`` from a complete stored one: its head and its body.

    A file is closed at the end of the body, or here if none of it is sent."""
    size = len(body) if isinstance(body, bytes) else body.size
    head, plan = planned(stored, size, request, said, now)
    if isinstance(body, bytes):
        if plan == [Span(0, size - 1)] and size <= PIECE:
            return head, body
        return head, _pieces(body, plan) if plan else b""
    if not plan:
        body.close()
        return head, b""
    return head, body.pieces(plan, PIECE)


def planned(
    stored: Stored, size: int, request: RequestHead, said: Said, now: float
) -> tuple[ResponseHead, list[bytes | Span]]:
    """Return the head and the parts of the body: bytes, and spans of the stored body."""
    if request.method != b"POST" and is_not_modified(stored, request, now):
        return not_modified(fresh_head(stored, said, 0)), []
    asked = request.header_values(b"range")
    if asked and request.method == b"GET" and stored.status == 200:
        found = spans(asked, size) if range_allowed(stored, request, now) else None
        if found is not None:
            return _partial(stored, size, found, said)
    head = fresh_head(stored, said, size)
    if request.method == b"HEAD":
        head.add_header(b"Content-Length", b"%d" % size)
        head.length = 0
        return head, []
    return head, [Span(0, size - 1)] if size else []


def not_modified(head: Stored | ResponseHead) -> ResponseHead:
    """Return the 304 for a response."""
    gone = _OF_BODY if head.header(b"etag") is not None else _OF_BODY - {b"last-modified"}
    gone |= {b"content-length", b"transfer-encoding"}
    headers = [pair for pair in head.headers if pair[0].lower() not in gone]
    nominated = head.nominated if isinstance(head, ResponseHead) else ()
    return ResponseHead(304, headers, reason_phrase(304), length=0, nominated=nominated)


def _partial(
    stored: Stored, length: int, found: list[Span], said: Said
) -> tuple[ResponseHead, list[bytes | Span]]:
    """Return a 206 with one or several parts, or a 416 (RFC 9110 §15.3.7, §15.5.17)."""
    if not found:
        headers: Headers = [(b"Content-Range", b"bytes */%d" % length)]
        _add(headers, said)
        return ResponseHead(416, headers, reason_phrase(416), length=0), []
    head = fresh_head(stored, said, found[0].size)
    head.status, head.reason = 206, reason_phrase(206)
    head.remove_headers(DIGESTS)
    if len(found) == 1:
        head.add_header(b"Content-Range", found[0].content_range(length))
        return head, [found[0]]
    boundary = secrets.token_hex(16).encode()
    parts, head.length = multipart(found, length, stored.header(b"content-type"), boundary)
    head.set_header(b"Content-Type", b"multipart/byteranges; boundary=" + boundary)
    plan: list[bytes | Span] = []
    for part in parts:
        plan.append(part.before)
        if part.span is not None:
            plan.append(part.span)
    return head, plan


def _pieces(body: bytes, plan: list[bytes | Span]) -> Iterator[bytes]:
    for part in plan:
        if isinstance(part, bytes):
            yield part
            continue
        for at in range(part.first, part.last + 1, PIECE):
            yield body[at : min(at + PIECE, part.last + 1)]
