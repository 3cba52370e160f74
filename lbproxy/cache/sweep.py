"""PURE. A purge of a catalog, which may hold a million entries.

The purge is true from its beginning on: the catalog applies it to each entry that is looked up
(:meth:`Catalog.settle`). The caller runs :meth:`Sweep.steps`, now and then a few, until all entries
are purged. Entries that are stored after the beginning are not meant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, Generic

from lbproxy.cache.catalog import Catalog, EntryT, KeyT
from lbproxy.cache.purge import Purge

__all__ = ["STEP", "Sweep"]

STEP: Final = 50
"""Entries that are looked at in one step."""

_MOST: Final = 50
"""Sweeps of a catalog that are not complete; each look-up asks all of them."""


class Sweep(Generic[KeyT, EntryT]):
    """A purge of ``catalog``. ``purged(entry)`` removes an entry, or makes it stale, and returns
    whether it counts.

    ``epoch``: that of the catalog at the beginning. ``count``: entries that count so far. With too
    many sweeps of one catalog the oldest is completed at once.
    """

    def __init__(
        self, catalog: Catalog[KeyT, EntryT], purge: Purge, purged: Callable[[EntryT], bool]
    ) -> None:
        self.epoch = catalog.epoch
        self.count = 0
        self._catalog = catalog
        self._purge = purge
        self._purged = purged
        candidates = purge.candidates(catalog)
        while len(catalog.sweeps) >= _MOST:
            catalog.sweeps[0].complete()
        catalog.epoch += 1
        catalog.sweeps.append(self)
        self._steps = self._run(iter(candidates))

    def meet(self, entry: EntryT) -> None:
        """See :class:`lbproxy.cache.catalog.Pending`."""
        if self._purge.names(entry):
            self.count += self._purged(entry)

    def steps(self) -> Iterator[None]:
        """Return the iterator that does the rest of the work; each of its steps takes less than a
        millisecond.
        """
        return self._steps

    def complete(self) -> None:
        """Do all that is left."""
        for _ in self._steps:
            pass
        self._end()

    def _run(self, candidates: Iterator[EntryT]) -> Iterator[None]:
        catalog = self._catalog
        for number, entry in enumerate(candidates, 1):
            if entry.epoch <= self.epoch:
                catalog.settle(entry)
            if not number % STEP:
                yield
                if self not in catalog.sweeps:
                    return  # the catalog was cleared
        self._end()

    def _end(self) -> None:
        if self in self._catalog.sweeps:
            self._catalog.sweeps.remove(self)
