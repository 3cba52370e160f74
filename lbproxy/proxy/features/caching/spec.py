"""DATA. ``[cache NAME]`` and the key ``cache``: the section, the key and the resulting policy."""

from __future__ import annotations

from attrs import evolve, frozen

from lbproxy.cache.cachestatus import cache_status
from lbproxy.cache.policy import TTL, Cookies, Disk, KeyPart, NoCache, Policy, Query, SetCookie
from lbproxy.cache.ready import HitRules
from lbproxy.config.declaration import Declaration
from lbproxy.config.draft import Draft
from lbproxy.config.model import NOWHERE, Condition, Config, Where, hidden, option
from lbproxy.config.options import option_fields
from lbproxy.config.section import Judge, Section
from lbproxy.config.units import dump
from lbproxy.proxy.features.caching.oversize import CacheSize, size_warnings
from lbproxy.proxy.features.caching.sections import check_together

__all__ = ["CACHE", "CacheDeclaration", "CacheKeys", "CacheSpec", "hit_rules_of", "policy_of"]

EIGHTH = 8
HUNDRED = 100

MOST_POST = 1024 * 1024
"""Size in bytes of the largest POST body that can be part of the key."""

LEAST = 64 * 1024
"""Minimum memory of a cache, in bytes."""

WITHOUT_DISK = 64 * 1024 * 1024
WITH_DISK = 16 * 1024 * 1024


@frozen
class CacheSpec:
    """The keys of the section."""

    name: str = option("hidden", "", doc="section name")
    memory: int = option(
        "size",
        0,
        min=0,
        doc="bytes of the store in memory, heads and overhead included; 0: 64m, or 16m with"
        " ``disk``",
    )
    disk: Disk | None = option(
        "line:disk",
        None,
        doc="a folder, relative to the configuration, and the bytes that its files may take;"
        " ``memory`` then holds what was used last",
        example="cache/ 10g",
    )
    redis: bool = option(
        "bool",
        False,
        doc="share responses and purges with other nodes through the Redis of ``[shared]``",
    )
    redis_timeout: float = option(
        "duration",
        0.02,
        min=0.001,
        max=1,
        doc="how long a request waits for Redis; after that it is a miss",
    )
    key: tuple[KeyPart, ...] | None = option(
        "line:key",
        None,
        doc="what tells responses apart, besides the backend and the cookies: ``{scheme}``,"
        " ``{host}``, ``{hostname}``, ``{path}``, ``{query}``, ``{uri}``, ``{header:NAME}``,"
        " ``{query:NAME}`` and ``{cookie:NAME}``; parameters of the query that it does not name do"
        " not matter",
        example="{host} {path} {query:page}",
    )
    query: Query | None = option(
        "line:query",
        None,
        doc="parts of the query that matter: ``sort`` ignores the order of parameters,"
        " ``ignore=utm_*`` drops some, ``keep=page,q`` drops all others; what is dropped is not"
        " sent to servers",
        example="sort ignore=utm_*,fbclid",
    )
    cookies: Cookies | None = option(
        "line:cookies",
        None,
        doc="cookies that are removed from requests, that are part of the key, and that bypass the"
        " cache; a request with any other cookie gets only public responses",
        example="ignore _ga* theme, key lang, bypass wordpress_logged_in_*",
    )
    bypass: tuple[tuple[Condition, ...], ...] = option(
        "lines:conditions", (), doc="requests that are neither looked up nor stored"
    )
    refresh: tuple[tuple[Condition, ...], ...] = option(
        "lines:conditions", (), doc="requests that are not looked up, but stored"
    )
    ttl: tuple[TTL, ...] = option(
        "lines:ttl",
        (),
        doc="lifetimes by status, media type and path (with patterns as in routes); the first line"
        " that matches replaces what the response states",
        example="404,410 10s",
    )
    set_cookie: str = option(
        "choice",
        "refuse",
        choices=("refuse", "strip", "store"),
        doc="responses with Set-Cookie: not stored, stored without the field, or stored with it",
    )
    grace: float = option(
        "duration",
        0.0,
        min=0,
        doc="how long a stale response may answer while the server fails",
    )
    grace_refresh: float = option(
        "duration",
        0.0,
        min=0,
        doc="how long a stale response may answer while it is fetched anew",
    )
    negative: float = option(
        "duration",
        1.0,
        min=0,
        doc="lifetime of 404, 405, 410, 414 and 501 that state none",
    )
    post: int | None = option(
        "size_or_none",
        None,
        min=1,
        max=MOST_POST,
        doc="store responses to POST, too, by the digest of the body, for bodies up to this size",
        example="64k",
    )
    max_object: int = option(
        "size",
        0,
        min=0,
        doc="largest body that is stored; 0: an eighth of ``memory``, or a hundredth of the disk"
        " if ``memory`` is left out",
    )
    min_uses: int = option(
        "int", 1, min=1, max=1000, doc="requests for a key before its response is stored"
    )
    no_vary_search: bool = option(
        "bool",
        True,
        doc="let a response with No-Vary-Search answer requests whose queries differ only in what"
        " it names",
    )
    variants: int = option(
        "int", 64, min=1, max=10_000, doc="responses of one key, selected by Vary"
    )
    client_no_cache: str = option(
        "choice",
        "revalidate",
        choices=("revalidate", "obey", "ignore"),
        doc="requests with ``no-cache``: ask the server whether the response is still good,"
        " fetch it anew, or serve it",
    )
    wait: float = option(
        "duration",
        30.0,
        min=0.001,
        doc="how long a request waits for a response that another request fetches",
    )
    waiters: int = option(
        "int", 1000, min=0, doc="requests that wait for one fetch; further ones go to a server"
    )
    purge_from: tuple[str, ...] = option(
        "list:network", (), doc="clients that may use the method PURGE"
    )
    early_hints: bool = option(
        "bool",
        False,
        doc="before a page is fetched, send its browser a 103 with the preload and preconnect links"
        " of the page that was stored last",
    )
    prefetch: bool = option(
        "bool",
        False,
        doc="when an HTML page is stored, request what its Link fields name as preload,"
        " modulepreload or prefetch on the same origin",
    )
    cache_status: bool = option(
        "bool", True, doc="add Cache-Status (RFC 9211), which says what the cache did and why"
    )
    where: Where = hidden(NOWHERE)

    @property
    def largest(self) -> int:
        """Size in bytes of the largest body that is stored."""
        from lbproxy.cache.memory import OVERHEAD

        if self.max_object:
            return self.max_object
        if self.disk is not None and not self.memory:
            return max(self.disk.size // HUNDRED, 64 * 1024)
        return max(self.memory_size // EIGHTH - OVERHEAD, 1024)

    @property
    def memory_size(self) -> int:
        """Bytes of memory."""
        return self.memory or (WITHOUT_DISK if self.disk is None else WITH_DISK)


def policy_of(spec: CacheSpec) -> Policy:
    """Return the rules of a section."""
    key, cookies = spec.key or (), spec.cookies or Cookies()
    named = tuple(one.argument for one in key if one.name == "cookie")
    return Policy(
        post=spec.post or 0,
        key=key,
        query=spec.query or Query(),
        cookies=evolve(cookies, key=cookies.key + named),
        ttl=spec.ttl,
        set_cookie=SetCookie(spec.set_cookie),
        client_no_cache=NoCache(spec.client_no_cache),
        grace=spec.grace,
        grace_refresh=spec.grace_refresh,
        negative=spec.negative,
        max_object=spec.largest,
        min_uses=spec.min_uses,
        variants=spec.variants,
        search=spec.no_vary_search,
    )


def hit_rules_of(spec: CacheSpec, policy: Policy) -> HitRules:
    """Return the rules for requests that can be answered without consulting the policy."""
    cookies = policy.cookies
    return HitRules(
        usable=not (spec.bypass or spec.refresh or policy.key),
        whole_query=policy.query.trivial,
        cookies=bool(cookies.ignore or cookies.key or cookies.bypass),
        status=cache_status(spec.name, hit=True) + b"; ttl=" if spec.cache_status else None,
    )


def _check(draft: Draft, judge: Judge) -> None:
    _check_redis(draft, judge)
    _check_ttl(draft, judge)
    if {"memory", "max_object", "disk"} & set(draft.broken):
        return
    fields = option_fields(CacheSpec)
    largest, memory, disk = [
        draft.get(key, fields[key].default) for key in ("max_object", "memory", "disk")
    ]
    if 0 < memory < LEAST:
        message = f"{dump('size', memory)} is out of bounds; it must be at least 64k"
        judge.wrong(draft, draft.line("memory"), "memory", message)
    room = (memory or WITHOUT_DISK) if disk is None else disk.size
    if largest > room // 2:
        what = f"{'memory' if disk is None else 'disk'!r} ({dump('size', room)})"
        message = f"{dump('size', largest)} is out of bounds; it must be at most half of {what}"
        judge.wrong(draft, draft.line("max_object"), "max_object", message)


def _check_redis(draft: Draft, judge: Judge) -> None:
    if not draft.get("redis", False):
        if "redis_timeout" in draft.values and "redis" not in draft.broken:
            message = "has no effect without 'redis = yes'"
            judge.wrong(draft, draft.line("redis_timeout"), "redis_timeout", message)
        return
    if not judge.drafts.of("shared"):
        message = "needs a [shared] section with the address of the Redis server"
        judge.wrong(draft, draft.line("redis"), "redis", message)
    if draft.get("disk", None) is not None:
        message = (
            "cannot be combined with 'disk': other nodes may purge what is on the disk while this"
            " node is down"
        )
        judge.wrong(draft, draft.line("redis"), "redis", message)


def _check_ttl(draft: Draft, judge: Judge) -> None:
    """Report lines that cannot apply, because an earlier line matches the same responses."""
    lines = draft.get("ttl", ())
    for number, line in enumerate(lines):
        first = next((one for one in lines[:number] if one.covers(line)), None)
        if first is not None:
            message = f"{line.line!r} is never used: {first.line!r} is before it and matches, too"
            judge.wrong(draft, draft.line("ttl"), "ttl", message)


CACHE = Section(
    "cache",
    CacheSpec,
    doc="A cache of responses (RFC 9111). Frontends, backends and routes use it by"
    " ``cache = NAME``.",
    plural="caches",
    between=check_together,
    check=_check,
)


@frozen
class CacheKeys:
    """The key of frontends and routes."""

    cache: str = option(
        "string",
        "",
        doc="the [cache NAME] that answers for the servers; ``none`` for no cache",
        route_default="that of the backend, else that of the frontend",
        http_only=True,
    )


@frozen
class CacheBackendKeys:
    """The key of backends."""

    cache: str = option(
        "string",
        "",
        doc="the [cache NAME] for requests that routes send here, in place of that of the"
        " frontend; ``none`` for no cache. The option of a route has precedence",
        http_only=True,
    )


class CacheDeclaration(Declaration):
    """See :class:`Declaration`."""

    owner = "route"
    Keys = CacheKeys
    BackendKeys = CacheBackendKeys
    sections = (CACHE,)

    @classmethod
    def warnings(cls, config: Config) -> list[str]:
        """See :class:`Declaration`."""
        sizes = [
            CacheSize(one.name, one.memory_size, one.disk.folder, one.disk.size)
            if one.disk is not None
            else CacheSize(one.name, one.memory_size)
            for one in config.of(CacheSpec)
        ]
        return size_warnings(sizes, config.settings.workers) if sizes else []
