"""DATA. The short path of a cache: plain hits, in compiled code.

Nearly all hits of a busy site are unconditional GET requests for a fresh response. They need none
of the rules in :mod:`lbproxy.cache.serving`, and no new head: :class:`HitSource` looks up the entry
and sends its prepared head (:mod:`lbproxy.cache.ready`). In any other case
:class:`~lbproxy.proxy.features.caching.source.CacheSource` answers. It has all rules and would give
the same answers; a test compares both.
"""

from __future__ import annotations

from typing import Any, Final

from lbproxy.cache.choosing import chosen_entry
from lbproxy.cache.memory import Entry
from lbproxy.cache.ready import HitRules, ReadyHead, has_cookies, is_plain
from lbproxy.http.message import END, End, RequestHead, ResponseHead
from lbproxy.observe.record import CacheNote
from lbproxy.proxy.features.caching.disk.entries import Place
from lbproxy.proxy.features.caching.disk.filehits import FileHit
from lbproxy.proxy.features.caching.disk.openfile import OpenFile
from lbproxy.proxy.features.caching.runningfetches import RunningFetches
from lbproxy.proxy.features.caching.sending import LARGEST_WHOLE, SentBody, SentFile
from lbproxy.proxy.features.caching.store import ResponseStore
from lbproxy.proxy.http.sink import Asking
from lbproxy.proxy.http.source import STARTING, Source
from lbproxy.proxy.http.sourcing import Sourcing
from lbproxy.proxy.http.streams import SourceStream
from lbproxy.proxy.http.traffic import HTTPTraffic

__all__ = ["HitSource"]

_PIECE: Final = 64 * 1024
"""Size in bytes of the largest body that is sent with its head."""


_HTTP: Final = b"http"
_HTTPS: Final = b"https"


class HitSource(Source):
    """See the module. ``cache``: a :class:`~lbproxy.proxy.features.caching.cache.Cache`;
    ``inner``: the :class:`~lbproxy.proxy.features.caching.source.CacheSource` of all other
    requests.
    """

    def __init__(self, cache: Any, inner: Any) -> None:
        self._cache: RunningFetches = cache
        self._store: ResponseStore = cache.store
        self._inner = inner
        self._backend_name = ""
        self._backend = b""

    def begin(self, head: RequestHead, data: bytes, end: End | None, sink: Asking) -> SourceStream:
        """See :class:`Source`."""
        rules: HitRules = self._cache.hit_rules
        stream: Any = None
        if is_plain(head, rules):
            stream = self._serve(head, rules, sink)
            if stream is None:
                stream = self._begin_plain(head, sink)
        if stream is None:
            stream = self._inner.begin(head, data, end, sink)
        found: SourceStream = stream
        return found

    def _begin_plain(self, head: RequestHead, sink: Asking) -> Any:
        """Answer by a fetch a plain request that the store cannot answer here; return None if the
        full rules must decide.
        """
        traffic = self._traffic(sink)
        if traffic.info.bound is not None or self._cache.searches.rules:
            return None
        return self._inner.begin_plain(self._key(head, traffic), has_cookies(head), sink)

    def _serve(self, head: RequestHead, rules: HitRules, sink: Asking) -> Any:
        """Answer a plain request from the store and return the stream; return None, without side
        effects, if that is not possible here.
        """
        cache, traffic = self._cache, self._traffic(sink)
        if traffic.info.bound is not None:
            return None
        key, store = self._key(head, traffic), self._store
        if cache.searches.rules and cache.searches.concern(key):
            return None
        if store.memory_only:
            entries = cache.memory.lookup(key)
            found = chosen_entry(entries, head) if entries else None
        elif store.held and key in store.held:  # memory may have evicted it
            known = store.select(key)
            found = chosen_entry(known, head) if known else None
        else:
            entry: Any = store.file_hits.find(key, head)
            if type(entry) is FileHit:
                file_hit: FileHit = entry
                return self._serve_file(file_hit, head, rules, sink)
            found = entry
        return None if found is None else self._serve_entry(found, head, rules, sink)

    def _serve_entry(self, entry: Entry, head: RequestHead, rules: HitRules, sink: Asking) -> Any:
        """See :meth:`_serve`."""
        ready: ReadyHead = entry.ready
        age = ready.age_at(self._cache.wall())
        if age < 0 or not ready.may_answer(head):
            return None
        body: Any = entry.body
        if type(body) is not bytes:
            body = self._store.body_of(entry)  # from a file
        return self._answer(entry, ready, body, age, rules, sink)

    def _serve_file(self, hit: FileHit, head: RequestHead, rules: HitRules, sink: Asking) -> Any:
        """See :meth:`_serve`."""
        ready = hit.ready
        age = ready.age_at(self._cache.wall())
        if age < 0 or not ready.may_answer(head):
            return None
        return self._answer(hit, ready, self._store.file_hits.body_of(hit), age, rules, sink)

    def _answer(
        self, entry: Any, ready: ReadyHead, body: Any, age: float, rules: HitRules, sink: Asking
    ) -> Any:
        """Answer with a head and its body, None if that cannot be read here."""
        if type(body) is bytes:
            return self._send(entry, body, ready.head(age, len(body), rules), age, sink)
        if body is None:
            return None
        return self._send_file(entry, body, ready.head(age, body.size, rules), age, sink)

    def _send(
        self, entry: Any, body: bytes, response: ResponseHead, age: float, sink: Asking
    ) -> Any:
        """Answer with a body in memory, if it is small or the client can take it at once."""
        size = len(body)
        if size <= _PIECE:
            self._note(entry, size, age, sink)
            sink.server_events([response, body, END] if body else [response, END])
            return STARTING
        if size > LARGEST_WHOLE or type(entry) is FileHit or not isinstance(sink, Sourcing):
            return None
        self._note(entry, size, age, sink)
        return SentBody(self._cache, entry, sink).start(response, body)

    def _send_file(
        self, entry: Any, body: OpenFile, response: ResponseHead, age: float, sink: Asking
    ) -> Any:
        """Answer with a body in a file, if its first bytes are in memory."""
        if isinstance(sink, Sourcing):
            stream = SentFile(body, self._cache.jobs, sink)
            first = stream.first()
            if first is not None:
                self._note(entry, body.size, age, sink)
                return stream.start(response, first)
        body.close()
        return None

    def _note(self, entry: Any, size: int, age: float, sink: Asking) -> None:
        """Count a hit of an entry of memory, or of a :class:`FileHit`."""
        place: Place | None
        if isinstance(entry, FileHit):
            place = entry.place
            place.hits += 1
        else:
            known: Entry = entry
            place = known.place
            self._cache.memory.use(known)
        if place is not None:
            place.used = True
        counters = self._cache.counters
        counters.hits += 1
        counters.bytes += size
        self._traffic(sink).cached = CacheNote("hit", "", age)

    @staticmethod
    def _traffic(sink: Asking) -> HTTPTraffic:
        found: HTTPTraffic = sink.traffic
        return found

    def _key(self, head: RequestHead, traffic: HTTPTraffic) -> Any:
        """Return what :func:`~lbproxy.cache.key.key_of` returns for a plain request."""
        name = traffic.backend_name
        if name != self._backend_name:
            self._backend_name, self._backend = name, name.encode()
        scheme = traffic.scheme
        known = _HTTP if scheme == "http" else _HTTPS if scheme == "https" else scheme.encode()
        return (self._backend, known, head.host, head.target)
