"""DATA. Answers from stored parts of a response (:mod:`lbproxy.cache.parts`).

Each part is a separate body, in memory or in a file. An answer is sent from the parts in turn.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

from lbproxy.cache.asked import Asked
from lbproxy.cache.key import sent_fields
from lbproxy.cache.memory import Entry
from lbproxy.cache.parts import Parts, is_part, parts_of, wanted
from lbproxy.cache.ranges import Span
from lbproxy.cache.serving import Decision, Use, decide
from lbproxy.errors import Kind, ProxyError
from lbproxy.observe.record import CacheNote
from lbproxy.proxy.features.caching.answers import PIECE, Said, planned
from lbproxy.proxy.features.caching.holds import TOO_SLOW, Hold
from lbproxy.proxy.features.caching.reading import FileReading
from lbproxy.proxy.http.bodystream import BodyStream
from lbproxy.proxy.http.sink import Asking
from lbproxy.proxy.http.streams import SourceStream

__all__ = ["MISSES", "answer_parts", "miss_reason"]

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
    cache: Any, entries: list[Entry], asked: Asked, sink: Asking
) -> SourceStream | None:
    """Answer a request from the stored parts of its key; return None if some are missing."""
    request, now = sink.traffic.request, cache.wall()
    parts = parts_of(entries, sent_fields(request, cache.policy))
    if parts is None:
        return None
    decision = decide(parts.stored, asked, cache.policy, now)
    if decision.use is not Use.SERVE:
        return None
    if any(parts.covering(span) is None for span in wanted(request, parts.stored, now)):
        return None
    return _Answer(cache, parts, decision, sink).start()


class _Answer:
    """A body of several parts on its way to one client; compare
    :class:`~lbproxy.proxy.features.caching.holds.StoredBody`.
    """

    def __init__(self, cache: Any, parts: Parts, decision: Decision, sink: Asking) -> None:
        self._cache = cache
        self._parts = parts
        self._decision = decision
        self._sink = sink
        self._entries: dict[Entry, None] = {}
        self._stream: BodyStream | None = None

    def start(self) -> SourceStream | None:
        """Send the response; return None without sending if a file must be verified first."""
        cache, decision, sink = self._cache, self._decision, self._sink
        facts: dict[str, Any] = {"hit": True, "ttl": decision.ttl, "detail": "combined parts"}
        said = Said(cache.name, decision.age, cache.spec.cache_status, **facts)
        stored = self._parts.stored
        head, plan = planned(stored, stored.length, sink.traffic.request, said, cache.wall())
        opened = self._open(plan)
        if opened is None:
            return None
        for entry in self._entries:
            cache.store.use(entry)
        cache.counters.hits += 1
        cache.counters.bytes += head.length or 0
        sink.traffic.cached = CacheNote("hit", "combined parts", decision.age)
        self._stream = BodyStream(head, self._held(opened), sink)
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
