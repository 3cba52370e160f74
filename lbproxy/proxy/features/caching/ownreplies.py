"""DATA. Replies of the cache itself: to PURGE and ``only-if-cached``, and early hints."""

from __future__ import annotations

from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from lbproxy.cache.cachestatus import cache_status
from lbproxy.cache.hints import takes_hints
from lbproxy.cache.key import Key, sent_fields
from lbproxy.cache.keybytes import key_digest
from lbproxy.cache.purge import Purge
from lbproxy.http.message import Reply, RequestHead, ResponseHead
from lbproxy.observe.record import CacheNote
from lbproxy.proxy.features.caching.bypass import public_url
from lbproxy.proxy.http.bodystream import respond
from lbproxy.proxy.http.deferredstream import DeferredStream
from lbproxy.proxy.http.sink import Asking
from lbproxy.proxy.http.source import STARTING
from lbproxy.proxy.http.streams import SourceStream

__all__ = ["answer_only_cached", "answer_purge", "send_hints"]

_JSON: Final = (b"Content-Type", b"application/json")


def answer_only_cached(cache: Any, sink: Asking) -> SourceStream:
    """Reply to a request with ``only-if-cached`` for which nothing usable is stored (RFC 9111
    §5.2.1.7).
    """
    head = ResponseHead(504, [], b"Gateway Timeout", length=0)
    sink.traffic.cached = CacheNote("refused", "only-if-cached")
    if cache.spec.cache_status:
        facts: dict[str, Any] = {"fwd": "request", "detail": "request says only-if-cached"}
        head.add_header(b"Cache-Status", cache_status(cache.name, **facts))
    return respond(sink, head, b"")


def answer_purge(cache: Any, head: RequestHead, sink: Asking) -> SourceStream:
    """Purge all variants of the URL of a request with the method PURGE, for clients in
    ``purge_from``.
    """
    sink.traffic.cached = CacheNote("purge")
    if sink.traffic.client_ip not in cache.purgers:
        cache.counters.purge_refused += 1
        sink.hook_replied(Reply(403, b'{"error": "PURGE is not allowed from here"}\n', [_JSON]))
        return STARTING
    soft = (head.header(b"x-purge-soft") or b"").lower() in (b"1", b"yes", b"true")
    stream = _Purging(cache, sink, cache.purge(Purge("url", public_url(sink, cache)), soft))
    return STARTING if stream.answered else stream


class _Purging(DeferredStream):
    """The exchange of a PURGE, until all responses are purged."""

    def __init__(self, cache: Any, sink: Asking, counted: Deferred[int]) -> None:
        super().__init__(sink)
        self.answered = False
        self._cache = cache
        counted.addCallbacks(self._purged, self._failed)

    def _purged(self, count: int) -> None:
        self._cache.counters.purge_requests += 1
        self._answer(200, b'{"purged": %d}\n' % count)

    def _failed(self, failure: Failure) -> None:
        if isinstance(failure.value, OSError):
            self._cache.store.log("cannot record a purge", failure.value)
        self._answer(500, b'{"error": "the purge is not recorded"}\n')

    def _answer(self, status: int, text: bytes) -> None:
        if not self._over:
            self.answered = True
            self._end()
            self._sink.hook_replied(Reply(status, text, [_JSON]))


def send_hints(cache: Any, key: Key, sink: Asking) -> None:
    """Send a 103 with the links of the last response of ``key``, if the client accepts it."""
    request: RequestHead = sink.traffic.request
    if not takes_hints(request, request.version):
        return
    found = cache.hints.of(key_digest(key), sent_fields(request, cache.policy))
    if found:
        cache.counters.hinted += 1
        headers = [(b"Link", link) for link in found]
        sink.server_events([ResponseHead(103, headers, b"Early Hints")])
