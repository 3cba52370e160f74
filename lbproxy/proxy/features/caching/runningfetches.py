"""DATA. The running fetches of a cache, and which requests wait for each other."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

from attrs import evolve

from lbproxy.cache.key import Key
from lbproxy.cache.keybytes import key_digest
from lbproxy.cache.memory import Entry, Memory
from lbproxy.cache.parts import is_part
from lbproxy.cache.ready import HitRules
from lbproxy.cache.search import SearchRules, applies, reduced, search_rule
from lbproxy.cache.storing import Refusal
from lbproxy.compiled import native
from lbproxy.proxy.features.caching.counters import CacheCounters, Reasons
from lbproxy.proxy.features.caching.disk.claims import PASS_SECONDS
from lbproxy.proxy.features.caching.jobs import Jobs
from lbproxy.proxy.features.caching.keepparts import keep_part

__all__ = ["LARGE_SECONDS", "RunningFetches", "count_reason", "take_claim"]

MOST_REMEMBERED: Final = 10_000
"""Maximum number of keys remembered as not stored, and of keys whose uses are counted."""

LARGE_SECONDS: Final = 1.0
"""Number of seconds for which requests of other processes wait for the end of a large body."""

_HUGE: Final = 64 * 1024 * 1024
"""Size in bytes of a body for whose end they do not wait."""

_PASS_SECONDS: Final[float] = PASS_SECONDS


@native(allow_interpreted_subclasses=True)
class RunningFetches:
    """Base class of :class:`~lbproxy.proxy.features.caching.cache.Cache`, in compiled code: every
    miss calls it. ``fetches``: those that further requests may join, by key. ``memory``: of the
    store. ``hit_rules``: those of the policy.
    """

    jobs: Jobs
    memory: Memory
    hit_rules: HitRules

    def __init__(self, wall: Callable[[], float]) -> None:
        self.wall = wall
        self.counters = CacheCounters()
        self.policy: Any = None  # a Policy
        self.store: Any = None  # a ResponseStore
        self.searches = SearchRules()
        self._learns = False  # the policy uses the links of stored responses
        self.fetches: dict[Key, Any] = {}
        self.reasons = Reasons()
        self._running: set[Any] = set()
        # by hash, because clients choose the length of keys, and a collision is harmless
        self._passing: OrderedDict[int, float] = OrderedDict()
        self._uses: OrderedDict[int, int] = OrderedDict()
        self._refused: OrderedDict[int, Refusal] = OrderedDict()

    def collapses(self, key: Key) -> bool:
        """Return whether requests of ``key`` wait for each other.

        They do not if a response was recently not stored.
        """
        if self._passing:
            until = self._passing.get(hash(key))
            if until is not None:
                if 0 < until - self.wall() <= _PASS_SECONDS:  # the clock may have been set back
                    return False
                del self._passing[hash(key)]
        store = self.store
        claims = None if store.alone else store.claims
        return claims is None or not claims.passes(key_digest(key), self.wall())

    def worth(self, key: Key) -> bool:
        """Count a use of ``key``, and return whether it has reached ``min_uses``."""
        least: int = self.policy.min_uses
        if least == 1:
            return True
        known = hash(key)
        uses = self._uses.pop(known, 0) + 1
        if uses >= least:
            return True
        self._uses[known] = uses
        if len(self._uses) > MOST_REMEMBERED:
            self._uses.popitem(last=False)
        return False

    def fetching(self, fetch: Any, shared: bool) -> None:
        """Register a fetch that starts. ``shared``: further requests of its key may join it."""
        self._running.add(fetch)
        if shared:
            self.fetches[fetch.waits] = fetch

    def fetch_passes(self, fetch: Any, why: Refusal) -> None:
        """Note that the response will not be stored.

        If other clients could have shared it, requests of its key do not wait for each other for a
        while. A response to the cookies or credentials of one client implies nothing for other
        clients, and a failure implies nothing for the next response.
        """
        _remember(self._refused, hash(fetch.url), why)
        count_reason(self.reasons.not_stored, why.reason)
        running: Any = self.fetches.get(fetch.waits)
        if running is fetch:
            del self.fetches[fetch.waits]
            if not fetch.personal and fetch.failure is None:
                until = self.wall() + _PASS_SECONDS
                _remember(self._passing, hash(fetch.waits), until)
                take_claim(fetch)(until)
        take_claim(fetch)()

    def fetch_stored(self, fetch: Any, body: bytes) -> Entry | None:
        """Store a complete response if that is allowed; return its entry if it is stored."""
        stored: Any = fetch.stored
        self._good(fetch)
        if is_part(stored):
            part: Entry | None = keep_part(self.store, fetch.own_key, stored, body)
            return part
        if stored.length != len(body):
            stored = evolve(stored, length=len(body))
        release = take_claim(fetch)
        key = self._place(fetch, stored)
        if key is None:
            release()
            return None  # a later request was faster
        entry: Entry | None = self.store.add(key, stored, body, release)
        return entry

    def _place(self, fetch: Any, stored: Any) -> Key | None:
        """Return the key to store a response under, without the parts that No-Vary-Search names.

        The response that it replaces under another key is removed. Return None if that response, or
        the one under this key, was requested later.
        """
        own: Key = fetch.own_key
        # a response with this field is in the group of its path
        rule = search_rule(stored) if stored.groups and applies(own, self.policy) else None
        key = own if rule is None else reduced(own, rule) or own
        if self._has_later(key, stored):
            return None
        others: set[Key] = {fetch.key, own}
        others.discard(key)
        for other in others:
            if self.store.has_later(other, stored):
                return None
        if self._learns:
            self._learn(fetch, own, stored)
        if rule is not None:
            self.searches.learn(own, rule)
        for other in others:
            for entry in list(self.store.select(other) or ()):
                if entry.stored.selected == stored.selected:
                    self.store.remove(entry)
        return key

    def _has_later(self, key: Key, stored: Any) -> bool:
        store = self.store
        if store.memory_only:
            memory: Memory = store.memory
            if not memory.lookup(key):
                return False
        later: bool = store.has_later(key, stored)
        return later

    def _learn(self, fetch: Any, own: Key, stored: Any) -> None:
        """Process the links of a stored response."""
        raise NotImplementedError

    def fetch_is_large(self, fetch: Any) -> None:
        """Release requests of other processes soon: they wait for the end of a large body only if
        it arrives within :data:`LARGE_SECONDS`.
        """
        if fetch.claim is None:
            return
        if fetch.length is not None and fetch.length > _HUGE:
            take_claim(fetch)()
        else:
            fetch.cache.jobs.reactor.callLater(LARGE_SECONDS, _release, fetch)

    def fetch_over(self, fetch: Any) -> None:
        """Remove a fetch that has ended."""
        if fetch.claim is not None:
            take_claim(fetch)()
        self._forget(fetch)
        self._running.discard(fetch)

    def _forget(self, fetch: Any) -> None:
        running: Any = self.fetches.get(fetch.waits)
        if running is fetch:
            del self.fetches[fetch.waits]

    def _good(self, fetch: Any) -> None:
        """Clear the note that a response of this key or URL was not stored."""
        if self._passing:
            self._passing.pop(hash(fetch.waits), None)
        if self._refused:
            self._refused.pop(hash(fetch.url), None)


def count_reason(found: dict[str, int], reason: str) -> None:
    """Count ``reason``; see :meth:`~lbproxy.proxy.features.caching.counters.Reasons.count`."""
    known = found.get(reason)
    if known is None:
        Reasons.count(found, reason)
    else:
        found[reason] = known + 1


def _release(fetch: Any) -> None:
    """End the claim of a fetch, if it still has one."""
    take_claim(fetch)()


def take_claim(fetch: Any) -> Callable[..., None]:
    """Detach the claim from a fetch, and return the function that ends the claim."""
    claim, fetch.claim = fetch.claim, None
    release: Callable[..., None] = _no_claim if claim is None else claim.release
    return release


def _no_claim(passing_until: float = 0.0) -> None:
    """Do nothing, for a fetch without a claim."""


def _remember(known: OrderedDict[int, Any], name: int, what: Any) -> None:
    known[name] = what
    known.move_to_end(name)
    if len(known) > MOST_REMEMBERED:
        known.popitem(last=False)
