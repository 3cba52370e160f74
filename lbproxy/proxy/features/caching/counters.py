"""PURE. Counters of a cache: totals, and counts by reason."""

from __future__ import annotations

import re
from typing import Final

from attrs import define, field

__all__ = ["CacheCounters", "Reasons"]

_MOST: Final = 100
"""Maximum number of reasons of each kind; further ones are counted as ``other``."""

_FACTS: Final = re.compile(r" [(\d]")


@define(eq=False)
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

    hits: int = 0
    stale: int = 0
    revalidated: int = 0
    collapsed: int = 0
    waited: int = 0
    wait_seconds: float = 0.0
    misses: int = 0
    bypassed: int = 0
    bytes: int = 0
    collapsed_bytes: int = 0
    loads: int = 0
    load_seconds: float = 0.0
    hinted: int = 0
    purge_requests: int = 0
    purge_refused: int = 0
    prefetched: int = 0
    prefetch_dropped: int = 0
    shared_hits: int = 0
    shared_misses: int = 0
    shared_stored: int = 0
    shared_failures: int = 0

    def asked(self) -> int:
        """Number of requests that did not bypass the cache."""
        return self.hits + self.collapsed + self.misses


@define(eq=False)
class Reasons:
    """Counts of the reasons why requests went to a server, and why responses were not stored."""

    misses: dict[str, int] = field(factory=dict)
    bypassed: dict[str, int] = field(factory=dict)
    not_stored: dict[str, int] = field(factory=dict)

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
