"""PURE. The addresses with the most errors, in bounded memory."""

from __future__ import annotations

from heapq import nlargest

__all__ = ["Offenders"]


class Offenders:
    """Counts by address over about a minute.

    At most ``size`` addresses are kept. If there are more, the half with the lowest counts is
    dropped, so an address with a much higher count than the others stays (a simple form of the
    summary of Misra and Gries).
    """

    __slots__ = ("_counts", "_old", "_size")

    def __init__(self, size: int = 1000) -> None:
        self._size = size
        self._counts: dict[str, int] = {}
        self._old: dict[str, int] = {}

    def add(self, address: str) -> None:
        """Count one error of ``address``."""
        counts = self._counts
        counts[address] = counts.get(address, 0) + 1
        if len(counts) > self._size:
            kept = sorted(counts.items(), key=lambda item: item[1], reverse=True)
            self._counts = dict(kept[: self._size // 2])

    def turn(self) -> None:
        """Drop counts from before the last turn. Call it every 30 seconds."""
        self._old, self._counts = self._counts, {}

    def worst(self) -> tuple[str, int] | None:
        """Return the address with the highest count of the last 30 to 60 seconds, or None."""
        return max(self._both().items(), key=_count, default=None)

    def most(self, count: int) -> dict[str, int]:
        """Return the ``count`` addresses with the highest counts."""
        return dict(nlargest(count, self._both().items(), key=_count))

    def replace(self, counts: dict[str, int]) -> None:
        """Set the counts to those of other processes."""
        self._old, self._counts = {}, counts

    def _both(self) -> dict[str, int]:
        both = self._old.copy()
        for address, count in self._counts.items():
            both[address] = both.get(address, 0) + count
        return both


def _count(item: tuple[str, int]) -> int:
    return item[1]
