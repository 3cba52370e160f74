"""DATA. Decides whether the response of a fetch is stored, and which response it replaces."""

from __future__ import annotations

from typing import Any, Final

from lbproxy.cache.key import Key, sent_fields
from lbproxy.cache.memory import Entry, Memory
from lbproxy.cache.parts import is_part, parts_of, selection_of, store_part
from lbproxy.cache.serving import usable_on_error
from lbproxy.cache.stored import Stored
from lbproxy.cache.storing import Refusal, is_silent, store, stored_fields
from lbproxy.cache.targeted import Fields
from lbproxy.cache.vary import matching, selects
from lbproxy.http.message import RequestHead, ResponseHead
from lbproxy.proxy.features.caching.fetchstate import BETTER, PURGED, TOO_FEW, TOO_LARGE
from lbproxy.proxy.features.caching.judged import Judged
from lbproxy.proxy.features.caching.keepparts import remove_other_parts

__all__ = [
    "FAILURES",
    "error_for_all",
    "known_response",
    "remove_older",
    "remove_replaced",
    "responses_of",
    "stored_or_refused",
    "supersedes",
]

FAILURES: Final = frozenset({500, 502, 503, 504})
"""Statuses for which a stale response may be served instead."""


def stored_or_refused(
    fetch: Judged, request: RequestHead, head: ResponseHead, times: tuple[float, float], worth: bool
) -> Stored | Refusal:
    """Return the response as it will be stored, or the reason why it is not stored.

    ``times``: when the request was sent and the head arrived. ``worth``: the key has reached
    ``min_uses``; this holds for any response that is already stored.
    """
    policy = fetch.cache.policy
    found: Stored | Refusal
    if fetch.ranged and head.status == 206:
        found = store_part(fetch.url, request, fetch.asked, head, policy, times)
    else:
        found = store(fetch.url, request, fetch.asked, head, policy, times)
    if head.status >= 500 and _has_good(fetch, request, times[1]):
        return BETTER
    if isinstance(found, Refusal):
        return found
    if not worth and known_response(fetch, request) is None:
        return TOO_FEW
    if head.length is not None and head.length > policy.max_object:
        return TOO_LARGE
    return PURGED if fetch.outdated else found


def error_for_all(
    fetch: Judged, request: RequestHead, head: ResponseHead, received: float
) -> ResponseHead | None:
    """Return the head of an error for all waiting clients, None for any other response.

    The server would probably answer each of them with the same error. An error that answers one
    client's cookies or credentials, or that says who may share it (Cache-Control, Expires, Vary,
    Set-Cookie), is only for the first client.
    """
    if head.status < 400 or fetch.personal:
        return None
    if not is_silent(request, head, fetch.cache.policy, received):
        return None
    fields = stored_fields(head, frozenset({b"content-length"}))
    return ResponseHead(head.status, fields, head.reason, length=head.length)


def _has_good(fetch: Judged, request: RequestHead, now: float) -> bool:
    """Return whether the store has a response, or parts of it, that may still be used in place of
    a failure.
    """
    policy = fetch.cache.policy
    known = known_response(fetch, request)
    stored = None if known is None else known.stored
    if stored is None:
        entries = responses_of(fetch.cache, fetch.key)
        parts = parts_of(entries, sent_fields(request, policy)) if entries else None
        stored = None if parts is None else parts.stored
    return stored is not None and usable_on_error(stored, fetch.asked, policy, now) is not None


def known_response(fetch: Judged, request: RequestHead) -> Entry | None:
    """Return the stored response that the request selects."""
    entries = responses_of(fetch.cache, fetch.key)
    return _matching(entries, sent_fields(request, fetch.cache.policy)) if entries else None


def responses_of(cache: Any, key: Key) -> list[Entry] | None:
    """Return the stored responses of ``key``; None if they have to be loaded first."""
    store = cache.store
    if store.memory_only and cache.nodes is None:
        memory: Memory = cache.memory
        return memory.lookup(key)
    found: list[Entry] | None = store.select(key)
    return found


def _matching(entries: list[Entry], fields: Fields) -> Entry | None:
    """Return the stored response of a key that ``fields`` select."""
    known = matching([one.stored for one in entries], fields)
    for one in entries:
        if one.stored is known:
            return one
    return None


def supersedes(fetch: Judged, status: int) -> bool:
    """Return whether a response that is not stored shows a new state of the resource, or that the
    resource is gone.
    """
    says = status in (404, 410) or (status < 400 and status != 206)
    return says and not fetch.personal and not fetch.outdated


def remove_older(fetch: Judged, request: RequestHead, sent: float) -> None:
    """Remove the stored response that the response of ``fetch`` replaces (RFC 9111 §4.3.3), and its
    parts.

    The store itself replaces a response that is selected by the same fields. ``sent``: when the
    request was sent.
    """
    cache, stored = fetch.cache, fetch.stored
    if stored is not None and is_part(stored):
        return
    entries = responses_of(cache, fetch.key)
    if entries:
        _remove(cache, entries, stored, request, sent)
    elif stored is None and (entries is None or _passed_nodes(fetch)):
        load = cache.store.load if entries is None else cache.nodes.ask_nodes
        load(fetch.key, lambda found: _remove(cache, found, None, request, sent))


def _passed_nodes(fetch: Judged) -> bool:
    """Return whether Redis was not looked up before the fetch, because only a server may answer."""
    cache = fetch.cache
    if cache.nodes is None:
        return False
    return fetch.asked.demands(cache.policy) or bool(cache.refreshes(fetch.traffic))


def _remove(
    cache: Any, entries: list[Entry], stored: Stored | None, request: RequestHead, sent: float
) -> None:
    """See :func:`remove_older`. ``stored``: the new response, None if it is not stored."""
    fields = sent_fields(request, cache.policy)
    known = _matching(entries, fields)
    other = known is not None and (stored is None or known.stored.selected != stored.selected)
    if known is not None and other and known.stored.asked <= sent:
        cache.store.remove(known)
    for one in [one for one in entries if is_part(one.stored) and one.stored.asked <= sent]:
        if selects(selection_of(one.stored), fields):
            cache.store.remove(one)


def remove_replaced(fetch: Judged, stored: Stored, request: RequestHead, sent: float) -> None:
    """Remove what the response of ``fetch`` should have replaced. It was to be stored as
    ``stored``, which has turned out to be impossible.
    """
    store = fetch.cache.store
    if is_part(stored):
        remove_other_parts(store, fetch.own_key, stored)
        return
    remove_older(fetch, request, sent)
    for key in {fetch.key, fetch.own_key}:
        store.displace(key, stored)
