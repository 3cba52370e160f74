"""DATA. Answers from stored parts of a response (:mod:`lbproxy.cache.parts`).

Each part is a separate body, in memory or in a file. An answer is sent from the parts in turn.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, Final

from lbproxy.cache.asked import Asked, ask
from lbproxy.cache.freshness import current_age
from lbproxy.cache.key import sent_fields
from lbproxy.cache.memory import Entry
from lbproxy.cache.parts import Parts, is_part, parts_of, wanted
from lbproxy.cache.ranges import Span
from lbproxy.cache.serving import Use, decide, usable_on_error
from lbproxy.errors import Kind, ProxyError
from lbproxy.observe.record import CacheNote
from lbproxy.proxy.features.caching.answers import PIECE, Said, planned
from lbproxy.proxy.features.caching.bypass import is_forced, same_url
from lbproxy.proxy.features.caching.holds import TOO_SLOW, Hold
from lbproxy.proxy.features.caching.reading import FileReading
from lbproxy.proxy.http.bodystream import BodyStream
from lbproxy.proxy.http.sink import Asking
from lbproxy.proxy.http.streams import SourceStream

__all__ = ["MISSES", "PartsAnswer", "answer_parts", "miss_reason", "stale_parts"]

MISSES: Final = frozenset({"uri-miss", "vary-miss", "partial"})
"""Reasons for requests that no stored response can answer, for :func:`miss_reason`."""

_Opened = bytes | tuple[bytes, Span] | FileReading
"""Bytes to send, a span of a body in memory, or a span of a file."""


def miss_reason(entries: list[Entry]) -> str:
    """Return the Cache-Status reason of a request that none of ``entries`` answers."""
    if not entries:
        return "uri-miss"
    return "partial" if all(is_part(one.stored) for one in entries) else "vary-miss"


def answer_parts(
    cache: Any,
    entries: list[Entry],
    asked: Asked,
    sink: Asking,
    refresh: Callable[[Span | None], None],
) -> SourceStream | None:
    """Answer a request from the stored parts of its key; return None if some are missing.

    ``refresh(span)`` refreshes stale parts in the background by a request for ``span``, None for
    the whole response.
    """
    parts, spans = _covering(cache, entries, sink)
    if parts is None:
        return None
    decision = decide(parts.stored, asked, cache.policy, cache.wall())
    if decision.use is not Use.SERVE and decision.use is not Use.SERVE_AND_REFRESH:
        return None
    detail = decision.reason if decision.ttl <= 0 or parts.stored.purged else "combined parts"
    found = PartsAnswer(cache, parts, detail, sink)
    if not found.open():
        return None
    if decision.use is Use.SERVE_AND_REFRESH:
        refresh(spans[0] if spans[0].size < parts.length else None)
    return found.send()


def stale_parts(cache: Any, entries: list[Entry], sink: Asking, why: str) -> PartsAnswer | None:
    """Return the answer from stored parts to a request for which the server failed, for the reason
    ``why``; None if that is not allowed, if bytes are missing, or if a file must be verified first.
    """
    parts = _covering(cache, entries, sink)[0]
    if parts is None or not same_url(cache, parts.stored, sink):
        return None
    asked = ask(sink.traffic.request, cache.policy)
    rule = usable_on_error(parts.stored, asked, cache.policy, cache.wall())
    if rule is None or is_forced(cache, asked, sink):
        return None
    found = PartsAnswer(cache, parts, f"{why}, {rule}", sink, failed=True)
    return found if found.open() else None


def _covering(cache: Any, entries: list[Entry], sink: Asking) -> tuple[Parts | None, list[Span]]:
    """Return the stored parts that have all bytes of the answer to a request, and the spans of
    these bytes; None if there are none.

    A HEAD asks for no range, so it needs all bytes of the response, too (RFC 9111 §3.3).
    """
    request, now = sink.traffic.request, cache.wall()
    parts = parts_of(entries, sent_fields(request, cache.policy))
    spans = [] if parts is None else wanted(request, parts.stored, now)
    if parts is None or any(parts.covering(span) is None for span in spans):
        return None, []
    return parts, spans


class PartsAnswer:
    """A body of several parts on its way to one client; compare
    :class:`~lbproxy.proxy.features.caching.holds.StoredBody`.

    ``detail``: for Cache-Status. ``failed``: it answers because the server failed.
    """

    def __init__(
        self, cache: Any, parts: Parts, detail: str, sink: Asking, failed: bool = False
    ) -> None:
        self._cache = cache
        self._sink = sink
        stored, now = parts.stored, cache.wall()
        self._age = current_age(stored, now)
        ttl = stored.lifetime - self._age
        self._parts = parts
        self._detail = detail
        self._stale = failed or ttl <= 0
        facts: dict[str, Any] = {"hit": True, "ttl": ttl, "detail": detail}
        said = Said(cache.name, self._age, cache.spec.cache_status, **facts)
        self._head, self._plan = planned(stored, stored.length, sink.traffic.request, said, now)
        self._opened: list[_Opened] = []
        self._entries: dict[Entry, None] = {}
        self._stream: BodyStream | None = None

    def open(self) -> bool:
        """Open the parts; return False if a file must be verified first."""
        opened = self._open(self._plan)
        self._opened = opened or []
        return opened is not None

    def close(self) -> None:
        """Close the parts, which are not sent."""
        _close(self._opened)

    def send(self) -> SourceStream:
        """Send the response from the open parts."""
        cache, sink, head = self._cache, self._sink, self._head
        for entry in self._entries:
            cache.store.use(entry)
        cache.counters.hits += 1
        if self._stale:
            cache.counters.stale += 1
        cache.counters.bytes += head.length or 0
        result = "stale" if self._stale else "hit"
        sink.traffic.cached = CacheNote(result, self._detail, self._age)
        self._stream = BodyStream(head, self._held(self._opened), sink)
        self._stream.start()
        return self._stream

    def _open(self, plan: list[bytes | Span]) -> list[_Opened] | None:
        """Open the parts of the body; return None if that is not possible now."""
        found: list[_Opened] = []
        for one in plan:
            if isinstance(one, bytes):
                found.append(one)
                continue
            for entry, span in self._parts.covering(one) or ():
                body = self._cache.store.open(entry)
                if body is None:
                    _close(found)
                    return None
                self._entries[entry] = None
                if isinstance(body, bytes):
                    found.append((body, span))
                else:
                    reading = FileReading(body, self._cache.jobs)
                    found.append(reading.pieces([span], PIECE))
        return found

    async def _held(self, opened: list[_Opened]) -> AsyncIterator[bytes]:
        """Yield the pieces of the body. Its parts are held until the end, or until it is closed."""
        cache, hold = self._cache, Hold(self._sink.traffic, self._cut)
        readings = [cache.memory.begin_reading(entry) for entry in self._entries]
        cache.holds.add(hold)
        try:
            for one in opened:
                if isinstance(one, bytes):
                    yield one
                elif isinstance(one, FileReading):
                    async for piece in one:
                        yield piece
                    one.close()
                else:
                    body, span = one
                    for at in range(span.first, span.last + 1, PIECE):
                        yield body[at : min(at + PIECE, span.last + 1)]
        finally:
            cache.holds.remove(hold)
            for reading in readings:
                cache.memory.end_reading(reading)
            _close(opened)

    def _cut(self) -> None:
        if self._stream is not None:
            self._stream.fail(ProxyError(Kind.CLIENT_STALLED, TOO_SLOW))


def _close(opened: list[_Opened]) -> None:
    for one in opened:
        if isinstance(one, FileReading):
            one.close()
