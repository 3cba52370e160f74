"""DATA. One cache: its policy, its store and its running fetches."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Generic

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from lbproxy.cache.hints import Hints
from lbproxy.cache.key import Key, normal_prefix, normal_url
from lbproxy.cache.keybytes import key_digest
from lbproxy.cache.memory import Entry
from lbproxy.cache.parts import is_part
from lbproxy.cache.policy import Policy
from lbproxy.cache.purge import Purge, in_other_scheme
from lbproxy.cache.stored import Stored
from lbproxy.cache.storing import Refusal
from lbproxy.guard.addresses import AddressSet
from lbproxy.http.conditional import Conditions
from lbproxy.proxy.features.caching.disk.spool import Spool
from lbproxy.proxy.features.caching.elsewhere import Elsewhere
from lbproxy.proxy.features.caching.holds import Holds
from lbproxy.proxy.features.caching.jobs import Jobs
from lbproxy.proxy.features.caching.keepparts import keep_part_file
from lbproxy.proxy.features.caching.place import Placement
from lbproxy.proxy.features.caching.running import RunningT
from lbproxy.proxy.features.caching.runningfetches import RunningFetches, take_claim
from lbproxy.proxy.features.caching.spec import CacheSpec, hit_rules_of, policy_of
from lbproxy.proxy.features.caching.store import ResponseStore
from lbproxy.proxy.features.caching.sweeping import sum_of

if TYPE_CHECKING:
    from lbproxy.proxy.features.caching.nodes.store import NodesStore
    from lbproxy.proxy.features.caching.nodes.tier import RedisWay
    from lbproxy.proxy.features.caching.prefetch import Prefetcher
    from lbproxy.proxy.http.traffic import HTTPTraffic

__all__ = ["Cache"]


class Cache(RunningFetches, Generic[RunningT]):
    """See the module. ``wall`` returns seconds since the epoch.

    A cache exists as long as a configuration names it: a reload replaces its policy and keeps its
    contents. ``users``: the routes that use it; without users a fetch ends with its last client.
    ``holds``: the clients whose pace decides when memory is freed. ``elsewhere``: the requests
    that wait for the fetch of another process. ``reach``: the way to Redis, for ``redis``.
    ``nodes``: the store that uses it.
    """

    store: ResponseStore
    policy: Policy

    def __init__(
        self,
        spec: CacheSpec,
        wall: Callable[[], float],
        jobs: Jobs,
        placement: Placement,
        reach: RedisWay | None = None,
    ) -> None:
        super().__init__(wall)
        self.name = spec.name
        self.jobs = jobs
        self.placement = placement
        sizes = placement.memory(spec), spec.variants
        self.nodes: NodesStore | None = None
        if reach is None:
            self.store = ResponseStore(self, wall, jobs, *sizes)
        else:
            from lbproxy.proxy.features.caching.nodes.store import NodesStore  # few need it

            self.store = self.nodes = NodesStore(self, wall, jobs, sizes, reach, self.counters)
        self.memory = self.store.memory
        # in a master: the totals of its workers
        self.remote_fetching = self.remote_waiting = self.remote_bytes = 0
        self.remote_top: dict[str, list[int]] = {}
        self.purges = 0
        self.users: set[object] = set()
        self.holds = Holds()
        self.elsewhere = Elsewhere(self.is_free)
        self.serving = False
        self.hints = Hints()
        self._prefetcher: Prefetcher | None = None
        self.apply(spec)

    def apply(self, spec: CacheSpec) -> None:
        """Apply ``spec`` from now on."""
        self.spec = spec
        self.policy = policy_of(spec)
        self._learns = spec.early_hints or spec.prefetch
        self.purgers = AddressSet(spec.purge_from)  # type: ignore[arg-type]
        self._bypass = tuple(Conditions(one) for one in spec.bypass)
        self._refresh = tuple(Conditions(one) for one in spec.refresh)
        self.hit_rules = hit_rules_of(spec, self.policy)
        self.memory.variants = spec.variants
        self.memory.resize(self.placement.memory(spec))
        if self.nodes is not None:
            self.nodes.follow(self.policy, spec.redis_timeout)
        if self.serving:
            self.start()

    def start(self) -> None:
        """Open the folder, if one is configured. Has no effect if it is open."""
        self.serving = True
        if self.nodes is not None:
            self.nodes.tier.start()
        spec = self.spec
        path, limit = self.placement.folder(spec)
        self.store.use_folder(path, limit, alone=self.placement.alone)

    # -- what a request may do ------------------------------------------------------------------

    def bypasses(self, traffic: HTTPTraffic) -> bool:
        """Return whether a condition of ``bypass`` holds."""
        return any(one.hold(traffic) for one in self._bypass)

    def refreshes(self, traffic: HTTPTraffic) -> bool:
        """Return whether a condition of ``refresh`` holds."""
        return any(one.hold(traffic) for one in self._refresh)

    # -- fetches --------------------------------------------------------------------------------

    def reserve(self, size: int) -> bool:
        """Reserve ``size`` bytes for a body being received; return whether the memory suffices.

        If it does not, clients that have held memory for longer than their time are cut off.
        """
        while not self.memory.reserve(size):
            if not self.holds.cut_oldest():
                return False
        return True

    def _learn(self, fetch: RunningT, own: Key, stored: Stored) -> None:
        """See :class:`RunningFetches`."""
        if self.spec.early_hints:
            self.hints.learn(key_digest(own), stored)
        if self.spec.prefetch and self.users:  # else the cache has ended
            if self._prefetcher is None:
                from lbproxy.proxy.features.caching.prefetch import Prefetcher

                self._prefetcher = Prefetcher(
                    self.counters, self.jobs.reactor, lambda: self.policy.max_object
                )
            self._prefetcher.learn(fetch, stored)

    def fetch_confirmed(self, fetch: RunningT, entry: Entry, stored: Stored) -> Entry | None:
        """Replace the head of ``entry``, which the server has validated, by ``stored``."""
        return self.store.replace(entry, stored, take_claim(fetch))

    def fetch_spooled(
        self, fetch: RunningT, spool: Spool, digest: bytes, done: Callable[[], None]
    ) -> None:
        """Do the same as :meth:`fetch_stored` for a body in a file that has its final name.

        ``done()`` is called when the response is stored, or cannot be stored.
        """
        assert fetch.stored is not None
        self._good(fetch)
        if is_part(fetch.stored):
            keep_part_file(self.store, fetch.own_key, fetch.stored, spool, digest, done)
            return
        stored = evolve(fetch.stored, length=spool.size)
        key = self._place(fetch, stored)
        if key is None:
            self.store.discard_spooled(spool)
            done()
        else:
            self.store.add_spooled(key, stored, spool, digest, done)

    # -- purges ---------------------------------------------------------------------------------

    def purge(self, wanted: Purge, soft: bool = False) -> Deferred[int]:
        """Remove what ``wanted`` names, or make it stale; see :meth:`ResponseStore.purge`.

        Running fetches that it names, or may name, are not stored, and no request joins them.
        """
        if wanted.kind == "url":
            wanted = Purge("url", normal_url(wanted.value, self.policy))
        elif wanted.kind == "prefix":
            wanted = Purge("prefix", normal_prefix(wanted.value))
        counts = [self.store.purge(wanted, soft)]
        other = in_other_scheme(wanted, self.policy)
        if other is not None:
            counts.append(self.store.purge(other, soft))
        return sum_of(counts)

    def purged(self, wanted: Purge) -> None:
        """See :class:`~lbproxy.proxy.features.caching.store.Observer`."""
        self.purges += 1
        if self.hints:
            self.hints.purged(wanted)
        for fetch in list(self._running):
            known = fetch.stored
            if wanted.may_name(fetch.url) if known is None else wanted.names(known):
                fetch.outdated = True
                take_claim(fetch)()
                self._forget(fetch)

    def outdated(self) -> None:
        """See Observer."""
        self.purged(Purge("all"))

    def invalidate(self, urls: list[bytes], groups: frozenset[bytes], origin: bytes) -> None:
        """Make stale what an unsafe request may have changed."""
        purges = [Purge("url", url) for url in urls]
        purges += [Purge("group", origin + b" " + group) for group in groups]
        for one in purges:
            self.purge(one).addErrback(self._not_invalidated)

    def _not_invalidated(self, failure: Failure) -> None:
        error = failure.value
        if not isinstance(error, OSError):
            failure.raiseException()
        self.store.log("cannot record an invalidation", error)

    def stop(self) -> None:
        """End the fetches that no client waits for."""
        if self._prefetcher is not None:
            self._prefetcher.stop()
        for fetch in list(self._running):
            fetch.abandon()
        if self.nodes is not None:
            self.jobs.reactor.callLater(0, self._leave)

    def _leave(self) -> None:
        """Disconnect from Redis, unless a reload has added a user meanwhile."""
        if self.nodes is not None and not self.users:
            self.nodes.tier.stop()

    # -- shown ----------------------------------------------------------------------------------

    @property
    def fetching_count(self) -> int:
        """Number of running fetches of this process."""
        return len(self._running)

    @property
    def waiting_count(self) -> int:
        """Number of requests of this process that wait for the head of another request's fetch."""
        waiting: int = sum(fetch.waiters for fetch in self._running)
        return waiting + len(self.elsewhere)

    def is_free(self, key: bytes) -> bool:
        """Return whether no other process fetches the key with this digest."""
        claims = self.store.claims
        return claims is None or claims.is_free(key)

    def refusal_of(self, url: bytes) -> Refusal | None:
        """Return why the last response of a public URL was not stored, None if it was."""
        return self._refused.get(hash(url))
