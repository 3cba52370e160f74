"""DATA. ``cache = NAME`` of a route, a backend or a frontend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

from lbproxy.config.errors import no_section
from lbproxy.observe.events import EventKind
from lbproxy.observe.samples import CacheSample
from lbproxy.proxy.feature import Feature, Given
from lbproxy.proxy.features.caching.cache import Cache
from lbproxy.proxy.features.caching.fetch import Fetch
from lbproxy.proxy.features.caching.hits import HitSource
from lbproxy.proxy.features.caching.jobs import Jobs
from lbproxy.proxy.features.caching.place import Placement
from lbproxy.proxy.features.caching.reported import CACHES
from lbproxy.proxy.features.caching.source import CacheSource
from lbproxy.proxy.features.caching.spec import CacheDeclaration, CacheSpec
from lbproxy.proxy.http.source import Source
from lbproxy.proxy.routeowner import RouteOwner
from lbproxy.proxy.together import Growth

if TYPE_CHECKING:
    from lbproxy.proxy.features.caching.nodes.tier import RedisWay

__all__ = ["Caching"]


class Caching(CacheDeclaration, Feature[RouteOwner]):
    """The cache of one route; several routes may have the same :class:`Cache`.

    ``mac``: the key of the MACs in Redis, empty for none."""

    name = "cache"
    keys = ("cache",)
    together = CACHES

    def __init__(self, cache: Cache[Fetch], spec: CacheSpec, mac: bytes) -> None:
        self.cache = cache
        self.spec = spec
        self._mac = mac

    @classmethod
    def prepare(cls, spec: Any, old: Self | None, given: Given) -> Self | None:
        """See :class:`Feature`. Raises ValueError for a section that does not exist."""
        if spec.cache in ("", "none"):
            return None
        found = {one.name: one for one in given.config.of(CacheSpec)}
        wanted = found.get(spec.cache)
        if wanted is None:
            raise no_section("cache", spec.cache, found)
        mac = _mac(given) if wanted.redis else b""
        if old is not None and old.spec == wanted and old._mac == mac:
            return old
        shared, wheel = given.shared, given.network.wheel
        placement = Placement(shared.processes, shared.folder)
        jobs = Jobs(given.env.reactor)
        cache = given.keep(
            "redis cache" if wanted.redis else "cache",
            spec.cache,
            lambda: Cache[Fetch](wanted, wheel.wall, jobs, placement, _reach(wanted, given)),
        )
        return cls(cache, wanted, mac)

    def attach(self, owner: RouteOwner) -> None:
        """See :class:`Feature`."""
        self.cache.users.add(self)
        if self.cache.spec != self.spec:
            self.cache.apply(self.spec)
        if self.cache.nodes is not None:
            self.cache.nodes.tier.secret = self._mac

    def start(self) -> None:
        """See :class:`Feature`."""
        self.cache.users.add(self)
        self.cache.start()

    def close(self) -> None:
        """See :class:`Feature`: removal of the last route ends the fetches in the background."""
        self.cache.users.discard(self)
        if not self.cache.users:
            self.cache.stop()

    def source(self, inner: Source) -> Source:
        """See :class:`Feature`."""
        if self.cache.nodes is not None:
            from lbproxy.proxy.features.caching.nodes.source import NodesCacheSource

            return inner.cached_by(lambda one: NodesCacheSource(self.cache, one))
        return inner.cached_by(lambda one: HitSource(self.cache, CacheSource(self.cache, one)))

    def growths(self) -> Sequence[Growth]:
        """See :class:`Feature`: requests with the method PURGE."""
        name, total = self.cache.name, self.cache.counters.purge_requests
        if not total:
            return ()
        words = f"cache {name}: {{}} with the method PURGE".format
        return (
            Growth("purged", total, EventKind.CACHE_PURGED, name, words, facts={"cache": name}),
        )

    def sample(self) -> dict[str, dict[str, Any]]:
        """See :class:`Feature`."""
        counters = self.cache.counters
        sample = CacheSample(counters.asked(), counters.hits + counters.collapsed)
        return {"caches": {self.cache.name: sample}}


def _reach(spec: CacheSpec, given: Given) -> RedisWay | None:
    """Return the way to Redis, None for a cache without ``redis``.

    Raises ValueError if ``[shared]`` is missing, because a reload cannot add it."""
    if not spec.redis:
        return None
    nodes = given.nodes
    if nodes is None:
        raise ValueError("redis = yes needs [shared], which only a restart adds")
    from lbproxy.proxy.features.caching.nodes.tier import RedisWay

    return RedisWay(nodes.connect(), f"{given.config.shared.prefix}:cache:{spec.name}")


def _mac(given: Given) -> bytes:
    """Return the key of the MACs of values in Redis."""
    from lbproxy.cache.sharedvalue import mac_key

    settings = given.config.settings
    known = settings.secret and not settings.made_secret  # known to the other nodes
    return mac_key(given.env.secret if known else b"")
