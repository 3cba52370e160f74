"""CONTROL. The metrics of caches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lbproxy.admin.exposition import Family, labels
from lbproxy.proxy.features.caching.cache import Cache
from lbproxy.proxy.features.caching.shown import stats_of

__all__ = ["cache_families"]

_COUNTERS = (
    ("hits", "hits", "Requests answered from the cache."),
    ("stale", "stale_hits", "Requests answered with a stale response."),
    ("revalidated", "revalidated", "Requests answered after the server confirmed the response."),
    ("collapsed", "collapsed", "Requests answered by the fetch of another request."),
    ("misses", "misses", "Requests fetched from a server."),
    ("bypassed", "bypassed", "Requests that bypassed the cache."),
    ("bytes_served", "bytes_served", "Bytes of bodies served from the cache."),
    ("bytes_saved", "bytes_saved", "Bytes of bodies that servers did not have to send."),
    ("waited", "waits", "Requests that waited for the fetch of another request."),
    ("wait_seconds", "wait_seconds", "Seconds that requests waited for another one's fetch."),
    ("loads", "loads", "Requests that waited for the disk or for Redis."),
    ("load_seconds", "load_seconds", "Seconds that requests waited for the disk or for Redis."),
    ("stored", "stored", "Responses stored."),
    ("evicted", "evicted", "Responses evicted to make room."),
    ("purged", "purged", "Responses purged."),
    ("hinted", "hinted", "Requests that got a 103 with links before their response."),
    ("purge_requests", "purge_requests", "Accepted requests with the method PURGE."),
    ("purge_refused", "purge_refused", "Refused requests with the method PURGE."),
    ("prefetched", "prefetched", "Requests for the links of stored pages."),
    (
        "prefetch_dropped",
        "prefetch_dropped",
        "Links that were not requested because too many were waiting.",
    ),
    ("shared_hits", "shared_hits", "Look-ups in Redis that found a response."),
    ("shared_misses", "shared_misses", "Look-ups in Redis that found nothing."),
    ("shared_stored", "shared_stored", "Responses stored in Redis."),
    ("shared_failures", "shared_failures", "Commands to Redis that failed, and damaged values."),
)
_GAUGES = (
    ("objects", "objects", "Responses in the cache."),
    ("bytes", "bytes", "Bytes of the cache in use, overhead included."),
    ("limit", "limit_bytes", "Bytes that the cache may use."),
    ("disk_bytes", "disk_bytes", "Bytes of the files of the cache."),
    ("disk_limit", "disk_limit_bytes", "Bytes that the files of the cache may take."),
    ("fetching", "fetches", "Current requests of the cache."),
    ("waiting", "waiting", "Requests that wait for the fetch of another request."),
)
_BY_REASON = (
    ("misses", "misses_by_reason", "Requests fetched from a server, by reason."),
    ("bypassed", "bypassed_by_reason", "Requests that bypassed the cache, by reason."),
    ("not_stored", "not_stored", "Responses that were not stored, by reason."),
)


def cache_families(caches: dict[str, Cache[Any]]) -> Iterator[Family]:
    """Yield the metrics of all caches; none without a cache."""
    if not caches:
        return
    stats = {name: stats_of(cache) for name, cache in caches.items()}
    for field, name, help_text in _COUNTERS:
        yield Family(
            f"lbproxy_cache_{name}",
            "counter",
            help_text,
            [(labels(cache=one), float(found[field])) for one, found in stats.items()],
        )
    for field, name, help_text in _GAUGES:
        yield Family(
            f"lbproxy_cache_{name}",
            "gauge",
            help_text,
            [(labels(cache=one), float(found[field])) for one, found in stats.items()],
        )
    for field, name, help_text in _BY_REASON:
        samples = [
            (labels(cache=one, reason=reason), float(count))
            for one, found in stats.items()
            for reason, count in sorted(found["reasons"][field].items())
        ]
        yield Family(f"lbproxy_cache_{name}", "counter", help_text, samples)
