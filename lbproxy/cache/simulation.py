"""PURE. The hit ratio of a policy and a size for the requests of a log.

Only eviction and lifetimes are simulated. A log has no header fields, so cookies, ``Vary`` and
``Cache-Control`` are unknown. Responses that the log marks as not stored or bypassed are not stored
here either.
"""

from __future__ import annotations

from attrs import define

from lbproxy.cache.catalog import Catalog, Listed
from lbproxy.cache.freshness import HEURISTIC
from lbproxy.cache.key import normal_target
from lbproxy.cache.memory import OVERHEAD
from lbproxy.cache.policy import Policy
from lbproxy.http.paths import normal_path

__all__ = ["LoggedResponse", "Simulation"]

Name = tuple[str, bytes]
"""Host and target, without the parts that the policy ignores."""

_FIELDS = 8 * 200
"""Size of the header fields of an ordinary response in bytes."""


@define
class LoggedResponse:
    """One line of a log. ``at`` in seconds; ``size`` of the body in bytes.

    ``shared``: False if the log shows that no cache could store it.
    """

    at: float
    method: str
    host: str
    target: str
    status: int
    size: int
    shared: bool = True


class _Object(Listed[Name]):
    """A stored response, until ``expires``."""

    __slots__ = ("expires",)

    def __init__(self, key: Name, size: int, expires: float) -> None:
        none: frozenset[bytes] = frozenset()
        super().__init__(key, key[1], none, none, size)
        self.expires = expires


@define
class SimulationResult:
    """Sums of a simulation. ``cacheable``: requests whose responses could be stored."""

    requests: int = 0
    cacheable: int = 0
    hits: int = 0
    bytes: int = 0
    hit_bytes: int = 0
    evicted: int = 0
    expired: int = 0

    @property
    def ratio(self) -> float:
        """Share of all requests that are hits."""
        return self.hits / self.requests if self.requests else 0.0

    @property
    def byte_ratio(self) -> float:
        """Share of the bytes of all bodies that come from the cache."""
        return self.hit_bytes / self.bytes if self.bytes else 0.0


class Simulation:
    """A cache of ``limit`` bytes.

    ``lifetime``: seconds of freshness of responses that no line of ``ttl`` matches.
    """

    def __init__(self, policy: Policy, limit: int, lifetime: float) -> None:
        self.policy = policy
        self.limit = limit
        self.lifetime = lifetime
        self.result = SimulationResult()
        self._catalog: Catalog[Name, _Object] = Catalog(limit, 1)
        self._uses: dict[Name, int] = {}

    def __len__(self) -> int:
        return len(self._catalog)

    def request(self, one: LoggedResponse) -> bool:
        """Count a request; return whether it is a hit."""
        result = self.result
        result.requests += 1
        result.bytes += one.size
        lifetime = self._lifetime(one)
        if lifetime is None:
            return False
        result.cacheable += 1
        target = normal_target(one.target.encode("latin-1", "replace"), self.policy)
        key = one.host, target
        for found in self._catalog.lookup(key):
            if one.at < found.expires:
                found.used = True
                result.hits += 1
                result.hit_bytes += one.size
                return True
            result.expired += 1
            self._catalog.discard(found)
            break
        self._store(key, one, lifetime)
        return False

    def _lifetime(self, one: LoggedResponse) -> float | None:
        """Return the seconds for which a response is fresh; None if it is not stored."""
        if not one.shared or one.method != "GET" or one.size > self.policy.max_object:
            return None
        path = normal_path(one.target.partition("?")[0].encode("latin-1", "replace"))
        if path is None and self.policy.needs_path:
            return None
        for line in self.policy.ttl:
            if not line.type and line.matches(one.status, "", path or b"", stated=False):
                return line.seconds
        if one.status not in HEURISTIC or one.status == 206:
            return None
        return self.policy.negative if one.status >= 400 else self.lifetime

    def _store(self, key: Name, one: LoggedResponse, lifetime: float) -> None:
        if lifetime <= 0 or not self._worth(key):
            return
        size = one.size + OVERHEAD + _FIELDS + len(key[0]) + 2 * len(key[1])
        catalog = self._catalog
        while catalog.bytes + size > self.limit:
            victim = catalog.victim()
            if victim is None:
                return
            catalog.discard(victim)
            self.result.evicted += 1
        catalog.insert(_Object(key, size, one.at + lifetime))

    def _worth(self, key: Name) -> bool:
        if self.policy.min_uses == 1:
            return True
        uses = self._uses.pop(key, 0) + 1
        if uses >= self.policy.min_uses:
            return True
        self._uses[key] = uses
        if len(self._uses) > _MOST_USES:
            del self._uses[next(iter(self._uses))]
        return False


_MOST_USES = 10_000
"""Maximum number of keys whose uses are counted, as in a cache."""
