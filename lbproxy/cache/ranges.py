"""PURE. Range requests served from stored bodies (RFC 9110 §14)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from attrs import frozen

__all__ = ["DIGESTS", "MOST_RANGES", "RangePart", "Span", "multipart", "spans"]

MOST_RANGES: Final = 32
"""Maximum number of ranges in a request. With more, Range is ignored, as RFC 9110 §14.2 allows."""

DIGESTS: Final = frozenset({b"content-digest", b"content-md5"})
"""Digests of the content of one message, which differs between a part and the whole (RFC 9530 §2).
"""

_SPEC: Final = re.compile(rb"(?:(\d{1,19})-(\d{0,19})|-(\d{1,19}))")


@frozen
class Span:
    """The bytes ``first`` to ``last`` of a body, inclusive."""

    first: int
    last: int

    @property
    def size(self) -> int:
        """Length of the span in bytes."""
        return self.last - self.first + 1

    def content_range(self, length: int) -> bytes:
        """Return the value of Content-Range for a body of ``length`` bytes."""
        return b"bytes %d-%d/%d" % (self.first, self.last, length)


def spans(values: Sequence[bytes], length: int) -> list[Span] | None:
    """Return the spans that Range requests, in its order.

    The result is None if the field is absent, invalid, of another unit, or requests too much, and
    is ignored. An empty list means that no range overlaps the body, which is a 416.
    """
    if len(values) != 1:
        return None
    unit, equals, text = values[0].partition(b"=")
    if not equals or unit.strip().lower() != b"bytes":
        return None
    specs = [part.strip(b" \t") for part in text.split(b",") if part.strip(b" \t")]
    if not specs or len(specs) > MOST_RANGES:
        return None
    found: list[Span] = []
    for spec in specs:
        read = _SPEC.fullmatch(spec)
        if read is None:
            return None
        first, last, suffix = read.groups()
        if suffix is not None:
            size = min(int(suffix), length)
            if size:
                found.append(Span(length - size, length - 1))
            continue
        start, end = int(first), int(last) if last else length - 1
        if last and end < start:
            return None
        if start < length:
            found.append(Span(start, min(end, length - 1)))
    return _merged(found) if len(found) > 1 else found


def _merged(found: list[Span]) -> list[Span]:
    """Return ``found`` unchanged if nothing overlaps, else joined and in the order of the body, so
    that no byte is sent twice.
    """
    joined: list[Span] = []
    overlap = False
    for one in sorted(found, key=lambda span: span.first):
        if joined and one.first <= joined[-1].last:
            joined[-1] = Span(joined[-1].first, max(joined[-1].last, one.last))
            overlap = True
        else:
            joined.append(one)
    return joined if overlap else found


@frozen
class RangePart:
    """A piece of a multipart body.

    ``before`` is sent first, then the bytes of ``span``, if any.
    """

    before: bytes
    span: Span | None


def multipart(
    parts: Sequence[Span], length: int, media: bytes | None, boundary: bytes
) -> tuple[list[RangePart], int]:
    """Return the pieces of a ``multipart/byteranges`` body (RFC 9110 §14.6) and its length."""
    pieces: list[RangePart] = []
    total = 0
    kind = b"Content-Type: %s\r\n" % media if media is not None else b""
    for number, span in enumerate(parts):
        before = b"%s--%s\r\n%sContent-Range: %s\r\n\r\n" % (
            b"\r\n" if number else b"", boundary, kind, span.content_range(length),
        )  # fmt: skip
        pieces.append(RangePart(before, span))
        total += len(before) + span.size
    end = b"\r\n--%s--\r\n" % boundary
    pieces.append(RangePart(end, None))
    return pieces, total + len(end)
