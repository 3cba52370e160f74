"""DATA. The folder store: the responses in the files of a folder, the same in all processes.

Each process has the places of all responses in memory, and follows the journal. The process that
stores a response evicts others to make room for it. The process that removes a response from the
journal removes its files. Files that a killed process has left are removed periodically.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

from lbproxy.cache.catalog import Catalog
from lbproxy.cache.codec import DamagedError
from lbproxy.cache.purge import Purge
from lbproxy.cache.sweep import Sweep
from lbproxy.proxy.features.caching.disk.bodyuses import BodyUses
from lbproxy.proxy.features.caching.disk.claims import FetchClaims
from lbproxy.proxy.features.caching.disk.compacting import Compacting
from lbproxy.proxy.features.caching.disk.entries import (
    Dropped,
    Entry,
    Place,
    Purged,
    dump_entry,
    load_entry,
)
from lbproxy.proxy.features.caching.disk.failures import log_failure, log_reset
from lbproxy.proxy.features.caching.disk.files import FolderFiles
from lbproxy.proxy.features.caching.disk.follower import FolderFollower
from lbproxy.proxy.features.caching.disk.journal import Journal
from lbproxy.proxy.features.caching.disk.openfiles import OpenFiles
from lbproxy.proxy.features.caching.disk.ownership import require_own
from lbproxy.proxy.features.caching.disk.trash import Trash
from lbproxy.proxy.features.caching.jobs import Jobs
from lbproxy.proxy.features.caching.sweeping import Sweeping, free_slowly

__all__ = ["Folder"]

_SWEEP: Final = 3600.0
"""Seconds between sweeps."""


class Folder:
    """See the module. Raises OSError if ``path`` cannot be created, read, written or trusted."""

    def __init__(
        self, path: Path, limit: int, variants: int, jobs: Jobs, follower: FolderFollower
    ) -> None:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        require_own(path)
        self.path = path
        self.files = FolderFiles(path)
        self.open_files = OpenFiles(self.files, limit)
        self.jobs = jobs
        self.catalog: Catalog[bytes, Place] = Catalog(limit, variants)
        self._follower = follower
        self._names: dict[int, Place] = {}
        self.bodies = BodyUses()
        self._own = False  # a purge of this process is being recorded
        self._sweeping: Sweeping | None = None  # the last purge that was applied
        self._trash = Trash(self.files, jobs)
        self._closed = False
        self._sweep_at = 0.0
        self._flushes = 0  # purges that wait for the journal to be written
        self.journal = Journal(path, self._apply, self._reset)
        self.compacting = Compacting(
            jobs.reactor, self.journal, self._records, self._busy, self.failed
        )
        self.claims = FetchClaims(path)

    def close(self) -> None:
        """Close the journal; files stay."""
        self._closed = True
        self.catalog.sweeps.clear()
        self.compacting.stop()
        self.open_files.close_all()
        self.journal.close()
        self.claims.close()

    def sync(self) -> None:
        """Apply the changes of other processes."""
        self.journal.sync()

    def lookup(self, key: bytes) -> list[Place]:
        """Return the places of a key."""
        return self.catalog.lookup(key)

    def listed(self, record: int) -> Place | None:
        """Return the stored response with the record of that name."""
        return self._names.get(record)

    def add(self, places: list[Place], still: Callable[[Place], bool]) -> None:
        """Publish responses whose files are written to all processes: one per key, in one step.

        ``still(place)``: whether it may be published, called after all earlier records are applied.
        If not, remove its files. Raises OSError if the journal cannot be written; then none is.
        """
        removed: list[Place] = []

        def entries() -> Iterable[bytes]:
            limit = self.catalog.limit
            wanted = [one for one in places if still(one) and one.bytes <= limit]
            removed.extend(self._displaced(wanted))
            dropped = [dump_entry(Dropped(one.record)) for one in removed]
            return dropped + [dump_entry(one) for one in wanted]

        self.journal.append(entries)
        self._remove_dropped(removed)
        self._unlink(places)  # those that are not published
        known = sum(one.record in self._names for one in places)
        if known:
            self.catalog.counts.stored += known
            self._tend()
            self.tidy()

    def drop(self, places: Iterable[Place]) -> None:
        """Remove ``places`` for all processes."""
        found = self._present(places)
        if not found:
            return

        def entries() -> list[bytes]:
            found[:] = self._present(found)  # without those that others have just dropped
            return [dump_entry(Dropped(one.record)) for one in found]

        try:
            self.journal.append(entries)
        except OSError as error:
            self.failed("cannot be written", error)
            for one in self._present(found):
                self._forget(one)
        self._remove_dropped(found)

    def _present(self, places: Iterable[Place]) -> list[Place]:
        return [one for one in places if self._names.get(one.record) is one]

    def load(self) -> Iterator[None]:
        """Read the contents of the folder in steps of a millisecond, before any other use.

        Raises OSError."""
        for _ in self.journal.load():
            if self._closed:
                return
            yield

    def purge(self, purge: Purge, soft: bool) -> Sweeping | None:
        """Remove what ``purge`` names, or make it stale; in effect everywhere when it returns.

        Return None if all contents had to be discarded. Raises OSError if the purge cannot be
        recorded."""
        self.sync()
        self._own, self._sweeping = True, None
        try:
            self.journal.append_surely(dump_entry(Purged(purge, soft)))
        finally:
            self._own = False
        self._flush()
        return self._begun_sweeping()

    def _begun_sweeping(self) -> Sweeping | None:
        """Return the sweep of the purge that was just applied."""
        sweeping, self._sweeping = self._sweeping, None
        return sweeping

    def _flush(self) -> None:
        """Write the journal to the disk, once for all purges that arrive meanwhile."""
        self._flushes += 1
        if self._flushes == 1:
            self.jobs.run(self.journal.flush, self._flushed)

    def _flushed(self, _: object) -> None:
        came, self._flushes = self._flushes > 1, 0
        if came:  # purges arrived during the flush
            self._flush()

    def resize(self, limit: int, variants: int) -> None:
        """Change the limit, and evict down to it."""
        self.catalog.limit, self.catalog.variants = limit, variants
        self.open_files.resize(limit)
        if self.catalog.bytes > limit:
            self.drop(self._evicted(0, []))

    def relieve(self, size: int) -> None:
        """Evict ``size`` bytes, because the disk is full before the limit is reached."""
        self.drop(self._evicted(self.catalog.limit - self.catalog.bytes + size, []))

    def failed(self, what: str, error: BaseException | None, file: str = "") -> None:
        """Log a failure of the disk: see :func:`log_failure`."""
        log_failure(self.path, what, error, file)

    # -- room -----------------------------------------------------------------------------------

    def _displaced(self, places: list[Place]) -> list[Place]:
        """Return what ``places`` displace: same selection, excess variants, oldest."""
        found: list[Place] = []
        size = 0
        for place in places:
            size += place.bytes
            others = self.catalog.lookup(place.key)
            gone = [one for one in others if one.selected == place.selected]
            if len(others) - len(gone) >= self.catalog.variants:
                gone += [one for one in others if one not in gone][:1]
            found += gone
        return self._evicted(size, found)

    def _evicted(self, size: int, gone: list[Place]) -> list[Place]:
        """Return ``gone`` and the further places to evict for ``size`` more bytes."""
        catalog = self.catalog
        found: list[Place] = list(gone)
        for one in gone:
            catalog.discard(one)
        while catalog.bytes + size > catalog.limit:
            victim = catalog.victim()
            if victim is None:
                break
            catalog.discard(victim)
            found.append(victim)
        for one in found:
            catalog.insert(one)  # it is stored until the journal drops it
        catalog.counts.evicted += len(found) - len(gone)
        return found

    # -- the journal ----------------------------------------------------------------------------

    def _apply(self, payload: bytes) -> None:
        try:
            entry: Entry = load_entry(payload)
        except (struct.error, ValueError, IndexError) as error:
            raise DamagedError("a record of the journal cannot be read") from error
        if isinstance(entry, Place):
            self._names[entry.record] = entry
            self.catalog.insert(entry)
            self.bodies.add_record(entry.body)
        elif isinstance(entry, Dropped):
            place = self._names.get(entry.record)
            if place is not None:
                self._forget(place)
        else:
            self._follower.purged(entry.purge, entry.soft)
            self._purge(entry)

    def _purge(self, entry: Purged) -> None:
        own, catalog = self._own, self.catalog

        def purged(place: Place) -> bool:
            if own:
                catalog.counts.purged += 1
            if entry.soft:
                place.purged = True
                return True
            self._forget(place)
            if own:
                self._remove_dropped([place])
            return True

        sweep = Sweep(catalog, entry.purge, purged)
        self._sweeping = Sweeping(self.jobs.reactor, sweep, self._tend)

    def _forget(self, place: Place) -> None:
        del self._names[place.record]
        self.catalog.discard(place)
        self.open_files.close(place.record)
        if self.bodies.drop_record(place.body):
            self.open_files.close(place.body)
        self._follower.gone(place)

    def _reset(self, damaged: bool) -> None:
        lost = damaged or bool(self._names)
        self.open_files.close_all()
        catalog = self.catalog
        catalog.sweeps.clear()
        self.catalog = Catalog(catalog.limit, catalog.variants)
        self.catalog.counts = catalog.counts
        names, self._names = self._names, {}
        self.bodies.lose()

        def freeing() -> Iterator[None]:
            yield from catalog.begin_clear()
            while names:
                names.popitem()
                yield

        free_slowly(self.jobs.reactor, freeing())
        if lost:
            log_reset(self.path)
        self._follower.reset()

    def _tend(self) -> None:
        self.compacting.tend(len(self._names))

    def _busy(self) -> bool:
        """Return whether no compaction may start; the end of the last sweep checks again."""
        return self._closed or bool(self.catalog.sweeps)

    def _records(self) -> Iterator[bytes]:
        """Yield the records of the stored responses.

        A purge that has just been applied may be later than the position of these records, and its
        sweep may still be running."""
        for place in list(self._names.values()):
            self.catalog.settle(place)
            if self._names.get(place.record) is place:
                yield dump_entry(place)

    # -- files ----------------------------------------------------------------------------------

    def _unlink(self, places: Iterable[Place]) -> None:
        self.remove_files([one for one in places if one.record not in self._names])

    def _remove_dropped(self, places: list[Place]) -> None:
        """Remove the files of places that this process has dropped."""
        for one in places:
            self.bodies.spare(one.body)
        self._unlink(places)

    def remove_files(self, places: list[Place]) -> None:
        """Remove the files of places that are no longer stored, in a thread."""
        names = [(one.record, "r") for one in places]
        names += [(one.body, "b") for one in places if one.body and one.body not in self.bodies]
        self._trash.add(names)

    def remove_body(self, name: int) -> None:
        """Remove the file of a body unless it is used."""
        if name not in self.bodies:
            self._trash.add([(name, "b")])

    def tidy(self) -> None:
        """Remove files that no process knows, if the last sweep was long ago."""
        if time.time() >= self._sweep_at:
            self._sweep_at = time.time() + _SWEEP
            self._trash.sweep(self._unknown)

    def _unknown(self, names: list[tuple[int, str]]) -> list[tuple[int, str]] | None:
        if self._closed:
            return None
        try:
            self.sync()
        except OSError as error:
            self.failed("cannot be swept", error)
            return None
        return [
            (name, kind)
            for name, kind in names
            if name not in (self._names if kind == "r" else self.bodies)
        ]
