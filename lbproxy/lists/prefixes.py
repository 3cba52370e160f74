"""PURE. A set of up to a million IP prefixes: sorted arrays of merged ranges.

Adjoining and nested prefixes become one range.  A range takes 8 bytes for IPv4 and 32 for IPv6.
Large sets also have an index, which leaves a few ranges to search: for IPv4 of the first 16 bits
(257 KiB), for IPv6 of equal parts of what the ranges span that begin with the same 16 bits (half a
byte to a byte for each range).  An address is a number as
:func:`lbproxy.guard.addresses.address_number` returns it.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address, summarize_address_range

from lbproxy.guard.addresses import V4_BASE, address_number

__all__ = ["Bounds", "PrefixSet"]

Bounds = tuple[int, int]
"""First and last number, inclusive."""

_INDEXED = 1024  # number of ranges from which the index of the first 16 bits is worthwhile
_LOW = (1 << 64) - 1
_EACH = 8  # average number of IPv6 ranges in a part of the index
_TOP = 48  # bits of the first half of an IPv6 address after its first 16


class _Group:
    """The index of the ranges from ``begin`` to ``end``.

    Their span is divided into parts of ``1 << shift``. ``parts``: for each part the number of
    ranges that begin before it, and finally ``end``.
    """

    __slots__ = ("_begin", "_end", "_first", "_shift", "parts")

    def __init__(self, highs: array[int], begin: int, end: int) -> None:
        self._begin, self._end = begin, end
        self._first = first = highs[begin]
        span = highs[end - 1] - first
        self._shift = shift = max(0, span.bit_length() - ((end - begin) // _EACH).bit_length())
        count = (span >> shift) + 1
        self.parts = array("I", bytes(4 * (count + 1)))
        at = begin
        for part in range(count):
            self.parts[part] = at = bisect_left(highs, first + (part << shift), at, end)
        self.parts[count] = end

    def after(self, highs: array[int], high: int) -> int:
        """Return how many of all ranges begin at ``high`` or before it."""
        parts = self.parts
        part = (high - self._first) >> self._shift
        if part < 0:
            return self._begin
        if part >= len(parts) - 1:
            return self._end
        return bisect_right(highs, high, parts[part], parts[part + 1])


class PrefixSet:
    """A set of prefixes: ``"192.0.2.7" in prefixes``. Text that is not an IP address is in no set.

    ``len()`` is the number of ranges.
    """

    __slots__ = (
        *("_firsts", "_lasts", "_index"),
        *("_highs", "_lows", "_last_highs", "_last_lows", "_groups"),
    )

    def __init__(self, ranges: Iterable[Bounds] = ()) -> None:
        self._firsts, self._lasts = array("I"), array("I")
        self._highs, self._lows = array("Q"), array("Q")
        self._last_highs, self._last_lows = array("Q"), array("Q")
        for first, last in _merged(ranges):
            if first >= V4_BASE:
                self._firsts.append(first - V4_BASE)
                self._lasts.append(last - V4_BASE)
            else:
                self._highs.append(first >> 64)
                self._lows.append(first & _LOW)
                self._last_highs.append(last >> 64)
                self._last_lows.append(last & _LOW)
        self._index: array[int] | None = None
        if len(self._firsts) >= _INDEXED:
            self._index = _first_halves(self._firsts)
        self._groups: dict[int, _Group] = {}
        if len(self._highs) >= _INDEXED:
            self._groups = _groups_of(self._highs)

    def __len__(self) -> int:
        return len(self._firsts) + len(self._highs)

    def __contains__(self, ip: str) -> bool:
        return self.has(address_number(ip))

    def has(self, number: int) -> bool:
        """Return whether the address ``number`` is in the set; -1 never is."""
        if number >= V4_BASE:
            v4 = number - V4_BASE
            index = self._index
            if index is None:
                at = bisect_right(self._firsts, v4)
            else:
                half = v4 >> 16
                at = bisect_right(self._firsts, v4, index[half], index[half + 1])
            return at > 0 and v4 <= self._lasts[at - 1]
        if number < 0 or not self._highs:
            return False
        high = number >> 64
        highs = self._highs
        group = self._groups.get(high >> _TOP)
        at = (bisect_right(highs, high) if group is None else group.after(highs, high)) - 1
        if at < 0:
            return False
        if highs[at] == high:
            return self._has_low(at, high, number & _LOW)
        last = self._last_highs[at]
        return high < last or (high == last and number & _LOW <= self._last_lows[at])

    def _has_low(self, at: int, high: int, low: int) -> bool:
        """Search the ranges that begin at ``high``, of which ``at`` is the last, and the preceding
        one.
        """
        if self._lows[at] > low:
            first = bisect_left(self._highs, high, 0, at)
            at = bisect_right(self._lows, low, first, at) - 1
            if at < 0:
                return False
        last = self._last_highs[at]
        return high < last or (high == last and low <= self._last_lows[at])

    def overlaps(self, bounds: Bounds) -> bool:
        """Return whether any address of a range, all of one family, is in the set."""
        first, last = bounds
        if self.has(first):
            return True
        if first >= V4_BASE:
            at = bisect_left(self._firsts, first - V4_BASE)
            return at < len(self._firsts) and self._firsts[at] <= last - V4_BASE
        rows = range(len(self._highs))
        at = bisect_left(rows, first, key=self._first_v6)
        return at < len(rows) and self._first_v6(at) <= last

    def _first_v6(self, at: int) -> int:
        return (self._highs[at] << 64) + self._lows[at]

    @property
    def bytes(self) -> int:
        """Return the size of the set in memory, in bytes."""
        arrays = (
            self._firsts,
            self._lasts,
            self._highs,
            self._lows,
            self._last_highs,
            self._last_lows,
            *((self._index,) if self._index else ()),
            *(group.parts for group in self._groups.values()),
        )
        return sum(len(one) * one.itemsize for one in arrays)

    def networks(self) -> Iterator[str]:
        """Yield the set as the fewest prefixes, IPv4 first. A single address has no length."""
        for first, last in zip(self._firsts, self._lasts, strict=True):
            for v4 in summarize_address_range(IPv4Address(first), IPv4Address(last)):
                yield str(v4).removesuffix("/32")
        v6 = zip(self._highs, self._lows, self._last_highs, self._last_lows, strict=True)
        for high, low, last_high, last_low in v6:
            first, last = (high << 64) + low, (last_high << 64) + last_low
            for one in summarize_address_range(IPv6Address(first), IPv6Address(last)):
                yield str(one).removesuffix("/128")


def _merged(ranges: Iterable[Bounds]) -> Iterator[Bounds]:
    """Yield the ranges in order, adjacent ones joined. IPv4 and IPv6 are never adjacent."""
    begun = -2
    ended = -2
    for first, last in sorted(ranges):
        if first <= ended + 1 and (first != V4_BASE or begun >= V4_BASE):
            ended = max(ended, last)
            continue
        if begun >= 0:
            yield begun, ended
        begun, ended = first, last
    if begun >= 0:
        yield begun, ended


def _first_halves(firsts: array[int]) -> array[int]:
    """Return for each value of the first 16 bits how many ranges begin before it."""
    found = array("I", bytes(4 * 65537))
    at = 0
    for half in range(65537):
        found[half] = at = bisect_left(firsts, half << 16, at) if half < 65536 else len(firsts)
    return found


def _groups_of(highs: array[int]) -> dict[int, _Group]:
    """Return the index of IPv6 ranges, by the first 16 bits of those that begin."""
    found: dict[int, _Group] = {}
    begin = 0
    while begin < len(highs):
        top = highs[begin] >> _TOP
        end = bisect_left(highs, (top + 1) << _TOP, begin)
        found[top] = _Group(highs, begin, end)
        begin = end
    return found
