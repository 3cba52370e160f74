"""PURE. Sliding windows: the use of a key in the last seconds.

A window consists of :data:`SLICES` slices that begin at multiples of their length. A slice is one
:data:`PARTS`-th of the window, and one more slice than the window needs is kept. A count is
therefore remembered for the window and at most one slice longer.

Guarantees for any sequence of requests of a key: within any ``seconds`` at most ``burst`` units
pass. A refused request changes nothing. A key that has used less than ``burst`` units in ``seconds
* (1 + 1 / PARTS)`` is not refused the next one.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Final

from lbproxy.limits.cells import WAYS, Cells
from lbproxy.limits.rate import Rate

__all__ = ["PARTS", "SLICES", "WindowCounts", "Windows"]

SLICES: Final = 9
"""Number of slices kept, including the current one; ``extra`` of the :class:`Cells`."""

PARTS: Final = SLICES - 1
"""Number of slices in a window."""


class WindowCounts:
    """The units that each key has used in the last ``seconds``.

    ``name`` separates several objects in the same ``cells``.
    """

    def __init__(self, cells: Cells, name: str, seconds: float) -> None:
        if cells.extra != SLICES:
            raise ValueError("cells of another kind")
        self._cells = cells
        self._prefix = name + "\0"
        self.seconds = seconds
        self._slice = seconds / PARTS

    def ident(self, key: str) -> int:
        """Return the argument of the other methods for ``key``."""
        return self._cells.ident(self._prefix + key)

    def count(self, ident: int, now: float) -> float:
        """Return the use of the key in the window, and up to one slice before it."""
        return sum(amount for _, amount in self._slices(ident, now))

    def add(self, ident: int, amount: float, now: float) -> None:
        """Count ``amount``. A negative amount undoes a recent count."""
        cells, words = self._cells, self._cells.words
        current = int(now / self._slice)
        at = cells.place(ident, now)
        last = self._index(words[at])
        if last != current:
            for index in range(max(last + 1, current - PARTS), current + 1):
                words[at + WAYS * (1 + index % SLICES)] = 0.0
            words[at] = (current + SLICES) * self._slice
        place = at + WAYS * (1 + current % SLICES)
        words[place] = max(0.0, words[place] + amount)

    def settle(self, ident: int, counts: Mapping[int, float], now: float) -> None:
        """Replace the counts of a key by ``counts``, by age in slices from 0."""
        current = int(now / self._slice)
        at = self._cells.place(ident, now)
        words = self._cells.words
        for age in range(SLICES):
            words[at + WAYS * (1 + (current - age) % SLICES)] = counts.get(age, 0.0)
        words[at] = (current + SLICES) * self._slice

    def over_at(self, ident: int, room: float, now: float) -> float:
        """Return the seconds until the use of the key is at most ``room``; 0.0 means now."""
        found = self._slices(ident, now)
        total = sum(amount for _, amount in found)
        for index, amount in found:  # the oldest first
            if total <= room:
                break
            total -= amount
            wait = (index + SLICES) * self._slice - now
            if total <= room:
                return max(wait, 1e-6)
        return 0.0

    def ends(self, ident: int, now: float) -> float:
        """Return the seconds until all counts have expired."""
        found = [index for index, amount in self._slices(ident, now) if amount]
        return (found[-1] + SLICES) * self._slice - now if found else 0.0

    def forget(self, ident: int) -> bool:
        """Set the count of a key to 0. Return False if it had none."""
        return self._cells.forget(ident)

    def _index(self, until: float) -> int:
        """Return the number of the newest slice of a cell that expires at ``until``."""
        return round(until / self._slice) - SLICES

    def _slices(self, ident: int, now: float) -> list[tuple[int, float]]:
        """Return number and count of the slices that have not expired, the oldest first."""
        at = self._cells.find(ident)
        if at < 0:
            return []
        words = self._cells.words
        last = self._index(words[at])
        first = int(now / self._slice) - PARTS
        return [
            (index, words[at + WAYS * (1 + index % SLICES)])
            for index in range(max(first, last - PARTS), last + 1)
        ]


class Windows:
    """A limit of ``rate.burst`` units in any ``rate.seconds``; the interface of
    :class:`~lbproxy.limits.bucket.Buckets`.
    """

    def __init__(self, cells: Cells, name: str, rate: Rate) -> None:
        self.rate = rate
        self._counts = WindowCounts(cells, name, rate.seconds)

    def ident(self, key: str) -> int:
        """See Buckets."""
        return self._counts.ident(key)

    def forget(self, ident: int) -> bool:
        """See Buckets."""
        return self._counts.forget(ident)

    def reset(self, ident: int, now: float) -> float:
        """See Buckets."""
        return self._counts.ends(ident, now)

    def settle(self, ident: int, counts: Mapping[int, float], now: float) -> None:
        """See :meth:`WindowCounts.settle`."""
        self._counts.settle(ident, counts, now)

    def ask(self, ident: int, cost: float, now: float) -> float:
        """See Buckets."""
        room = self.rate.burst - cost
        return inf if room < 0 else self._counts.over_at(ident, room, now)

    def charge(self, ident: int, cost: float, now: float) -> None:
        """See Buckets."""
        self._counts.add(ident, cost, now)

    def left(self, ident: int, now: float) -> float:
        """See Buckets."""
        return self.rate.burst - self._counts.count(ident, now)
