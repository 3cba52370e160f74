"""PURE. A purge of a catalog, which may hold a million entries.

The purge is effective from its start: the catalog applies it to each entry that is looked up
(:meth:`Catalog.settle`). The caller runs some :meth:`Sweep.steps` from time to time until all
entries are purged. Entries stored after the start are not affected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, Generic

from lbproxy.cache.catalog import Catalog, EntryT, KeyT
from lbproxy.cache.purge import Purge

__all__ = ["STEP", "Sweep"]

STEP: Final = 50
"""Number of entries examined in one step."""

_MOST: Final = 50
"""Maximum number of incomplete sweeps of a catalog, because each look-up checks all of them."""


class Sweep(Generic[KeyT, EntryT]):
    """A purge of ``catalog``. ``purged(entry)`` removes an entry or makes it stale, and returns
    whether it counts.

    ``epoch``: that of the catalog at the start. ``count``: number of counted entries so far. If a
    catalog has too many sweeps, the oldest is completed at once.
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
        """Purge ``entry`` if it is meant."""
        if self._purge.names(entry):
            self.count += self._purged(entry)

    def steps(self) -> Iterator[None]:
        """Return the iterator that does the remaining work. Each step takes less than a
        millisecond.
        """
        return self._steps

    def complete(self) -> None:
        """Do the remaining work."""
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
