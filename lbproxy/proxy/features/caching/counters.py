"""PURE. Counters of a cache, in numbers and by reason."""

from __future__ import annotations

import re
from typing import Final

from attrs import define, field

__all__ = ["CacheCounters", "Reasons"]

_MOST: Final = 100
"""Reasons of each kind that are counted apart; further ones are ``other``."""

_FACTS: Final = re.compile(r" [(\d]")


@define(eq=False)
class CacheCounters:
    """Counters since the start.

    ``hits`` were answered from the store, ``stale`` ones of them past their lifetime.
    ``revalidated``: the server said that the stored response is still good. ``collapsed``: got the
    response of a fetch that another request began; ``waited`` requests waited for one,
    ``wait_seconds`` in all. ``misses``: fetched and stored or not. ``bypassed``: the cache had no
    part in it. ``bytes``: of bodies from the store; ``collapsed_bytes``: of those that several
    requests shared. ``loads`` from the folder took ``load_seconds``. ``hinted``: got a 103
    first. ``purge_requests``: of clients
    with the method PURGE; ``purge_refused``: of clients that are not in ``purge_from``.
    ``prefetched`` requests were made for the links of stored pages, ``prefetch_dropped`` had to
    wait behind too many.
    ``shared_hits`` look-ups in Redis found a response, ``shared_misses`` none; ``shared_stored``
    responses were stored there; ``shared_failures``: commands that failed or were late, and values
    that were damaged.
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
        """Requests that the cache had a part in."""
        return self.hits + self.collapsed + self.misses


@define(eq=False)
class Reasons:
    """Requests by the reason why they went to a server, and why responses were not stored."""

    misses: dict[str, int] = field(factory=dict)
    bypassed: dict[str, int] = field(factory=dict)
    not_stored: dict[str, int] = field(factory=dict)

    @staticmethod
    def count(found: dict[str, int], reason: str) -> None:
        """Count ``reason`` in one of the three, without the numbers that it may end in."""
        known = found.get(reason)
        if known is not None:  # a reason without numbers that was counted before
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
        """In a master: show the sum of :meth:`dump` of its workers."""
        self.misses = total.get("misses", {})
        self.bypassed = total.get("bypassed", {})
        self.not_stored = total.get("not_stored", {})
