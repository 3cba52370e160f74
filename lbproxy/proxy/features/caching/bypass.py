"""DATA. Requests that bypass the store. Only the heads of their responses are examined."""

from __future__ import annotations

from typing import Any

from lbproxy.cache.asked import Asked
from lbproxy.cache.cachestatus import cache_status
from lbproxy.cache.invalidation import invalidated_groups, invalidated_urls
from lbproxy.cache.key import Key, sent_fields, sent_headers, sent_target, url_of
from lbproxy.cache.memory import Entry, origin_of
from lbproxy.cache.policy import NoCache
from lbproxy.cache.search import same_search, search_rule
from lbproxy.cache.stored import Stored
from lbproxy.cache.updating import head_agrees, updated, validated
from lbproxy.cache.vary import matching
from lbproxy.errors import ProxyError
from lbproxy.http.message import END, End, RequestHead, ResponseHead
from lbproxy.observe.record import CacheNote
from lbproxy.proxy.features.caching.counters import Reasons
from lbproxy.proxy.features.caching.judging import FAILURES
from lbproxy.proxy.features.caching.postbody import PostSink, body_of
from lbproxy.proxy.features.caching.standby import Standby
from lbproxy.proxy.http.sink import Asking, ForwardingSink
from lbproxy.proxy.http.source import Source
from lbproxy.proxy.http.streams import SourceStream

__all__ = ["Bypass", "is_forced", "public_url", "same_url", "selected"]


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


def is_forced(cache: Any, asked: Asked, sink: Asking) -> bool:
    """Return whether only a server may answer a request, even with an error."""
    obeys = cache.policy.client_no_cache is NoCache.OBEY
    if obeys and asked.demands(cache.policy):
        return True
    refreshes: bool = cache.refreshes(sink.traffic)
    return refreshes


class Bypass:
    """Sends requests to ``inner``, the next source after the cache."""

    def __init__(self, cache: Any, inner: Source) -> None:
        self.cache = cache
        self._inner = inner

    def begin(
        self, head: RequestHead, data: bytes, end: End | None, sink: Asking, reason: str,
        detail: str, key: Key | None = None, asked: Asked | None = None, serving: Any = None,
    ) -> SourceStream:  # fmt: skip
        """Send a request. ``reason`` is for Cache-Status, ``detail`` for people.

        ``key`` and ``asked``: of a HEAD, which may refresh a stored response, and of a request that
        stored responses may answer if the server fails. ``serving``: the source that does so."""
        self.cache.counters.bypassed += 1
        Reasons.count(self.cache.reasons.bypassed, detail or reason)
        sink.traffic.cached = CacheNote("bypass", detail or reason)
        if end is None and sink.traffic.request_ended and not data:
            data, end = body_of(sink), END
        facts = {"fwd": reason, "detail": detail}
        watching = _Watching(self, sink, facts, key, asked)
        if serving is None or key is None:
            return self._inner.begin(head, data, end, watching)
        watching.standby = standby = Standby(serving, sink)
        return standby.begin(lambda: self._inner.begin(head, data, end, watching))

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


class _Watching(ForwardingSink):
    """Passes on a response that bypasses the cache, and examines its head. After a failure of the
    server, the client gets stored responses that may be used, through ``standby``.
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
        self._stale = False  # a stored response has answered
        self.standby: Standby | None = None

    def server_events(self, events: list[Any]) -> None:
        """See :class:`~lbproxy.proxy.http.sink.ResponseSink`."""
        if self._stale:
            return
        if not self._seen:
            final = _final(events)
            if final is not None:
                why = f"status {final.status}"
                if final.status in FAILURES and self._answered(why, ended=False):
                    return
                self._seen = True
                self._look(final)
        self.sink.server_events(events)

    def server_failed(self, error: ProxyError) -> None:
        """See :class:`~lbproxy.proxy.http.sink.ResponseSink`."""
        if not self._stale and not self._answered(str(error.kind.value), ended=True):
            self.sink.server_failed(error)

    def fail(self, error: ProxyError) -> None:
        """See :class:`~lbproxy.proxy.http.sink.Asking`."""
        if not self._stale and not self._answered(str(error.kind.value), ended=True):
            self.sink.fail(error)

    def _answered(self, why: str, ended: bool) -> bool:
        """Answer with a stored response after a failure, if that is possible. ``ended``: the stream
        of the server is over.
        """
        key, asked, standby = self._key, self._asked, self.standby
        if self._seen or key is None or asked is None or standby is None:
            return False
        self._seen = self._stale = True  # what the stream says while it is closed is ignored
        if standby.stale(key, asked, why, ended):
            return True
        self._seen = self._stale = False
        return False

    def _look(self, head: ResponseHead) -> None:
        bypass, request = self._bypass, self.traffic.request
        if self._key is not None and self._asked is not None and request.method == b"HEAD":
            bypass.observed_head(self._key, self._asked, request, head, self._sent)
        else:
            bypass.observed(self.sink, head)
        if bypass.cache.spec.cache_status:
            value = cache_status(bypass.cache.name, **self._facts, status=head.status)
            head.add_header(b"Cache-Status", value)


def _final(events: list[Any]) -> ResponseHead | None:
    """Return the final head among ``events``."""
    for one in events:
        if isinstance(one, ResponseHead) and one.status >= 200:
            return one
    return None
