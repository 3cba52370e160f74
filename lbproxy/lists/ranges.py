"""PURE. A set of address ranges that changes one range at a time, in microseconds.

An address is a number as :func:`lbproxy.guard.addresses.address_number` returns it. Overlapping
ranges are joined.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable

from lbproxy.lists.prefixes import Bounds

__all__ = ["RangeSet"]


class RangeSet:
    """A set of ranges. ``ranges``: its initial content."""

    __slots__ = ("_firsts", "_lasts")

    def __init__(self, ranges: Iterable[Bounds] = ()) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        for first, last in sorted(ranges):
            if self._lasts and first <= self._lasts[-1]:
                self._lasts[-1] = max(self._lasts[-1], last)
            else:
                self._firsts.append(first)
                self._lasts.append(last)

    def has(self, number: int) -> bool:
        """Return whether an address is in the set."""
        at = bisect_right(self._firsts, number)
        return at > 0 and number <= self._lasts[at - 1]

    def overlaps(self, bounds: Bounds) -> bool:
        """Return whether any address of a range is in the set."""
        start, end = self._met(bounds)
        return start < end

    def add(self, bounds: Bounds) -> None:
        """Add a range."""
        start, end = self._met(bounds)
        first, last = bounds
        if start < end:
            first = min(first, self._firsts[start])
            last = max(last, self._lasts[end - 1])
        self._firsts[start:end] = [first]
        self._lasts[start:end] = [last]

    def remove(self, bounds: Bounds) -> None:
        """Remove a range. The rest of overlapping ranges stays."""
        start, end = self._met(bounds)
        if start == end:
            return
        pieces = [
            (first, last)
            for first, last in (
                (self._firsts[start], bounds[0] - 1),
                (bounds[1] + 1, self._lasts[end - 1]),
            )
            if first <= last
        ]
        self._firsts[start:end] = [first for first, _ in pieces]
        self._lasts[start:end] = [last for _, last in pieces]

    def _met(self, bounds: Bounds) -> tuple[int, int]:
        """Return the index of the first overlapping range, and that after the last one."""
        first, last = bounds
        return bisect_left(self._lasts, first), bisect_right(self._firsts, last)
