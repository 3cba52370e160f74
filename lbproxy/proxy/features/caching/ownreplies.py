"""DATA. Answers of the cache's own: to the method PURGE, and to ``only-if-cached``."""

from __future__ import annotations

from typing import Any, Final

from lbproxy.cache.cachestatus import cache_status
from lbproxy.cache.purge import Purge
from lbproxy.http.message import Reply, RequestHead, ResponseHead
from lbproxy.observe.record import CacheNote
from lbproxy.proxy.features.caching.bypass import public_url
from lbproxy.proxy.features.caching.cache import Cache
from lbproxy.proxy.http.bodystream import respond
from lbproxy.proxy.http.sink import Asking
from lbproxy.proxy.http.source import STARTING
from lbproxy.proxy.http.streams import SourceStream

__all__ = ["answer_only_cached", "answer_purge"]

_JSON: Final = (b"Content-Type", b"application/json")


def answer_only_cached(cache: Cache[Any], sink: Asking) -> SourceStream:
    """Answer a request with ``only-if-cached`` for which nothing usable is stored (RFC 9111
    §5.2.1.7).
    """
    head = ResponseHead(504, [], b"Gateway Timeout", length=0)
    sink.traffic.cached = CacheNote("refused", "only-if-cached")
    if cache.spec.cache_status:
        facts: dict[str, Any] = {"fwd": "request", "detail": "request says only-if-cached"}
        head.add_header(b"Cache-Status", cache_status(cache.name, **facts))
    return respond(sink, head, b"")


def answer_purge(cache: Cache[Any], head: RequestHead, sink: Asking) -> SourceStream:
    """Purge all variants of the URL of a request with the method PURGE, for clients in
    ``purge_from``.
    """
    sink.traffic.cached = CacheNote("purge")
    if sink.traffic.client_ip not in cache.purgers:
        cache.counters.purge_refused += 1
        sink.hook_replied(Reply(403, b'{"error": "PURGE is not allowed from here"}\n', [_JSON]))
        return STARTING
    soft = (head.header(b"x-purge-soft") or b"").lower() in (b"1", b"yes", b"true")
    try:
        count = cache.purge(Purge("url", public_url(sink, cache)), soft)
    except OSError as error:
        cache.store.log("cannot record a purge", error)
        sink.hook_replied(Reply(500, b'{"error": "the purge is not recorded"}\n', [_JSON]))
        return STARTING
    cache.counters.purge_requests += 1
    sink.hook_replied(Reply(200, b'{"purged": %d}\n' % count, [_JSON]))
    return STARTING
