"""PURE. Storage and combination of partial responses (RFC 9111 §3.3, §3.4, RFC 9110 §15.3.7.3).

A part is stored under the key of the whole response with status 206. Its selection has a member
:data:`MARK`, whose name no request field has, so that no request selects a part as if it were the
whole. Parts are combined if their strong entity tag and the length of the whole are the same. The
latest head then represents all of them, and decides whether they are fresh.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from attrs import evolve, frozen

from lbproxy.cache.asked import Asked
from lbproxy.cache.conditions import entity_tags, range_allowed
from lbproxy.cache.memory import Entry
from lbproxy.cache.policy import Policy
from lbproxy.cache.ranges import DIGESTS, Span, spans
from lbproxy.cache.stored import Stored, without
from lbproxy.cache.storing import Refusal, store
from lbproxy.cache.targeted import Fields
from lbproxy.cache.vary import Selected, selects
from lbproxy.http.message import RequestHead, ResponseHead

__all__ = ["MARK", "MOST_PARTS", "Extent", "Parts", "asks_part", "combines", "completed",
           "extent_of", "is_part", "is_superseded", "merged", "parts_of", "replaced_by",
           "selection_of", "store_part", "wanted", "whole"]  # fmt: skip

MARK: Final = b":part"
"""Name of the member of a selection that distinguishes the parts of one response."""

MOST_PARTS: Final = 32
"""Maximum number of parts kept of one response; the oldest is removed first."""

_CONTENT_RANGE: Final = re.compile(rb"bytes[ \t]+(\d{1,18})-(\d{1,18})/(\d{1,18})", re.IGNORECASE)
_CONDITIONS: Final = (
    b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since", b"if-range"
)  # fmt: skip
_OF_CONTENT: Final = frozenset({b"content-range", b"content-length"}) | DIGESTS
"""Fields of one part, which say nothing about others or the whole."""

_LONGEST: Final = 1 << 62


@frozen
class Extent:
    """Content-Range: the bytes of a part, and the ``length`` of the whole."""

    span: Span
    length: int


def extent_of(head: Fields) -> Extent | None:
    """Return the extent of a part; None if Content-Range does not contain a single one."""
    values = head.header_values(b"content-range")
    found = _CONTENT_RANGE.fullmatch(values[0].strip()) if len(values) == 1 else None
    if found is None:
        return None
    first, last, length = map(int, found.groups())
    return Extent(Span(first, last), length) if first <= last < length else None


def is_part(stored: Stored) -> bool:
    """Return whether a stored response is a part."""
    return stored.status == 206


def asks_part(request: RequestHead) -> bool:
    """Return whether ``request`` asks for one range of bytes, without conditions."""
    if request.method != b"GET":
        return False
    found = spans(request.header_values(b"range"), _LONGEST)
    if found is None or len(found) != 1:
        return False
    return all(request.header(name) is None for name in _CONDITIONS)


def store_part(
    url: bytes,
    request: RequestHead,
    asked: Asked,
    response: ResponseHead,
    policy: Policy,
    times: tuple[float, float],
) -> Stored | Refusal:
    """Return a 206 as it is stored, or why it is not stored; see
    :func:`~lbproxy.cache.storing.store`.

    The rules for the whole response apply.
    """
    extent = extent_of(response)
    media = response.header(b"content-type") or b""
    if extent is None or media.strip().lower().startswith(b"multipart/byteranges"):
        return Refusal("partial response without one range of bytes", "RFC 9111 §3.3")
    if _strong_tag(response) is None:
        return Refusal("partial response without a strong entity tag", "RFC 9111 §3.4")
    if response.length is not None and response.length != extent.span.size:
        return Refusal("Content-Length contradicts Content-Range", "RFC 9110 §14.4")
    if extent.length > policy.max_object:
        return Refusal("part of a response larger than max_object", "policy")
    headers = without(response.pairs(), _OF_CONTENT)
    head = ResponseHead(200, headers, b"OK", length=extent.length, nominated=response.nominated)
    found = store(url, request, asked, head, policy, times)
    return found if isinstance(found, Refusal) else as_part(found, extent)


def as_part(stored: Stored, extent: Extent) -> Stored:
    """Return the head of the part ``extent`` of ``stored``, which is a whole response."""
    shown = extent.span.content_range(extent.length)
    return evolve(
        stored,
        status=206,
        reason=b"Partial Content",
        headers=[*stored.headers, (b"Content-Range", shown)],
        length=extent.span.size,
        selected=(*stored.selected, (MARK, shown)),
    )


def whole(stored: Stored) -> Stored:
    """Return the head of the whole response to which the part ``stored`` belongs."""
    extent = extent_of(stored)
    assert extent is not None
    return evolve(
        stored,
        status=200,
        reason=b"OK",
        headers=without(stored.headers, frozenset({b"content-range"})),
        length=extent.length,
        selected=selection_of(stored),
    )


def selection_of(stored: Stored) -> Selected:
    """Return the request fields that select a response, whether whole or a part."""
    return tuple(pair for pair in stored.selected if pair[0] != MARK)


def _strong_tag(head: Fields) -> bytes | None:
    values = head.header_values(b"etag")
    strong = len(values) == 1 and values[0].startswith(b'"') and entity_tags(values) == values
    return values[0] if strong else None


def combines(one: Stored, two: Stored) -> bool:
    """Return whether two parts belong to the same representation (RFC 9110 §15.3.7.3)."""
    first, second = extent_of(one), extent_of(two)
    if first is None or second is None or first.length != second.length:
        return False
    tag = _strong_tag(one)
    same = tag is not None and tag == _strong_tag(two)
    return same and selection_of(one) == selection_of(two)


@frozen
class Parts:
    """Stored parts of one representation. ``stored``: the head of the whole, from the latest part.

    ``pieces``: spans of the whole in order, with their entries.
    """

    stored: Stored
    pieces: tuple[tuple[Span, Entry], ...]

    @property
    def length(self) -> int:
        """Length of the whole in bytes."""
        return self.stored.length

    def covering(self, span: Span) -> list[tuple[Entry, Span]] | None:
        """Return the entries that contain ``span``, and the spans of their bodies; None if bytes
        are missing.
        """
        found: list[tuple[Entry, Span]] = []
        at = span.first
        while at <= span.last:
            here = [one for one in self.pieces if one[0].first <= at <= one[0].last]
            if not here:
                return None
            has, entry = max(here, key=lambda one: one[0].last)
            end = min(has.last, span.last)
            found.append((entry, Span(at - has.first, end - has.first)))
            at = end + 1
        return found


def parts_of(entries: Iterable[Entry], request: Fields) -> Parts | None:
    """Return the parts among the stored responses of a key that ``request`` selects, those of the
    latest representation.
    """
    chosen = [
        one for one in entries if is_part(one.stored) and selects(selection_of(one.stored), request)
    ]
    if not chosen:
        return None
    latest = max(chosen, key=lambda one: one.stored.asked)
    pieces = []
    for one in chosen:
        extent = extent_of(one.stored)
        if extent is None or extent.span.size != one.size:
            continue
        if combines(one.stored, latest.stored):
            pieces.append((extent.span, one))
    return Parts(whole(latest.stored), tuple(sorted(pieces, key=lambda one: one[0].first)))


def wanted(request: RequestHead, stored: Stored, now: float) -> list[Span]:
    """Return the spans of the whole response ``stored`` that answer ``request``.

    Parts answer only ranges within them (RFC 9111 §3.3); anything else needs the whole.
    """
    asked = request.header_values(b"range")
    if asked and request.method == b"GET" and range_allowed(stored, request, now):
        found = spans(asked, stored.length)
        if found:
            return found
    return [Span(0, stored.length - 1)]


def replaced_by(part: Stored, entries: Sequence[Entry], most: int = MOST_PARTS) -> list[Entry]:
    """Return the stored responses that ``part`` replaces.

    These are the parts within it, the oldest parts beyond ``most``, and what is of another
    representation, parts or whole.
    """
    extent = extent_of(part)
    assert extent is not None
    gone: list[Entry] = []
    kept: list[Entry] = []
    for one in entries:
        if selection_of(one.stored) != selection_of(part):
            continue
        if not is_part(one.stored):
            if one.size != extent.length or _strong_tag(one.stored) != _strong_tag(part):
                gone.append(one)
            continue
        other = extent_of(one.stored)
        within = other is not None and _within(other.span, extent.span)
        (gone if within or not combines(one.stored, part) else kept).append(one)
    kept.sort(key=lambda one: one.stored.asked)
    return gone + kept[: max(0, len(kept) - most + 1)]


def is_superseded(part: Stored, entries: Sequence[Entry], now: float) -> bool:
    """Return whether parts of another representation are stored that were asked for later.

    Those from the future were not: the clock has been set back.
    """
    return any(
        part.asked < one.stored.asked <= now
        and selection_of(one.stored) == selection_of(part)
        and not combines(one.stored, part)
        for one in entries
        if is_part(one.stored)
    )


def _within(one: Span, other: Span) -> bool:
    return other.first <= one.first and one.last <= other.last


def merged(part: Stored, body: bytes, other: Stored, before: bytes) -> tuple[Stored, bytes] | None:
    """Return the head and the body of two parts combined, None if there is a gap between them.

    Both belong to one representation. The head of the one that was asked for later is kept.
    """
    one, two = extent_of(part), extent_of(other)
    assert one is not None
    assert two is not None
    first, second = (one.span, body), (two.span, before)
    if second[0].first < first[0].first:
        first, second = second, first
    if second[0].first > first[0].last + 1:
        return None
    joined = first[1] + second[1][first[0].last + 1 - second[0].first :]
    span = Span(first[0].first, max(first[0].last, second[0].last))
    latest = other if other.asked > part.asked else part
    return as_part(whole(latest), Extent(span, one.length)), joined


def completed(part: Stored) -> Stored | None:
    """Return the head of the whole response if ``part`` has all of its bytes, else None."""
    extent = extent_of(part)
    if extent is None or extent.span.size != extent.length:
        return None
    return whole(part)
