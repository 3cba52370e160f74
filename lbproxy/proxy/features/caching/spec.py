"""DATA. ``[cache NAME]`` and the key ``cache``: section, key and the policy they stand for."""

from __future__ import annotations

from attrs import frozen

from lbproxy.cache.memory import OVERHEAD
from lbproxy.cache.policy import TTL, Cookies, NoCache, Policy, Query, SetCookie
from lbproxy.config.declaration import Declaration
from lbproxy.config.draft import Draft
from lbproxy.config.model import NOWHERE, Condition, Where, hidden, option
from lbproxy.config.options import option_fields
from lbproxy.config.section import Judge, Section

__all__ = ["CACHE", "CacheDeclaration", "CacheKeys", "CacheSpec", "policy_of"]

EIGHTH = 8


@frozen
class CacheSpec:
    """The keys of the section."""

    name: str = option("hidden", "", doc="section name")
    memory: int = option(
        "size",
        64 * 1024 * 1024,
        min=64 * 1024,
        doc="bytes of the store, heads and overhead included",
    )
    query: Query | None = option(
        "line:query",
        None,
        doc="parts of the query that matter: ``sort`` ignores the order of parameters,"
        " ``ignore=utm_*`` drops some, ``keep=page,q`` drops all others",
        example="sort ignore=utm_*,fbclid",
    )
    cookies: Cookies | None = option(
        "line:cookies",
        None,
        doc="cookies that do not matter, that are part of the key, and that bypass the cache",
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
        doc="lifetimes; the first line that matches replaces what the response states",
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
    max_object: int = option(
        "size", 0, min=0, doc="largest body that is stored; 0: an eighth of ``memory``"
    )
    min_uses: int = option(
        "int", 1, min=1, max=1000, doc="requests for a key before its response is stored"
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
    cache_status: bool = option(
        "bool", True, doc="add Cache-Status (RFC 9211), which says what the cache did and why"
    )
    where: Where = hidden(NOWHERE)

    @property
    def largest(self) -> int:
        """Bytes of the largest body that is stored."""
        return self.max_object or max(self.memory // EIGHTH - OVERHEAD, 1024)


def policy_of(spec: CacheSpec) -> Policy:
    """Return the rules of a section."""
    return Policy(
        query=spec.query or Query(),
        cookies=spec.cookies or Cookies(),
        ttl=spec.ttl,
        set_cookie=SetCookie(spec.set_cookie),
        client_no_cache=NoCache(spec.client_no_cache),
        grace=spec.grace,
        grace_refresh=spec.grace_refresh,
        negative=spec.negative,
        max_object=spec.largest,
        min_uses=spec.min_uses,
        variants=spec.variants,
    )


def _check(draft: Draft, judge: Judge) -> None:
    if "memory" in draft.broken or "max_object" in draft.broken:
        return
    fields = option_fields(CacheSpec)
    largest, memory = [int(draft.get(key, fields[key].default)) for key in ("max_object", "memory")]
    if largest > memory // 2:
        where = draft.line("max_object")
        judge.wrong(draft, where, "max_object", "at most half of the memory of the store")


def _one_process(judge: Judge) -> None:
    """Report a cache where worker processes would each have one of their own."""
    settings = judge.drafts.of("lbproxy")
    if not settings or settings[0].get("workers", 1) == 1:
        return
    for draft in judge.drafts.of("cache"):
        judge.wrong(
            draft,
            draft.where,
            "",
            "a cache needs 'workers = 1': processes do not share their memory, so a purge"
            " would not reach all of them",
        )


CACHE = Section(
    "cache",
    CacheSpec,
    doc="A cache of responses (RFC 9111). Frontends and routes use it by ``cache = NAME``.",
    plural="caches",
    between=_one_process,
    check=_check,
)


@frozen
class CacheKeys:
    """The key of routes and frontends."""

    cache: str = option(
        "string",
        "",
        doc="the [cache NAME] that answers for the servers; ``none`` for no cache",
        http_only=True,
    )


class CacheDeclaration(Declaration):
    """See :class:`Declaration`."""

    owner = "route"
    Keys = CacheKeys
    sections = (CACHE,)
