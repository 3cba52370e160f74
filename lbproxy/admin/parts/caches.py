"""CONTROL. Caches: content, counters and purges."""

from __future__ import annotations

import re
from typing import Any

from lbproxy.admin.auth import Role
from lbproxy.admin.cachemetrics import cache_families
from lbproxy.admin.route import PAGE, APICall, APIError, APIRoute, Column, Panel, Part, find, paged
from lbproxy.admin.schema import (
    ANY,
    BOOLEAN,
    COUNT,
    NUMBER,
    STRING,
    array,
    mapping,
    maybe,
    object_,
    page,
    string,
)
from lbproxy.admin.view import AdminView
from lbproxy.cache.givenurl import given_host, given_prefix, given_url, parts_of
from lbproxy.cache.purge import KINDS, Purge
from lbproxy.proxy.features.caching.cache import Cache
from lbproxy.proxy.features.caching.shown import (
    entry_facts,
    merge_top,
    stats_of,
    top_of,
)

__all__ = ["OBJECTS", "PART"]

_STATS = object_(
    {
        "name": STRING,
        "objects": COUNT,
        "bytes": COUNT,
        "limit": COUNT,
        "disk_bytes": COUNT,
        "disk_limit": COUNT,
        "fetching": COUNT,
        "waiting": COUNT,
        "hit_ratio": NUMBER,
        "hits": COUNT,
        "stale": COUNT,
        "revalidated": COUNT,
        "collapsed": COUNT,
        "waited": COUNT,
        "wait_seconds": NUMBER,
        "misses": COUNT,
        "bypassed": COUNT,
        "bytes_served": COUNT,
        "bytes_saved": COUNT,
        "loads": COUNT,
        "load_seconds": NUMBER,
        "stored": COUNT,
        "evicted": COUNT,
        "purged": COUNT,
        "hinted": COUNT,
        "purge_requests": COUNT,
        "purge_refused": COUNT,
        "prefetched": COUNT,
        "prefetch_dropped": COUNT,
        "shared_hits": COUNT,
        "shared_misses": COUNT,
        "shared_stored": COUNT,
        "shared_failures": COUNT,
        "reasons": object_(
            {
                "misses": mapping(COUNT),
                "bypassed": mapping(COUNT),
                "not_stored": mapping(COUNT),
            }
        ),
    }
)
_FIELDS = {
    "url": STRING,
    "status": COUNT,
    "bytes": COUNT,
    "hits": COUNT,
    "age": NUMBER,
    "lifetime": NUMBER,
    "rule": STRING,
    "purged": BOOLEAN,
    "backend": STRING,
    "vary": mapping(maybe(STRING)),
    "tags": ANY,
}
_ENTRY = object_(_FIELDS)
_OBJECT = object_(
    {
        **_FIELDS,
        "key": array(STRING),
        "headers": array(STRING),
        "control": STRING,
        "directives": array(STRING),
        "groups": array(STRING),
        "asked": NUMBER,
        "received": NUMBER,
        "cookies": BOOLEAN,
        "file": STRING,
    }
)
_WHY = object_({**_FIELDS, "use": STRING, "reason": STRING, "by": STRING})


def _caches(admin: AdminView) -> dict[str, Cache[Any]]:
    found: dict[str, Cache[Any]] = admin.balancer.caches
    return found


def _state(admin: AdminView) -> Any:
    return {name: stats_of(cache) for name, cache in _caches(admin).items()}


def _top(admin: AdminView) -> dict[str, dict[str, Any]]:
    found = {}
    for name, cache in _caches(admin).items():
        top = merge_top(top_of(cache), cache.remote_top)
        for url, (hits, size) in top.items():
            row = {"cache": name, "url": url, "hits": hits, "bytes": size}
            found[f"{name} {url}"] = row
    return found


def _list(call: APICall) -> Any:
    return paged(call, list(_caches(call.admin).values()), stats_of)


async def _entries(call: APICall) -> Any:
    cache = find(_caches(call.admin), call.path["cache"], "cache")
    url = _url(call.query.get("url", ""))
    if url or cache.nodes is not None:
        found = await call.balancer.ask_all("cache", cache.name, "entries", {"url": url})
        return paged(call, found, _entry)
    first, limit = call.query["offset"], call.query["limit"]
    entries, total = await cache.store.page(first, limit)
    last, now = first + limit, cache.wall()
    return {
        "items": [entry_facts(entry, now) for entry in entries],
        "total": total,
        "offset": first,
        "next": last if last < total else None,
    }


def _entry(facts: dict[str, Any]) -> dict[str, Any]:
    return {name: facts[name] for name in _FIELDS}


async def _object(call: APICall) -> Any:
    cache = find(_caches(call.admin), call.path["cache"], "cache")
    url = _url(call.query["url"])
    found = await call.balancer.ask_all("cache", cache.name, "entries", {"url": url}) if url else []
    return paged(call, found, dict)


_GIVEN = {"url": given_url, "prefix": given_prefix, "host": given_host}


def _given(kind: str, text: str) -> str:
    """Return a URL, prefix or host as clients send it. Raises :class:`APIError` 400."""
    read = _GIVEN.get(kind)
    try:
        return text if read is None else read(text)
    except ValueError as error:
        raise APIError(400, f"{kind} {error}") from None


def _url(text: str) -> str:
    """Return the URL of a query, "" if there is none."""
    return _given("url", text) if text else ""


async def _purge(call: APICall) -> Any:
    cache = find(_caches(call.admin), call.path["cache"], "cache")
    given = {kind: call.query[kind] for kind in KINDS if call.query.get(kind)}
    if len(given) != 1 or "group" in given:
        raise APIError(400, "specify one of url, prefix, host, tag and all")
    ((kind, value),) = given.items()
    text = b"" if kind == "all" else _given(kind, str(value)).encode("utf-8")
    soft = bool(call.query.get("soft"))
    try:
        count = await cache.purge(Purge(kind, text), soft)
    except OSError as error:
        raise APIError(500, f"the purge is not recorded: {error.strerror or error}") from None
    word = "softly purged" if soft else "purged"
    call.changes.append(f"{cache.name} {kind} {value if text else ''}: {count} {word}")
    return {"purged": count}


async def _why(call: APICall) -> Any:
    cache = find(_caches(call.admin), call.path["cache"], "cache")
    scheme, host, target = parts_of(_given("url", call.body["url"]))
    method = call.body.get("method", "GET")
    if not _TOKEN.fullmatch(method):
        raise APIError(400, f"method {method!r} is not a word such as GET")
    request = {
        "scheme": scheme,
        "host": host,
        "target": target,
        "method": method,
        "headers": [_header(line) for line in call.body.get("headers", ())],
    }
    return await call.balancer.ask_all("cache", cache.name, "why", request)


_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def _header(line: str) -> list[str]:
    name, colon, value = line.partition(":")
    name, value = name.strip(), value.strip()
    if not colon or not _TOKEN.fullmatch(name) or not f"{value}x".isprintable():
        raise APIError(400, f"a header must be NAME: VALUE, found {line[:100]!r}")
    return [name, value.encode("utf-8").decode("latin-1")]


PART = Part(
    "caches",
    routes=(
        APIRoute(
            "GET",
            "/api/v1/caches",
            Role.READ,
            "Every cache in use, with its counters",
            _list,
            page(_STATS),
            query=PAGE,
        ),
        APIRoute(
            "GET",
            "/api/v1/caches/{cache}/entries",
            Role.READ,
            "Stored responses",
            _entries,
            page(_ENTRY),
            query={"url": string("only for this URL"), **PAGE},
        ),
        APIRoute(
            "GET",
            "/api/v1/caches/{cache}/object",
            Role.READ,
            "Stored responses of one URL, with their heads, keys and directives",
            _object,
            page(_OBJECT),
            query={"url": {**string("a whole URL", 16_384), "default": ""}, **PAGE},
        ),
        APIRoute(
            "POST",
            "/api/v1/caches/{cache}/why",
            Role.READ,
            "Decision of the cache about a request, and the rule that makes it",
            _why,
            object_(
                {
                    "url": STRING,
                    "obstacle": STRING,
                    "refresh": STRING,
                    "depends": array(STRING),
                    "ttl": array(STRING),
                    "not_stored": STRING,
                    "stored": array(_WHY),
                }
            ),
            body=object_(
                {"url": string("a whole URL", 16_384)},
                {"method": string("GET by default", 100), "headers": array(STRING)},
            ),
        ),
        APIRoute(
            "POST",
            "/api/v1/caches/{cache}/purge",
            Role.WRITE,
            "Remove responses or make them stale; specify one of url, prefix, host, tag and all",
            _purge,
            object_({"purged": COUNT}),
            query={
                "url": string("a complete URL; all its variants are removed", 16_384),
                "prefix": string("the beginning of a URL, including its scheme", 16_384),
                "host": string("a host, with its port unless it is the default"),
                "tag": string("a tag of Surrogate-Key, Cache-Tag or xkey"),
                "all": {"type": "boolean", "description": "everything"},
                "soft": {"type": "boolean", "description": "make stale instead of remove"},
            },
        ),
    ),
    state=_state,
    schema=mapping(_STATS),
    metrics=lambda admin: cache_families(admin.balancer.caches),
    panels=(
        Panel(
            "Caches",
            "caches",
            (
                Column("name", "Cache"),
                Column("objects", "Objects", "count"),
                Column("bytes", "Memory", "bytes"),
                Column("disk_bytes", "Disk", "bytes"),
                Column("hit_ratio", "Hit ratio", "percent"),
                Column("hits", "Hits/s", "rate"),
                Column("misses", "Misses/s", "rate"),
                Column("collapsed", "Collapsed/s", "rate"),
                Column("evicted", "Evicted/s", "rate"),
            ),
        ),
    ),
)

OBJECTS = Part(
    "cache_objects",
    state=_top,
    schema=mapping(object_({"cache": STRING, "url": STRING, "hits": COUNT, "bytes": COUNT})),
    panels=(
        Panel(
            "Most requested objects of the caches",
            "cache_objects",
            (
                Column("cache", "Cache"),
                Column("url", "URL"),
                Column("hits", "Hits", "count"),
                Column("bytes", "Size", "bytes"),
            ),
        ),
    ),
)
