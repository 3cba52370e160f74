"""PURE. The entries of a store with the most hits, found without a scan of all entries."""

from __future__ import annotations

from heapq import nlargest
from operator import attrgetter
from typing import Final, Generic, Protocol, TypeVar

__all__ = ["SHOWN", "Popular"]

SHOWN: Final = 20
"""Maximum number of entries that :meth:`Popular.top` returns."""

_KEPT: Final = 4 * SHOWN
_hits: Final = attrgetter("hits")


class Used(Protocol):
    """An entry that counts its hits."""

    hits: int


UsedT = TypeVar("UsedT", bound=Used)


class Popular(Generic[UsedT]):
    """Candidates for the most used entries. The store calls :meth:`note` for an entry with
    ``floor`` hits.

    The floor rises to the hits of the present candidates, so that most hits cost one comparison. It
    falls when candidates are removed.
    """

    __slots__ = ("_found", "floor")

    def __init__(self) -> None:
        self.floor = 1
        self._found: dict[UsedT, None] = {}

    def note(self, entry: UsedT) -> None:
        """Add a candidate. In most calls it is one already."""
        self._found[entry] = None
        if len(self._found) > 2 * _KEPT:
            self._prune()

    def forget(self, entry: UsedT) -> None:
        """Remove ``entry``, which is no longer stored."""
        self._found.pop(entry, None)

    def top(self) -> list[UsedT]:
        """Return the entries with the most hits, the most used first."""
        return self._prune()[:SHOWN]

    def _prune(self) -> list[UsedT]:
        kept = nlargest(_KEPT, self._found, key=_hits)
        self._found = dict.fromkeys(kept)
        self.floor = kept[-1].hits + 1 if len(kept) == _KEPT else 1
        return kept
