"""DATA. The cache as a source: it answers from its store, or through the next source."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from lbproxy.cache.asked import PLAIN, PLAIN_WITH_COOKIES, Asked, ask
from lbproxy.cache.freshness import current_age
from lbproxy.cache.key import Key
from lbproxy.cache.keybytes import key_digest
from lbproxy.cache.memory import Entry
from lbproxy.cache.parts import asks_part
from lbproxy.cache.ranges import Span
from lbproxy.cache.search import SearchRule, applies, is_reduced, search_rule
from lbproxy.cache.serving import Decision, Use, decide, usable_on_error
from lbproxy.cache.stored import Stored
from lbproxy.compiled import native
from lbproxy.http.message import End, RequestHead
from lbproxy.observe.record import CacheNote
from lbproxy.proxy.features.caching.answers import Said, answer, planned
from lbproxy.proxy.features.caching.asking import identified
from lbproxy.proxy.features.caching.bypass import Bypass, is_forced, same_url, selected
from lbproxy.proxy.features.caching.counters import CacheCounters
from lbproxy.proxy.features.caching.elsewhere import Awaiting
from lbproxy.proxy.features.caching.fetching import FetchSource
from lbproxy.proxy.features.caching.holds import StoredBody
from lbproxy.proxy.features.caching.opening import Opening
from lbproxy.proxy.features.caching.ownreplies import answer_only_cached, answer_purge
from lbproxy.proxy.features.caching.parts import (
    MISSES,
    answer_parts,
    miss_reason,
    stale_parts,
)
from lbproxy.proxy.features.caching.postbody import begin_held
from lbproxy.proxy.features.caching.reading import FileReading
from lbproxy.proxy.features.caching.sharing import fits_fetch
from lbproxy.proxy.http.bodystream import respond
from lbproxy.proxy.http.sink import Asking
from lbproxy.proxy.http.source import Source
from lbproxy.proxy.http.streams import SourceStream
from lbproxy.proxy.http.traffic import HTTPTraffic

__all__ = ["CacheSource"]

_SERVE: Final = Use.SERVE  # cached lookup
_SERVE_AND_REFRESH: Final = Use.SERVE_AND_REFRESH
_REFUSE: Final = Use.REFUSE
_VALIDATE: Final = Use.VALIDATE


@native(allow_interpreted_subclasses=True)
class CacheSource(FetchSource):
    """The source of the exchanges of a route with ``cache``. ``inner``: the next source."""

    def __init__(self, cache: Any, inner: Source) -> None:
        super().__init__(cache, inner)
        self._bypass = Bypass(cache, inner)

    @property
    def wait(self) -> float:
        """Number of seconds for which a request waits for the fetch of another request."""
        seconds: float = self.cache.spec.wait
        return seconds

    def begin(self, head: RequestHead, data: bytes, end: End | None, sink: Asking) -> SourceStream:
        """See :class:`Source`."""
        cache, traffic = self.cache, sink.traffic
        if head.method == b"PURGE":
            return answer_purge(cache, head, sink)
        asked = ask(head, cache.policy)
        if asked.control.only_if_cached and self._passes(asked, traffic):
            return answer_only_cached(self.cache, sink)
        if asked.obstacle is None and cache.bypasses(traffic):
            return self._bypass.begin(head, data, end, sink, "bypass", "bypass")
        if asked.obstacle is not None:
            reason = "method" if asked.obstacle == "method" else "bypass"
            return self._bypass.begin(head, data, end, sink, reason, asked.obstacle)
        if identified(traffic):
            obstacle = "connection with credentials"
            return self._bypass.begin(head, data, end, sink, "bypass", obstacle)
        if head.method == b"POST":
            return begin_held(data, end, sink, lambda held: self._begin(asked, held))
        return self._begin(asked, sink)

    def begin_plain(self, key: Key, cookies: bool, sink: Asking) -> SourceStream:
        """Answer a plain request (:func:`~lbproxy.cache.ready.is_plain`) that the short path could
        not answer.

        ``cookies``: the request has cookies. None of the conditions that :meth:`begin` checks can
        hold.
        """
        cache = self.cache
        asked = PLAIN_WITH_COOKIES if cookies else PLAIN
        store, memory = cache.store, cache.memory
        entries = memory.lookup(key) if store.memory_only else store.select(key)
        if entries is None or entries:
            return self._look_up(key, asked, sink)
        shared = not cookies and cache.collapses(key)
        if shared and (key in cache.fetches or not (store.alone or store.claims is None)):
            return self._fetch(key, asked, sink, None, "uri-miss")
        return self._begin_fetch(key, asked, sink, None, "uri-miss", shared)

    def _begin(self, asked: Asked, sink: Asking) -> SourceStream:
        """Answer a request that the cache may handle, and whose body is complete."""
        cache, key = self.cache, self._key(sink)
        if cache.refreshes(sink.traffic):
            cache.store.sync()  # do not join a fetch that another process has purged
            return self._fetch(key, asked, sink, None, "uri-miss")
        return self._look_up(key, asked, sink)

    def _ask(self, sink: Asking) -> Asked:
        return ask(sink.traffic.request, self.cache.policy)

    def _look_up(self, key: Key, asked: Asked, sink: Asking, waited: bool = False) -> SourceStream:
        """Answer from the store, or by a fetch. ``waited``: the request has already waited for
        another process, and does not wait again.
        """
        cache = self.cache
        if cache.searches and applies(key, cache.policy):
            for other, rule in cache.searches.keys(key):
                entries = cache.store.select(other)
                if entries is None:
                    then = self._searched(other, rule, key, asked, waited)
                    return self._load(other, sink, then)
                if self._answers(entries, rule, sink):
                    return self._found(entries, other, asked, sink, waited)
        return self._look_up_own(key, asked, sink, waited)

    def _look_up_own(self, key: Key, asked: Asked, sink: Asking, waited: bool) -> SourceStream:
        """Look up a request by its own key, which has its whole query."""
        entries = self.cache.store.select(key)
        if entries is None:
            return self._load(
                key, sink, lambda sink, found: self._found(found, key, asked, sink, waited)
            )
        return self._found(entries, key, asked, sink, waited)

    def _answers(self, entries: list[Entry], rule: SearchRule, sink: Asking) -> bool:
        """Return whether the request selects a response that still states ``rule``."""
        entry = selected(entries, sink.traffic.request, self.cache)
        if entry is None or search_rule(entry.stored) != rule:
            return False
        return same_url(self.cache, entry.stored, sink)

    def _searched(
        self, other: Key, rule: SearchRule, key: Key, asked: Asked, waited: bool
    ) -> Callable[[Asking, list[Entry]], SourceStream]:
        """Return the function that answers once the responses of ``other`` are loaded."""

        def then(sink: Asking, found: list[Entry]) -> SourceStream:
            if self._answers(found, rule, sink):
                return self._found(found, other, asked, sink, waited)
            return self._look_up_own(key, asked, sink, waited)

        return then

    def _load(
        self, key: Key, sink: Asking, then: Callable[[Asking, list[Entry]], SourceStream]
    ) -> SourceStream:
        """Answer by ``then`` once the responses of ``key`` are read from the folder."""
        opening = Opening(self, sink, then)
        self.cache.store.load(key, opening.loaded)
        return opening

    @property
    def counters(self) -> CacheCounters:
        """The counters of the cache."""
        found: CacheCounters = self.cache.counters
        return found

    def load_took(self, seconds: float) -> None:
        """Count a load from the folder."""
        self.cache.counters.loads += 1
        self.cache.counters.load_seconds += seconds

    def _found(
        self, entries: list[Entry], key: Key, asked: Asked, sink: Asking, waited: bool = False
    ) -> SourceStream:
        """Answer by one of the stored responses of ``key``, or by a fetch."""
        cache = self.cache
        entry = selected(entries, sink.traffic.request, cache)
        if entry is not None and is_reduced(key) and not same_url(cache, entry.stored, sink):
            return self._look_up_own(self._key(sink), asked, sink, waited)
        if entry is None:
            parts = self._answer_parts(entries, key, asked, sink) if entries else None
            if parts is not None:
                return parts
            return self._fetch(key, asked, sink, None, miss_reason(entries), waited)
        decision = decide(entry.stored, asked, cache.policy, cache.wall())
        return self._use(entry, decision, key, asked, sink, waited)

    def _answer_parts(
        self, entries: list[Entry], key: Key, asked: Asked, sink: Asking
    ) -> SourceStream | None:
        """Answer from stored parts; return None if a server must be asked first."""

        def refresh(span: Span | None) -> None:
            self._refresh_parts(key, asked, sink, span)

        return answer_parts(self.cache, entries, asked, sink, refresh)

    def _passes(self, asked: Asked, traffic: HTTPTraffic) -> bool:
        """Return whether a request bypasses the store, so that only a server can answer it."""
        return asked.obstacle is not None or identified(traffic) or self.cache.bypasses(traffic)

    def _use(
        self,
        entry: Entry,
        decision: Decision,
        key: Key,
        asked: Asked,
        sink: Asking,
        waited: bool,
    ) -> SourceStream:
        use = decision.use
        if use is _SERVE:
            return self._serve(sink, entry, decision)
        if use is _SERVE_AND_REFRESH:
            self._refresh(key, asked, sink, entry)
            return self._serve(sink, entry, decision)
        if use is _REFUSE:
            if asked.control.only_if_cached:
                return answer_only_cached(self.cache, sink)
            head = sink.traffic.request
            return self._bypass.begin(head, b"", None, sink, "bypass", decision.reason)
        reason = "request" if decision.ttl > 0 else "stale"
        validated = use is _VALIDATE and asked.method != b"POST"  # a POST has no conditions
        return self._fetch(key, asked, sink, entry if validated else None, reason, waited)

    # -- from the store -------------------------------------------------------------------------

    def _serve(self, sink: Asking, entry: Entry, decision: Decision) -> SourceStream:
        counters = self.cache.counters
        counters.hits += 1
        if decision.ttl <= 0:
            counters.stale += 1
        detail = "" if decision.use is _SERVE and decision.ttl > 0 else decision.reason
        facts: dict[str, Any] = {"hit": True, "ttl": decision.ttl, "detail": detail}
        sink.traffic.cached = CacheNote(
            "hit" if decision.ttl > 0 else "stale", detail, decision.age
        )
        return self._answer(sink, entry, entry.stored, decision.age, facts)

    def _answer(
        self, sink: Asking, entry: Entry, stored: Stored, age: float, facts: dict[str, Any]
    ) -> SourceStream:
        cache, said = self.cache, self._say(sink, age, facts)
        if sink.traffic.request.method == b"HEAD":  # needs no file
            cache.store.use(entry)
            head = planned(stored, entry.size, sink.traffic.request, said, cache.wall())[0]
            return respond(sink, head, b"")
        opened = cache.store.open(entry)
        if opened is None:  # the file was touched, so it is verified again
            return self._load(entry.key, sink, lambda sink, found: self._again(sink, found, entry))
        cache.store.use(entry)
        file = opened if isinstance(opened, bytes) else FileReading(opened, cache.jobs)
        head, body = answer(stored, file, sink.traffic.request, said, cache.wall())
        cache.counters.bytes += head.length or 0
        if isinstance(body, bytes) or not isinstance(file, bytes):
            return respond(sink, head, body)
        return StoredBody(cache, entry, head, body, sink).start()

    def _again(self, sink: Asking, entries: list[Entry], gone: Entry) -> SourceStream:
        """Answer after the file of ``gone`` had to be verified again."""
        asked = self._ask(sink)
        usable = [one for one in entries if one is not gone]
        return self._found(usable, gone.key, asked, sink)

    def _say(self, sink: Asking, age: float, facts: dict[str, Any]) -> Said:
        return Said(self.cache.name, age, self.cache.spec.cache_status, **facts)

    def serve_validated(
        self, sink: Asking, entry: Entry, stored: Stored, status: int, shared: bool
    ) -> SourceStream:
        """Answer with a stored response that the server has just validated."""
        self.cache.counters.revalidated += 1
        age = current_age(stored, self.cache.wall())
        facts: dict[str, Any] = {"fwd": "stale", "status": status}
        facts |= (
            {"ttl": stored.lifetime - age, "stored": True} if shared else {"detail": "not stored"}
        )
        sink.traffic.cached = CacheNote("revalidated", "", age)
        return self._answer(sink, entry, stored, age, facts)

    def serve_stale(self, sink: Asking, entry: Entry, why: str) -> SourceStream:
        """Answer with a stored response because the server failed."""
        self.cache.counters.hits += 1
        self.cache.counters.stale += 1
        age = current_age(entry.stored, self.cache.wall())
        facts = {"hit": True, "ttl": entry.stored.lifetime - age, "detail": why}
        sink.traffic.cached = CacheNote("stale", why, age)
        return self._answer(sink, entry, entry.stored, age, facts)

    def stale_answer(
        self, key: Key, asked: Asked, sink: Asking, why: str
    ) -> Callable[[], SourceStream] | None:
        """Return the function that answers a request for which the server failed, for the reason
        ``why``, with stored responses; None if none may be used.
        """
        cache = self.cache
        entries = cache.store.select(key) or []
        entry = selected(entries, sink.traffic.request, cache)
        if entry is None:
            parts = stale_parts(cache, entries, sink, why) if entries else None
            return None if parts is None else parts.send
        if is_forced(cache, asked, sink) or not same_url(cache, entry.stored, sink):
            return None
        rule = usable_on_error(entry.stored, asked, cache.policy, cache.wall())
        return None if rule is None else lambda: self.serve_stale(sink, entry, f"{why}, {rule}")

    # -- from the servers -----------------------------------------------------------------------

    def _fetch(
        self,
        key: Key,
        asked: Asked,
        sink: Asking,
        entry: Entry | None,
        reason: str,
        waited: bool = False,
    ) -> SourceStream:
        """Join the fetch of ``key``, wait for the fetch of another process, or start one."""
        cache, head = self.cache, sink.traffic.request
        if asked.control.only_if_cached:
            return answer_only_cached(self.cache, sink)
        ranged = head.header(b"range") is not None and asked.method != b"POST"
        if ranged and entry is None and reason in MISSES and asks_part(head):
            return self._fetch_part(key, asked, sink, reason)
        if head.method == b"HEAD" or (ranged and entry is None):
            return self._bypass.begin(head, b"", None, sink, reason, "", key, asked, self)
        shared = self._may_share(asked, entry) and cache.collapses(key)
        running = cache.fetches.get(key) if shared else None
        if running is not None and running.joinable:
            if asked.demands(cache.policy) or not fits_fetch(cache, running, sink):
                return self._begin_fetch(key, asked, sink, entry, reason, shared=False)
            if len(running.readers) <= cache.spec.waiters and not ranged:
                return self._join(running, sink, first=False)
            return self._too_many(key, asked, sink, reason)
        if not shared or waited or asked.demands(cache.policy):
            return self._begin_fetch(key, asked, sink, entry, reason, shared)
        return self._claim(key, asked, sink, entry, reason)

    def _too_many(self, key: Key, asked: Asked, sink: Asking, reason: str) -> SourceStream:
        head, detail = sink.traffic.request, "too many wait"
        return self._bypass.begin(head, b"", None, sink, reason, detail, key, asked, self)

    def _claim(
        self, key: Key, asked: Asked, sink: Asking, entry: Entry | None, reason: str
    ) -> SourceStream:
        """Start a fetch for all processes, or wait for the fetch of another process."""
        cache, claims = self.cache, self.cache.store.claims
        if claims is None:
            return self._begin_fetch(key, asked, sink, entry, reason, shared=True)
        digest = key_digest(key)
        claim = claims.claim(digest)
        if claim is None:
            if cache.elsewhere.count(digest) >= cache.spec.waiters:
                return self._too_many(key, asked, sink, reason)
            place = cache.elsewhere, digest
            return Awaiting(self, sink, place, lambda sink: self._look_up(key, asked, sink, True))
        if cache.store.has_news(digest):  # the claim of another process has just ended
            claim.release()
            return self._look_up(key, asked, sink, waited=True)
        return self._begin_fetch(key, asked, sink, entry, reason, True, claim)

    def _refresh(self, key: Key, asked: Asked, sink: Asking, entry: Entry) -> None:
        """Refresh a stale response in the background, unless another request already does."""
        cache = self.cache
        running = cache.fetches.get(key)
        if running is not None and running.joinable:
            return
        if not self._may_share(asked, entry):
            return  # the response to this request could not be stored for others
        claims = cache.store.claims
        claim = None if claims is None else claims.claim(key_digest(key))
        if claims is not None and claim is None:
            return  # another process refreshes it
        fetch = self._new_fetch(key, asked, sink, None if asked.method == b"POST" else entry)
        fetch.claim = claim
        cache.fetching(fetch, True)
        fetch.start(self.inner)

    def pass_by(self, sink: Asking) -> SourceStream:
        """Send the request of ``sink`` to the servers, bypassing the store."""
        head, detail = sink.traffic.request, "the shared response does not fit"
        key, asked = self._key(sink), self._ask(sink)
        return self._bypass.begin(head, b"", None, sink, "uri-miss", detail, key, asked, self)

    def anew(self, sink: Asking) -> SourceStream:
        """Answer a request whose stored response was removed because it was outdated: by one that
        was stored meanwhile, or by a fetch for all processes.
        """
        return self._look_up(self._key(sink), self._ask(sink), sink)

    def alone(self, sink: Asking) -> SourceStream:
        """Answer a request from the store, or by a fetch that no other request joins."""
        cache, traffic = self.cache, sink.traffic
        head: RequestHead = traffic.request
        asked, key = self._ask(sink), self._key(sink)
        entry = selected(cache.store.select(key) or [], head, cache)
        if entry is None:
            return self.pass_by(sink)
        decision = decide(entry.stored, asked, cache.policy, cache.wall())
        if decision.use in (_SERVE, _SERVE_AND_REFRESH):
            return self._serve(sink, entry, decision)
        if decision.use is _REFUSE:
            return self.pass_by(sink)
        wanted = decision.use is _VALIDATE and asked.method != b"POST"
        validated = entry if wanted else None
        return self._begin_fetch(key, asked, sink, validated, "stale", shared=False)
