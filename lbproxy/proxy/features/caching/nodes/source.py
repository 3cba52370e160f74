"""DATA. The source of routes whose cache has ``redis``: it queries Redis before a fetch."""

from __future__ import annotations

from lbproxy.cache.asked import Asked
from lbproxy.cache.key import Key
from lbproxy.cache.memory import Entry
from lbproxy.cache.search import is_reduced
from lbproxy.cache.serving import Use, decide
from lbproxy.proxy.features.caching.bypass import same_url, selected
from lbproxy.proxy.features.caching.opening import Opening
from lbproxy.proxy.features.caching.source import CacheSource
from lbproxy.proxy.http.sink import Asking
from lbproxy.proxy.http.streams import SourceStream

__all__ = ["NodesCacheSource"]


class NodesCacheSource(CacheSource):
    """See the module, and :class:`CacheSource`."""

    def _fetch(
        self,
        key: Key,
        asked: Asked,
        sink: Asking,
        entry: Entry | None,
        reason: str,
        waited: bool = False,
    ) -> SourceStream:
        """Answer with a response stored by another node, or as :class:`CacheSource` does."""
        cache, store = self.cache, self.cache.nodes
        running = cache.fetches.get(key)
        if running is not None and store is not None and not store.covers(running):
            del cache.fetches[key]  # it may precede a purge that has returned
            running = None
        joins = running is not None and running.joinable
        forced = asked.demands(cache.policy) or cache.refreshes(sink.traffic)
        if store is None or joins or forced or not store.tier.answers:
            return super()._fetch(key, asked, sink, entry, reason, waited)

        def then(sink: Asking, found: list[Entry]) -> SourceStream:
            return self._shared(found, key, asked, sink, entry, reason, waited)

        opening = Opening(self, sink, then)
        store.ask_nodes(key, opening.loaded)
        return opening

    def _shared(
        self,
        found: list[Entry],
        key: Key,
        asked: Asked,
        sink: Asking,
        entry: Entry | None,
        reason: str,
        waited: bool,
    ) -> SourceStream:
        """Answer with one of the responses of the other nodes, or fetch."""
        cache = self.cache
        other = selected(found, sink.traffic.request, cache)
        if other is not None and is_reduced(key) and not same_url(cache, other.stored, sink):
            other = None
        if other is None and found:
            known = [*found, *(cache.store.select(key) or ())]  # empty if purges may be unknown
            parts = self._answer_parts(known, key, asked, sink)
            if parts is not None:
                return parts
        if other is not None:
            decision = decide(other.stored, asked, cache.policy, cache.wall())
            if decision.use in (Use.SERVE, Use.SERVE_AND_REFRESH):
                return self._use(other, decision, key, asked, sink, waited)
            if entry is None and decision.use is Use.VALIDATE and asked.method != b"POST":
                entry, reason = other, "stale"
        return super()._fetch(key, asked, sink, entry, reason, waited)
