"""DATA. The part of the cache source that starts fetches and lets requests join them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from lbproxy.cache.asked import Asked
from lbproxy.cache.key import Key, key_of
from lbproxy.cache.memory import Entry
from lbproxy.cache.ranges import Span
from lbproxy.compiled import native
from lbproxy.observe.record import CacheNote
from lbproxy.proxy.features.caching.bypass import public_url
from lbproxy.proxy.features.caching.disk.claims import Claim
from lbproxy.proxy.features.caching.fetch import Fetch
from lbproxy.proxy.features.caching.ownreplies import send_hints
from lbproxy.proxy.features.caching.partfetch import PartFetch, part_key
from lbproxy.proxy.features.caching.postbody import body_of
from lbproxy.proxy.features.caching.reader import Reader
from lbproxy.proxy.features.caching.runningfetches import count_reason
from lbproxy.proxy.features.caching.sharing import fits_fetch
from lbproxy.proxy.http.sink import Asking
from lbproxy.proxy.http.source import Source
from lbproxy.proxy.http.streams import SourceStream
from lbproxy.proxy.http.traffic import HTTPTraffic

__all__ = ["FetchSource"]


@native(allow_interpreted_subclasses=True)
class FetchSource(Source):
    """Base class of :class:`~lbproxy.proxy.features.caching.source.CacheSource`. ``inner``: the
    next source.
    """

    def __init__(self, cache: Any, inner: Source) -> None:
        self.cache = cache
        self.inner = inner

    def _key(self, sink: Asking) -> Key:
        traffic: HTTPTraffic = sink.traffic
        scheme, backend = traffic.scheme.encode(), traffic.backend_name.encode()
        return key_of(traffic.request, self.cache.policy, scheme, backend, body_of(sink))

    def _begin_fetch(
        self,
        key: Key,
        asked: Asked,
        sink: Asking,
        entry: Entry | None,
        reason: str,
        shared: bool,
        claim: Claim | None = None,
        made: Callable[..., Fetch] = Fetch,
    ) -> SourceStream:
        cache = self.cache
        cache.counters.misses += 1
        count_reason(cache.reasons.misses, reason)
        sink.traffic.cached = CacheNote("miss", reason)
        fetch = self._new_fetch(key, asked, sink, entry, made)
        fetch.reason, fetch.claim = reason, claim
        cache.fetching(fetch, shared)
        if cache.spec.early_hints:
            send_hints(cache, self._key(sink), sink)
        reader = self._join(fetch, sink, first=True)
        fetch.start(self.inner)
        return reader

    def _new_fetch(
        self,
        key: Key,
        asked: Asked,
        sink: Asking,
        entry: Entry | None,
        made: Callable[..., Fetch] = Fetch,
    ) -> Fetch:
        url = public_url(sink, self.cache)
        body = body_of(sink) if asked.method == b"POST" else b""
        fetch = made(self.cache, key, url, asked, sink.traffic, entry, body)
        if self.cache.searches.rules:
            fetch.own_key = self._key(sink)
        return fetch

    def _join(self, fetch: Fetch, sink: Asking, first: bool) -> Reader:
        serving: Any = self  # a Serving, which a subclass completes
        reader = Reader(serving, sink, fetch, first)
        fetch.join(reader)
        reader.deliver()
        return reader

    @staticmethod
    def _may_share(asked: Asked, entry: Entry | None) -> bool:
        """Return whether a request may share its response with others, or wait for theirs."""
        if asked.control.no_store:
            return False
        return not asked.personal or (entry is not None and entry.stored.public)

    def _refresh_parts(self, key: Key, asked: Asked, sink: Asking, span: Span | None) -> None:
        """Refresh stale parts in the background, by a request for ``span``, None for the whole
        response. One part refreshes all parts that have its entity tag.
        """
        cache, waiting = self.cache, key
        made: Callable[..., Fetch] = Fetch
        if span is not None:
            wanted = b"bytes=%d-%d" % (span.first, span.last)
            made, waiting = partial(PartFetch, wanted=wanted), part_key(key, [wanted])
        running = cache.fetches.get(waiting)
        if (running is not None and running.joinable) or not self._may_share(asked, None):
            return
        fetch = self._new_fetch(key, asked, sink, None, made)
        cache.fetching(fetch, True)
        fetch.start(self.inner)

    def _fetch_part(self, key: Key, asked: Asked, sink: Asking, reason: str) -> SourceStream:
        """Join the fetch of the same part of the response, or start one.

        Requests with other ranges do not wait for it. Nor do those of other processes.
        """
        cache = self.cache
        waiting = part_key(key, sink.traffic.request.header_values(b"range"))
        # with Redis, a purge by another node may have preceded this request
        shared = cache.nodes is None and self._may_share(asked, None)
        shared = shared and not asked.demands(cache.policy) and cache.collapses(waiting)
        running = cache.fetches.get(waiting) if shared else None
        if running is not None and running.joinable:
            if fits_fetch(cache, running, sink) and len(running.readers) <= cache.spec.waiters:
                return self._join(running, sink, first=False)
            shared = False
        return self._begin_fetch(key, asked, sink, None, reason, shared, made=PartFetch)
