"""PURE. Counters of a cache: totals, and counts by reason."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["CacheCounters", "Reasons"]

_MOST: Final = 100
"""Maximum number of reasons of each kind; further ones are counted as ``other``."""

_FACTS: Final = re.compile(r" [(\d]")


class CacheCounters:
    """Counters since the start.

    - ``hits``: requests answered from the store; ``stale``: those answered after the lifetime.
    - ``revalidated``: stored responses that the server confirmed.
    - ``collapsed``: requests that got the response of another request's fetch; ``waited``: requests
      that waited for such a fetch, ``wait_seconds`` in all.
    - ``misses``: requests fetched from a server, whether the response was stored or not.
    - ``bypassed``: requests that bypassed the cache.
    - ``bytes``: of bodies from the store; ``collapsed_bytes``: of bodies that several requests
      shared.
    - ``loads``: reads from the folder, which took ``load_seconds``.
    - ``hinted``: requests that got a 103 first.
    - ``purge_requests``: client requests with the method PURGE; ``purge_refused``: those of clients
      that are not in ``purge_from``.
    - ``prefetched``: requests for the links of stored pages; ``prefetch_dropped``: those dropped
      because too many waited.
    - ``shared_hits`` and ``shared_misses``: look-ups in Redis that found a response or none;
      ``shared_stored``: responses stored there; ``shared_failures``: commands that failed or were
      late, and damaged values.
    """

    def __init__(self) -> None:
        self.hits = 0
        self.stale = 0
        self.revalidated = 0
        self.collapsed = 0
        self.waited = 0
        self.wait_seconds = 0.0
        self.misses = 0
        self.bypassed = 0
        self.bytes = 0
        self.collapsed_bytes = 0
        self.loads = 0
        self.load_seconds = 0.0
        self.hinted = 0
        self.purge_requests = 0
        self.purge_refused = 0
        self.prefetched = 0
        self.prefetch_dropped = 0
        self.shared_hits = 0
        self.shared_misses = 0
        self.shared_stored = 0
        self.shared_failures = 0

    def asked(self) -> int:
        """Number of requests that did not bypass the cache."""
        return self.hits + self.collapsed + self.misses


class Reasons:
    """Counts of the reasons why requests went to a server, and why responses were not stored."""

    def __init__(self) -> None:
        self.misses: dict[str, int] = {}
        self.bypassed: dict[str, int] = {}
        self.not_stored: dict[str, int] = {}

    @staticmethod
    def count(found: dict[str, int], reason: str) -> None:
        """Count ``reason`` in one of the three counts, without trailing numbers."""
        known = found.get(reason)
        if known is not None:  # a reason without numbers that is already counted
            found[reason] = known + 1
            return
        word = _FACTS.split(reason, maxsplit=1)[0]
        if word not in found and len(found) >= _MOST:
            word = "other"
        found[word] = found.get(word, 0) + 1

    def dump(self) -> dict[str, dict[str, int]]:
        """Return all three as JSON types."""
        return {
            "misses": dict(self.misses),
            "bypassed": dict(self.bypassed),
            "not_stored": dict(self.not_stored),
        }

    def load(self, total: dict[str, dict[str, int]]) -> None:
        """In a master: show the sum of the results of :meth:`dump` in its workers."""
        self.misses = total.get("misses", {})
        self.bypassed = total.get("bypassed", {})
        self.not_stored = total.get("not_stored", {})
