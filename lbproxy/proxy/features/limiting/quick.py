"""DATA. The part of a limit that the short way of requests uses, in compiled code.

A :class:`QuickLimit` remembers the fingerprints of the keys that were used last.
"""

from __future__ import annotations

from typing import Any, Final

from lbproxy.compiled import native
from lbproxy.limits.bucket import Buckets, BucketSlot
from lbproxy.proxy.features.limiting.key import FunctionKey, Key, prefix_of

__all__ = ["SLOTS", "QuickLimit"]

SLOTS: Final = 16_384
"""Keys of a limit whose fingerprints are remembered: some 4 MB.  All are forgotten at once."""

_SHORT: Final = 64  # characters of a key that is remembered


@native(allow_interpreted_subclasses=True)
class QuickLimit:
    """``quick``: the buckets, if a request with one key needs nothing else to be decided.

    ``passes_empty``: the limit does not hold for an empty key.
    """

    def __init__(self, name: str, key: Key, lengths: tuple[int, int]) -> None:
        self.name = name
        self.key = key
        self.quick: Buckets | None = None
        self.passes_empty = True
        self._lengths = lengths
        self._counts: Any = None  # NodeCounts, if nodes hold the limit together
        self._counted: Any = None  # its NodeCounter
        self._slots: dict[str, BucketSlot] = {}

    def use(self, name: str, key: Key, lengths: tuple[int, int], passes_empty: bool) -> None:
        """Continue with another key; what was remembered is forgotten."""
        self.name = name
        self.key = key
        self.passes_empty = passes_empty
        self._lengths = lengths
        self._slots = {}

    def set_quick(self, buckets: Buckets | None, counts: Any, counter: Any) -> None:
        """Take the short way with ``buckets``; None: no request does.

        ``counts``, ``counter``: those of the nodes, None if the limit is not theirs.
        """
        # a request asks the function of a key only once
        self.quick = None if isinstance(self.key, FunctionKey) else buckets
        self._counts = counts
        self._counted = counter

    def word_of(self, traffic: Any) -> str | None:
        """Return the argument of :meth:`slot_of` for a request; None if it has several keys."""
        key = self.key
        if key.is_address:
            ip: str = traffic.client_ip
            return ip or None
        keys = key.all_of(traffic)
        return keys[0] if len(keys) == 1 else None

    def slot_of(self, word: str) -> BucketSlot | None:
        """Return the slot of an address, or else of a key; None for what is no address.

        Only where ``quick`` is.
        """
        slot = self._slots.get(word)
        if slot is not None:
            return slot
        by_address = self.key.is_address
        key: str = prefix_of(word, self._lengths) if by_address else word
        if self.quick is None or (by_address and not key):
            return None
        slot = self.quick.slot(key)
        if len(word) <= _SHORT:
            if len(self._slots) >= SLOTS:
                self._slots.clear()
            self._slots[word] = slot
        return slot

    def charge_one(self, slot: BucketSlot, now: float) -> None:
        """Charge one unit at all nodes; only where ``quick`` is."""
        if self.quick is not None:
            self.quick.take_one(slot, now)
        if self._counted is not None:
            self._counts.note(self._counted, slot.key, slot.ident, 1.0)

    def passed(self, slot: BucketSlot) -> Any:
        """Return the check of a request that has passed."""
        raise NotImplementedError
