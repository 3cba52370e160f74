"""DATA. A cache for display: its statistics, its contents, and its decision about a request."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import attrs
from attrs import frozen

from lbproxy.cache.asked import Asked, ask
from lbproxy.cache.control import Control
from lbproxy.cache.freshness import current_age
from lbproxy.cache.key import key_of, sent_fields, url_of
from lbproxy.cache.memory import Entry
from lbproxy.cache.parts import is_part, selection_of
from lbproxy.cache.popular import SHOWN
from lbproxy.cache.search import applies, reduced, search_rule
from lbproxy.cache.serving import decide
from lbproxy.cache.vary import selected_by
from lbproxy.http.message import RequestHead
from lbproxy.proxy.features.caching.cache import Cache
from lbproxy.proxy.features.caching.conditionlines import HeadContext, held_line, open_lines

__all__ = ["entry_facts", "merge_top", "object_facts", "stats_of", "top_of", "why"]


def stats_of(cache: Cache[Any]) -> dict[str, Any]:
    """Return the statistics of a cache, as JSON types."""
    store = cache.store
    folder = None if store.folder is None else store.folder.catalog
    totals = store.totals()
    counters = cache.counters
    asked = counters.asked()
    return {
        "name": cache.name,
        "objects": len(store),
        "bytes": cache.memory.bytes + cache.remote_bytes,
        "limit": cache.placement.memory(cache.spec) * cache.placement.processes,
        "disk_bytes": 0 if folder is None else folder.bytes,
        "disk_limit": 0 if folder is None else folder.limit,
        "fetching": cache.fetching_count + cache.remote_fetching,
        "waiting": cache.waiting_count + cache.remote_waiting,
        "hit_ratio": round(counters.hits / asked, 4) if asked else 0.0,
        "hits": counters.hits,
        "stale": counters.stale,
        "revalidated": counters.revalidated,
        "collapsed": counters.collapsed,
        "waited": counters.waited,
        "wait_seconds": round(counters.wait_seconds, 6),
        "misses": counters.misses,
        "bypassed": counters.bypassed,
        "bytes_served": counters.bytes,
        "bytes_saved": counters.bytes + counters.collapsed_bytes,
        "loads": counters.loads,
        "load_seconds": round(counters.load_seconds, 6),
        "stored": totals["stored"],
        "evicted": totals["evicted"],
        "purged": totals["purged"],
        "hinted": counters.hinted,
        "purge_requests": counters.purge_requests,
        "purge_refused": counters.purge_refused,
        "prefetched": counters.prefetched,
        "prefetch_dropped": counters.prefetch_dropped,
        "shared_hits": counters.shared_hits,
        "shared_misses": counters.shared_misses,
        "shared_stored": counters.shared_stored,
        "shared_failures": counters.shared_failures,
        "reasons": cache.reasons.dump(),
    }


def top_of(cache: Cache[Any]) -> dict[str, list[int]]:
    """Return hits and bytes of the most used responses of this process, by URL."""
    found: dict[str, list[int]] = {}
    for entry in cache.memory.popular.top():
        _add_top(found, entry.stored.url.decode("latin-1"), entry.hits, entry.size)
    return found


def _add_top(found: dict[str, list[int]], url: str, hits: int, size: int) -> None:
    """Add the hits of one response to those of its URL."""
    known = found.setdefault(url, [0, 0])
    known[0] += hits
    known[1] = max(known[1], size)


def merge_top(one: dict[str, list[int]], two: dict[str, list[int]]) -> dict[str, list[int]]:
    """Return the most used URLs of both results."""
    found = {url: list(values) for url, values in one.items()}
    for url, (hits, size) in two.items():
        _add_top(found, url, hits, size)
    first = sorted(found.items(), key=lambda item: -item[1][0])[:SHOWN]
    return dict(first)


def entry_facts(entry: Entry, now: float) -> dict[str, Any]:
    """Return the data that ``cache list`` shows of a stored response, as JSON types."""
    stored = entry.stored
    return {
        "url": stored.url.decode("latin-1"),
        "status": stored.status,
        "bytes": entry.size,
        "hits": entry.hits,
        "age": round(current_age(stored, now), 3),
        "lifetime": stored.lifetime,
        "rule": stored.rule,
        "purged": stored.purged,
        "backend": entry.key[0].decode("latin-1"),
        "vary": {
            name.decode("latin-1"): None if value is None else value.decode("latin-1")
            for name, value in selection_of(stored)
        },
        "tags": _texts(stored.tags),
    }


_MAPPED: Final = tuple(one.name for one in attrs.fields(Control) if one.name != "field")


def object_facts(entry: Entry, now: float) -> dict[str, Any]:
    """Return all data of a stored response except its body, as JSON types."""
    stored = entry.stored
    control = stored.control
    return {
        **entry_facts(entry, now),
        "key": [part.decode("latin-1") for part in entry.key],
        "headers": [
            f"{name.decode('latin-1')}: {value.decode('latin-1')}" for name, value in stored.headers
        ],
        "control": control.field.decode("latin-1"),
        "directives": [text for name in _MAPPED if (text := _directive(control, name))],
        "groups": _texts(name for name in stored.groups if name[:1] != b"\x00"),
        "asked": round(stored.asked, 3),
        "received": round(stored.received, 3),
        "cookies": stored.public,
        "file": "" if entry.place is None else f"{entry.place.record:016x}",
    }


def _directive(control: Control, name: str) -> str:
    value = getattr(control, name)
    word = name.removesuffix("_fields").replace("_", "-")
    if isinstance(value, frozenset):
        return f'{word}="{", ".join(_texts(value))}"' if value else ""
    if value is None or value is False:
        return ""
    return word if value is True else f"{word}={value}"


def _texts(values: Iterable[bytes]) -> list[str]:
    return sorted(value.decode("latin-1") for value in values)


def why(cache: Cache[Any], head: RequestHead) -> dict[str, Any]:
    """Return how the store would handle a request, and by which rule, as JSON types.

    ``depends``: lines of ``bypass`` and ``refresh`` that also depend on the client or its
    connection, and are ignored like the route. ``ttl``: lines that a new response may match.
    """
    spec = cache.spec
    url = url_of(head, cache.policy, head.scheme)
    asked = ask(head, cache.policy)
    context = HeadContext(head, head.scheme.decode("latin-1"))
    bypass, may_bypass = open_lines(spec.bypass, context)
    refresh, may_refresh = open_lines(spec.refresh, context)
    passed, fresh = held_line(bypass, context), held_line(refresh, context)
    found = Considered(
        asked, asked.obstacle or (passed and f"bypass {passed}"), fresh and f"refresh {fresh}"
    )
    refusal = cache.refusal_of(url)
    return {
        "url": url.decode("latin-1"),
        "obstacle": found.obstacle,
        "refresh": found.refresh,
        "depends": []
        if found.obstacle
        else [*(f"bypass {one}" for one in may_bypass), *(f"refresh {one}" for one in may_refresh)],
        "ttl": [] if found.obstacle else cache.policy.lines_of(head.path),
        "not_stored": "" if refusal is None else f"{refusal.reason} ({refusal.rule})",
        "stored": [_why(cache, entry, head, found) for entry in cache.store.by_url(url)],
    }


@frozen
class Considered:
    """A request for display. ``obstacle``: why it bypasses the store, or "". ``refresh``: the line
    because of which nothing stored is used, or "".
    """

    asked: Asked
    obstacle: str
    refresh: str


def _why(
    cache: Cache[Any], entry: Entry, head: RequestHead, considered: Considered
) -> dict[str, Any]:
    stored = entry.stored
    facts = entry_facts(entry, cache.wall())
    key = key_of(head, cache.policy, head.scheme, entry.key[0])
    if considered.obstacle:
        by = "request" if considered.asked.obstacle else "bypass"
        return {**facts, "use": "bypass", "reason": considered.obstacle, "by": by}
    if considered.refresh:
        return {**facts, "use": "replace", "reason": considered.refresh, "by": "refresh"}
    rule = search_rule(stored) if applies(key, cache.policy) else None
    if entry.key not in (key, None if rule is None else reduced(key, rule)):
        return {
            **facts,
            "use": "other key",
            "reason": "a cookie or the query of the key",
            "by": "key",
        }
    names = (name for name, _ in selection_of(stored))
    for name, value in selected_by(names, sent_fields(head, cache.policy)):
        if (name, value) not in stored.selected:
            reason = f"{name.decode('latin-1')} differs"
            return {**facts, "use": "other variant", "reason": reason, "by": "RFC 9111 §4.1"}
    if is_part(stored):
        part = (stored.header(b"content-range") or b"").decode("latin-1")
        return {**facts, "use": "part", "reason": part, "by": "RFC 9111 §3.3"}
    found = decide(stored, considered.asked, cache.policy, cache.wall())
    return {**facts, "use": found.use.value, "reason": found.reason, "by": found.rule}
