"""DATA. The response of a fetch, for each request that waits for it."""

from __future__ import annotations

from typing import Any

from attrs import evolve

from lbproxy.cache.asked import ask
from lbproxy.cache.cachestatus import cache_status
from lbproxy.cache.freshness import current_age
from lbproxy.cache.key import sent_fields
from lbproxy.cache.parts import is_part, whole
from lbproxy.cache.serving import Use, decide, usable_on_error
from lbproxy.cache.stored import Stored
from lbproxy.cache.vary import matching
from lbproxy.http.message import ResponseHead
from lbproxy.observe.record import CacheNote
from lbproxy.proxy.features.caching.answers import Said, fresh_head
from lbproxy.proxy.features.caching.bypass import public_url, same_url
from lbproxy.proxy.features.caching.fetch import Fetch
from lbproxy.proxy.features.caching.judging import FAILURES
from lbproxy.proxy.http.sink import Asking
from lbproxy.proxy.http.traffic import HTTPTraffic

__all__ = ["fits", "fits_fetch", "fits_stale", "head_for", "may_get_error", "reflect"]


def head_for(cache: Any, fetch: Fetch, sink: Asking, first: bool) -> ResponseHead | None:
    """Return the head of a fetch for one of its readers; None if the response does not fit."""
    head, stored = fetch.head, fetch.stored
    assert head is not None
    if first:
        _note_first(cache, fetch, head, sink)
        return head
    if fetch.failure is not None and may_get_error(fetch.failure.status, cache, fetch, sink):
        return _failure_for(cache, fetch, fetch.failure, sink)
    if stored is None or not fits_fetch(cache, fetch, sink):
        return None
    cache.counters.collapsed += 1
    age = current_age(stored, cache.wall())
    sink.traffic.cached = CacheNote("collapsed", "", age)
    facts = {"fwd": fetch.reason, "ttl": stored.lifetime - age, "collapsed": True}
    said = Said(cache.name, age, cache.spec.cache_status, **facts)
    return fresh_head(stored, said, fetch.length)


def may_get_error(status: int, cache: Any, fetch: Fetch, sink: Asking) -> bool:
    """Return whether an error, or a reply of a filter, answers a request that waited.

    One with another status than :data:`FAILURES` may depend on the client, so that a request
    with cookies or credentials of its own goes to a server. Such a request may wait only because
    the stored response is public.
    """
    request = sink.traffic.request
    if status not in FAILURES and ask(request, cache.policy).personal:
        return False
    return public_url(sink, cache) == fetch.url


def _failure_for(cache: Any, fetch: Fetch, failure: ResponseHead, sink: Asking) -> ResponseHead:
    """Return the head of an error for a request that waited."""
    cache.counters.collapsed += 1
    sink.traffic.cached = CacheNote("collapsed", f"status {failure.status}")
    head = ResponseHead(failure.status, failure.pairs(), failure.reason, length=failure.length)
    if cache.spec.cache_status:
        facts: dict[str, Any] = {"fwd": fetch.reason, "status": failure.status, "collapsed": True}
        head.add_header(b"Cache-Status", cache_status(cache.name, **facts))
    return head


def _note_first(cache: Any, fetch: Fetch, head: ResponseHead, sink: Asking) -> None:
    """Add the decision of the cache to the head from the server."""
    stored, refusal, detail = fetch.stored, fetch.refusal, ""
    if stored is None and refusal is not None:
        detail = f"not stored: {refusal.reason} ({refusal.rule})"
        sink.traffic.cached = CacheNote("miss", f"{fetch.reason}, {detail}")
    if not cache.spec.cache_status:
        return
    ttl: float | None = None
    if stored is not None:
        ttl = stored.lifetime - current_age(stored, cache.wall())
    value = cache_status(
        cache.name,
        fwd=fetch.reason,
        status=head.status,
        ttl=ttl,
        stored=stored is not None,
        detail=detail,
    )
    head.add_header(b"Cache-Status", value)


def fits_fetch(cache: Any, fetch: Fetch, sink: Asking) -> bool:
    """Return whether a request may wait for the response of ``fetch``, or get it.

    A part is subject to the rules for the whole response.
    """
    stored = fetch.stored
    if stored is None:
        return True
    return fits(cache, whole(stored) if is_part(stored) else stored, sink)


def fits(cache: Any, stored: Stored, sink: Asking) -> bool:
    """Return whether a response that has just arrived may answer a request that did not cause it.

    The store must be allowed to serve it (RFC 9111 §4). The response time of the server does not
    count, because the request has waited for it.
    """
    request, policy = sink.traffic.request, cache.policy
    if not same_url(cache, stored, sink):
        return False
    if matching([stored], sent_fields(request, policy)) is None:
        return False
    stored = evolve(stored, asked=stored.received)
    use = decide(stored, ask(request, policy), policy, cache.wall()).use
    return use in (Use.SERVE, Use.SERVE_AND_REFRESH)


def fits_stale(cache: Any, stored: Stored, sink: Asking) -> bool:
    """Return whether a stored response may answer a request while the server fails."""
    request, policy = sink.traffic.request, cache.policy
    usable = usable_on_error(stored, ask(request, policy), policy, cache.wall()) is not None
    same = usable and same_url(cache, stored, sink)
    return same and matching([stored], sent_fields(request, policy)) is not None


def reflect(fetch: Fetch, traffic: HTTPTraffic, first: bool) -> None:
    """Copy the server that answered the fetch to the log of a client's request."""
    other: HTTPTraffic = fetch.traffic
    traffic.server_name = other.server_name
    traffic.t_queue, traffic.t_connect = other.t_queue, other.t_connect
    traffic.t_response, traffic.reused = other.t_response, other.reused
    traffic.attempts = other.attempts
    traffic.detail = traffic.detail or other.detail
    if first:
        traffic.server = other.server
