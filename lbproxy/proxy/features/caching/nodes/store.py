"""DATA. The store of a cache with ``redis``: memory over a tier that all nodes share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred, DeferredList, ensureDeferred
from twisted.python.failure import Failure

from lbproxy.cache.key import Key
from lbproxy.cache.memory import Entry
from lbproxy.cache.policy import Policy
from lbproxy.cache.purge import Purge
from lbproxy.cache.stored import Stored
from lbproxy.proxy.features.caching.counters import CacheCounters
from lbproxy.proxy.features.caching.disk.spool import Spool
from lbproxy.proxy.features.caching.disk.writing import nothing
from lbproxy.proxy.features.caching.jobs import Jobs
from lbproxy.proxy.features.caching.nodes.tier import NodesTier, RedisWay
from lbproxy.proxy.features.caching.running import Running
from lbproxy.proxy.features.caching.store import Observer, ResponseStore

__all__ = ["NodesStore"]

LONGEST: Final = 30 * 24 * 3600.0
"""Maximum number of seconds for which a response is kept in Redis."""

VALIDATING: Final = 60.0
"""Minimum number of seconds for which a response with a validator is kept there."""


class NodesStore(ResponseStore):
    """See :class:`ResponseStore`. ``sizes``: bytes of memory, and number of variants of a key.

    The contents of memory are used only while ``tier`` has a valid lease.
    """

    def __init__(
        self,
        observer: Observer,
        now: Callable[[], float],
        jobs: Jobs,
        sizes: tuple[int, int],
        reach: RedisWay,
        counts: CacheCounters,
    ) -> None:
        super().__init__(observer, now, jobs, *sizes)
        self.tier = NodesTier(self, reach, jobs.reactor, now, counts)
        self._policy = Policy()

    def follow(self, policy: Policy, timeout: float) -> None:
        """Apply the section from now on. ``timeout``: seconds that a request waits for Redis."""
        self._policy = policy
        self.tier.timeout = timeout

    def close(self) -> None:
        """See ResponseStore."""
        self.tier.stop()
        super().close()

    def select(self, key: Key) -> list[Entry] | None:
        """See ResponseStore: returns nothing while purges may be unknown."""
        return super().select(key) if self.tier.valid else []

    def by_url(self, url: bytes) -> list[Entry]:
        """See ResponseStore: returns the responses in the memory of this process."""
        return super().by_url(url) if self.tier.valid else []

    def ask_nodes(self, key: Key, done: Callable[[list[Entry]], None]) -> None:
        """Call ``done`` with the responses of ``key`` in Redis, after copying them to memory."""

        def loaded(found: list[Entry]) -> None:
            done([self._shown(entry) for entry in found])

        self.tier.load(key, loaded)

    def covers(self, fetch: Running) -> bool:
        """Return whether no purge that has returned named a response of ``fetch``.

        This includes the stored response that the fetch validates.
        """
        tier = self.tier
        return tier.valid or (fetch.entry is None and tier.covers(fetch.began))

    def _shown(self, entry: Entry) -> Entry:
        """Copy a response to memory, unless a later one is there."""
        chosen = entry.stored.selected
        for known in self.memory.lookup(entry.key):
            if known.stored.selected == chosen and known.stored.asked >= entry.stored.asked:
                return known
        return self.memory.add(entry.key, entry.stored, entry.body) or entry

    # -- storing --------------------------------------------------------------------------------

    def add(
        self, key: Key, stored: Stored, body: bytes, done: Callable[[], None] = nothing
    ) -> Entry | None:
        """See ResponseStore."""
        entry = super().add(key, stored, body, done)
        self._share(key, stored, body)
        return entry

    def replace(
        self, entry: Entry, stored: Stored, done: Callable[[], None] = nothing
    ) -> Entry | None:
        """See ResponseStore."""
        new = super().replace(entry, stored, done)
        if new is not None and isinstance(new.body, bytes):
            self._share(new.key, stored, new.body)
        else:
            self.tier.drop(entry.key, stored)
        return new

    def add_spooled(
        self, key: Key, stored: Stored, spool: Spool, digest: bytes, done: Callable[[], None]
    ) -> None:
        """See ResponseStore: too large for Redis."""
        super().add_spooled(key, stored, spool, digest, done)
        self.tier.drop(key, stored)

    def displace(self, key: Key, stored: Stored) -> None:
        """See ResponseStore."""
        super().displace(key, stored)
        self.tier.drop(key, stored)

    def remove(self, entry: Entry) -> None:
        """See ResponseStore."""
        super().remove(entry)
        self.tier.drop(entry.key, entry.stored)

    def _share(self, key: Key, stored: Stored, body: bytes) -> None:
        control, policy = stored.control, self._policy
        grace = max(
            control.stale_while_revalidate or 0, control.stale_if_error or 0, policy.grace,
            policy.grace_refresh,
        )  # fmt: skip
        seconds = max(0.0, stored.lifetime - stored.first_age) + grace
        if stored.header(b"etag") is not None or stored.header(b"last-modified") is not None:
            seconds = max(seconds, VALIDATING)
        self.tier.store(key, stored, body, min(seconds, LONGEST))

    # -- purges ---------------------------------------------------------------------------------

    def purge(self, wanted: Purge, soft: bool = False) -> Deferred[int]:
        """See ResponseStore: counts the responses in the memory of this process."""
        both: list[Any] = [super().purge(wanted, soft), self.tier.purge(wanted, soft)]
        return ensureDeferred(_counted(both))

    def purge_here(self, wanted: Purge, soft: bool) -> None:
        """See :class:`~lbproxy.proxy.features.caching.nodes.tier.TierOwner`."""
        super().purge(wanted, soft).addErrback(self._not_purged)

    def forget(self) -> None:
        """See TierOwner."""
        self.purge_here(Purge("all"), soft=False)

    def _not_purged(self, failure: Failure) -> None:
        error = failure.value
        if not isinstance(error, OSError):
            failure.raiseException()
        self.log("cannot record a purge", error)


async def _counted(both: list[Any]) -> int:
    """Return the first result when both are available; raise the first failure."""
    results: Any = await DeferredList(both, consumeErrors=True)
    for good, result in results:
        if not good:
            result.raiseException()
    return int(results[0][1])
