"""PURE. The token bucket, as the generic cell rate algorithm (ITU-T I.371).

A cell holds one number for each key: the time at which its bucket is full again.

Guarantees for any sequence of requests of a key: within any ``t`` seconds at most ``amount /
seconds * t + burst`` units pass. A unit is refused only if the bucket contains less. A refused
request changes nothing. Dropping a key (:mod:`lbproxy.limits.cells`) fills its bucket.
"""

from __future__ import annotations

from math import inf
from typing import Final

from lbproxy.limits.cells import WAYS, Cells
from lbproxy.limits.rate import Rate

__all__ = ["BucketSlot", "Buckets"]

_EPSILON: Final = 1e-9  # seconds; sums of floats are not exact


class BucketSlot:
    """A key whose fingerprint is kept, and where its cell was when it was last looked for.

    ``at`` is a hint: the cell is used only if it still has the name of the key.  Slots hold no
    count, so several of one key are the same bucket.
    """

    __slots__ = ("at", "ident", "key")

    def __init__(self, key: str, ident: int) -> None:
        self.key = key
        self.ident = ident
        self.at = WAYS


class Buckets:
    """The buckets of one limit, for all keys. ``name`` separates limits in the same ``cells``."""

    def __init__(self, cells: Cells, name: str, rate: Rate) -> None:
        self._cells = cells
        self._prefix = name + "\0"
        self._each = rate.each
        self._burst = float(rate.burst)
        self.rate = rate

    def slot(self, key: str) -> BucketSlot:
        """Return a slot for ``key``, which saves the fingerprint and most look-ups."""
        return BucketSlot(key, self.ident(key))

    def has_one(self, slot: BucketSlot, now: float) -> bool:
        """Return whether the bucket holds a unit; :meth:`ask` would return 0.0."""
        at = self._at(slot)
        if at < 0:
            return True  # full; a burst is at least one unit
        owed = self._cells.words[at] - now
        return owed <= 0.0 or owed + (1.0 - self._burst) * self._each <= _EPSILON

    def take_one(self, slot: BucketSlot, now: float) -> None:
        """Charge one unit, as :meth:`charge`."""
        cells = self._cells
        at = self._at(slot)
        if at < 0:
            at = cells.place(slot.ident, now)
        words = cells.words
        until = words[at]
        words[at] = (until if until > now else now) + self._each

    def _at(self, slot: BucketSlot) -> int:
        """Return the index of the cell; -1 if the key has none.

        A new cell is not kept as a hint: two processes may make one of the same key at the same
        time, and all must use the one that ``find`` finds.
        """
        cells = self._cells
        if cells.holds(slot.at, slot.ident):
            return slot.at
        at = cells.find(slot.ident)
        if at >= 0:
            slot.at = at
        return at

    def ident(self, key: str) -> int:
        """Return the argument of the other methods for ``key``."""
        return self._cells.ident(self._prefix + key)

    def ask(self, ident: int, cost: float, now: float) -> float:
        """Return the seconds until ``cost`` can be charged; 0.0 means now, infinity never."""
        rate = self.rate
        if cost > rate.burst:
            return inf
        wait = self._owed(ident, now) + (cost - rate.burst) * rate.each
        return wait if wait > _EPSILON else 0.0

    def charge(self, ident: int, cost: float, now: float) -> None:
        """Charge ``cost``, even if the bucket contains less: the difference is a debt."""
        cells = self._cells
        at = cells.place(ident, now)
        until = cells.words[at]
        cells.words[at] = (until if until > now else now) + cost * self.rate.each

    def settle(self, ident: int, debt: float, now: float) -> None:
        """Record that the bucket is full in ``debt`` seconds, unless it is known to take longer."""
        at = self._cells.place(ident, now)
        self._cells.words[at] = max(self._cells.words[at], now + debt)

    def left(self, ident: int, now: float) -> float:
        """Return the units in the bucket; negative if it is in debt."""
        return self.rate.burst - self._owed(ident, now) / self.rate.each

    def reset(self, ident: int, now: float) -> float:
        """Return the seconds until the bucket is full."""
        return self._owed(ident, now)

    def forget(self, ident: int) -> bool:
        """Fill the bucket of a key. Return False if it was full."""
        return self._cells.forget(ident)

    def _owed(self, ident: int, now: float) -> float:
        at = self._cells.find(ident)
        return max(0.0, self._cells.words[at] - now) if at >= 0 else 0.0
