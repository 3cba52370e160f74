"""DATA. Requests that bypass the store. Only the heads of their responses are examined."""

from __future__ import annotations

from typing import Any

from lbproxy.cache.asked import Asked
from lbproxy.cache.cachestatus import cache_status
from lbproxy.cache.freshness import current_age
from lbproxy.cache.invalidation import invalidated_groups, invalidated_urls
from lbproxy.cache.key import Key, sent_fields, sent_headers, sent_target, url_of
from lbproxy.cache.memory import Entry, origin_of
from lbproxy.cache.search import same_search, search_rule
from lbproxy.cache.serving import usable_on_error
from lbproxy.cache.stored import Stored
from lbproxy.cache.updating import head_agrees, updated, validated
from lbproxy.cache.vary import matching
from lbproxy.errors import ProxyError
from lbproxy.http.message import END, End, RequestHead, ResponseHead
from lbproxy.observe.record import CacheNote
from lbproxy.proxy.features.caching.answers import Said, planned
from lbproxy.proxy.features.caching.counters import Reasons
from lbproxy.proxy.features.caching.judging import FAILURES
from lbproxy.proxy.features.caching.postbody import PostSink, body_of
from lbproxy.proxy.http.sink import Asking, ForwardingSink
from lbproxy.proxy.http.source import Source
from lbproxy.proxy.http.streams import SourceStream

__all__ = ["Bypass", "public_url", "same_url", "selected"]


def selected(entries: list[Entry], head: RequestHead, cache: Any) -> Entry | None:
    """Return the stored response of a key that ``head`` selects (RFC 9111 §4.1)."""
    if not entries:
        return None
    found = matching([entry.stored for entry in entries], sent_fields(head, cache.policy))
    return next((entry for entry in entries if entry.stored is found), None)


def public_url(sink: Asking, cache: Any) -> bytes:
    """Return the URL by which the response to a request is purged."""
    return url_of(sink.traffic.request, cache.policy, sink.traffic.scheme.encode())


def same_url(cache: Any, stored: Stored, sink: Asking) -> bool:
    """Return whether a response has the URL of a request, or a URL that it declares equivalent.

    Requests wait together for URLs that the present response declares equivalent; the next response
    may differ.
    """
    if not cache.searches.rules or cache.policy.key:
        return True
    url = public_url(sink, cache)
    return stored.url == url or same_search(search_rule(stored), stored.url, url)


class Bypass:
    """Sends requests to ``inner``, the next source after the cache."""

    def __init__(self, cache: Any, inner: Source) -> None:
        self.cache = cache
        self._inner = inner

    def begin(
        self, head: RequestHead, data: bytes, end: End | None, sink: Asking, reason: str,
        detail: str, key: Key | None = None, asked: Asked | None = None,
    ) -> SourceStream:  # fmt: skip
        """Send a request. ``reason`` is for Cache-Status, ``detail`` for people.

        ``key`` and ``asked``: of a HEAD, which may refresh a stored response."""
        self.cache.counters.bypassed += 1
        Reasons.count(self.cache.reasons.bypassed, detail or reason)
        sink.traffic.cached = CacheNote("bypass", detail or reason)
        if end is None and sink.traffic.request_ended and not data:
            data, end = body_of(sink), END
        facts = {"fwd": reason, "detail": detail}
        return self._inner.begin(head, data, end, _Watching(self, sink, facts, key, asked))

    def observed(self, sink: Asking, response: ResponseHead) -> None:
        """Examine the response to a request that bypasses the store: it may invalidate entries."""
        if isinstance(sink, PostSink):
            return  # the policy considers such a POST safe
        request, url = sink.traffic.request, public_url(sink, self.cache)
        urls = invalidated_urls(url, request, response)
        if urls:
            groups = invalidated_groups(request, response)
            self.cache.invalidate(urls, groups, origin_of(url))

    def observed_head(
        self,
        key: Key,
        asked: Asked,
        request: RequestHead,
        response: ResponseHead,
        sent: tuple[float, int],
    ) -> None:
        """Examine the response to a HEAD: it refreshes a stored GET, or shows that it is outdated.

        ``sent``: when the request was sent, and the number of purges until then. Only a response
        with a matching validator is refreshed, because nothing else proves that the body is
        unchanged.
        """
        store, now, policy = self.cache.store, self.cache.wall(), self.cache.policy
        headers = request.pairs()
        if sent_target(request, policy) != request.target or (
            sent_headers(headers, policy) != headers
        ):
            return  # it may depend on values that are not part of the key
        entry = selected(store.select(key) or [], request, self.cache)
        if entry is None or response.status != entry.stored.status:
            return
        if not head_agrees(entry.stored, response):
            store.expire(entry)
            return
        if sent[1] != self.cache.purges or not validated(entry.stored, response):
            return
        times = (sent[0], now)
        fresh = updated(entry.stored, request, asked, response, policy, times)
        if fresh is not None:
            store.replace(entry, fresh)

    def stale_head(self, key: Key, asked: Asked, sink: Asking, why: str) -> ResponseHead | None:
        """Return the head of a stored GET as the answer to a HEAD for which the server failed; None
        if no stored response may be used. ``why``: the failure.
        """
        cache, request = self.cache, sink.traffic.request
        entry = selected(cache.store.select(key) or [], request, cache)
        if entry is None:
            return None
        stored, now = entry.stored, cache.wall()
        rule = usable_on_error(stored, asked, cache.policy, now)
        if rule is None or not same_url(cache, stored, sink):
            return None
        cache.counters.hits += 1
        cache.counters.stale += 1
        why, age = f"{why}, {rule}", current_age(stored, now)
        sink.traffic.cached = CacheNote("stale", why, age)
        facts: dict[str, Any] = {"hit": True, "ttl": stored.lifetime - age, "detail": why}
        said = Said(cache.name, age, cache.spec.cache_status, **facts)
        return planned(stored, stored.length, request, said, now)[0]


class _Watching(ForwardingSink):
    """Passes on a response that bypasses the cache, and examines its head. After a failure of the
    server, a HEAD gets the head of a stored response that may be used.
    """

    def __init__(
        self,
        bypass: Bypass,
        sink: Asking,
        facts: dict[str, Any],
        key: Key | None,
        asked: Asked | None,
    ) -> None:
        super().__init__(sink)
        self._bypass = bypass
        self._facts = facts
        self._key = key
        self._asked = asked
        self._sent = bypass.cache.wall(), bypass.cache.purges
        self._seen = False

    def server_events(self, events: list[Any]) -> None:
        """See :class:`~lbproxy.proxy.http.sink.ResponseSink`."""
        first = events[0]
        if not self._seen and isinstance(first, ResponseHead) and first.status >= 200:
            stale = self._stale(f"status {first.status}") if first.status in FAILURES else None
            self._seen = True
            if stale is not None:
                events[0] = stale
            else:
                self._look(first)
        self.sink.server_events(events)

    def server_failed(self, error: ProxyError) -> None:
        """See :class:`~lbproxy.proxy.http.sink.ResponseSink`."""
        if not self._answered(error):
            self.sink.server_failed(error)

    def fail(self, error: ProxyError) -> None:
        """See :class:`~lbproxy.proxy.http.sink.Asking`."""
        if not self._answered(error):
            self.sink.fail(error)

    def _answered(self, error: ProxyError) -> bool:
        """Answer with a stale head after a failure, if that is possible."""
        stale = self._stale(str(error.kind.value))
        if stale is not None:
            self._seen = True
            self.sink.server_events([stale, END])
        return stale is not None

    def _stale(self, why: str) -> ResponseHead | None:
        key, asked = self._key, self._asked
        if self._seen or key is None or asked is None or asked.method != b"HEAD":
            return None
        return self._bypass.stale_head(key, asked, self.sink, why)

    def _look(self, head: ResponseHead) -> None:
        bypass, request = self._bypass, self.traffic.request
        if self._key is not None and self._asked is not None and request.method == b"HEAD":
            bypass.observed_head(self._key, self._asked, request, head, self._sent)
        else:
            bypass.observed(self.sink, head)
        if bypass.cache.spec.cache_status:
            value = cache_status(bypass.cache.name, **self._facts, status=head.status)
            head.add_header(b"Cache-Status", value)
