"""DATA. The folder store: what is in the files of a folder, the same in all processes.

Each process has the places of all responses in memory, and follows the journal. The process that
stores a response evicts what must make room for it; the process that removes one from the journal
removes its files. Files that a killed process has left are removed by :meth:`Folder.sweep`.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, Protocol

from twisted.logger import Logger

from lbproxy.cache.catalog import Catalog
from lbproxy.cache.codec import DamagedError
from lbproxy.cache.purge import Purge
from lbproxy.proxy.features.caching.disk.claims import FetchClaims
from lbproxy.proxy.features.caching.disk.entries import (
    Dropped,
    Entry,
    Place,
    Purged,
    dump_entry,
    load_entry,
)
from lbproxy.proxy.features.caching.disk.files import FolderFiles
from lbproxy.proxy.features.caching.disk.journal import Journal
from lbproxy.proxy.features.caching.disk.ownership import require_own
from lbproxy.proxy.features.caching.jobs import Jobs
from lbproxy.proxy.ratelog import Quiet

__all__ = ["Folder", "FolderFollower", "log_failure"]

_quiet: Final = Quiet(Logger(__name__))

_AGE: Final = 600.0
"""Seconds after which a file that the journal does not name is nobody's."""

_SWEEP: Final = 3600.0
"""Seconds between sweeps."""

_COMPACT: Final = 10_000
"""Records of the journal below which it is not compacted."""


class FolderFollower(Protocol):
    """An object that keeps part of the folder's contents in memory."""

    def gone(self, place: Place) -> None:
        """``place`` is not stored any more."""

    def purged(self, purge: Purge, soft: bool) -> None:
        """A purge is true from now on; places that it names are still listed."""

    def reset(self) -> None:
        """Nothing is stored any more, and purges may have been missed."""


class Folder:
    """See the module.  OSError if ``path`` cannot be made, read or written, or may be forged."""

    def __init__(
        self, path: Path, limit: int, variants: int, jobs: Jobs, follower: FolderFollower
    ) -> None:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        require_own(path)
        self.path = path
        self.files = FolderFiles(path)
        self.jobs = jobs
        self.catalog: Catalog[bytes, Place] = Catalog(limit, variants)
        self._follower = follower
        self._names: dict[int, Place] = {}
        self._bodies: dict[int, int] = {}  # by name: how many records have it
        self._hit: list[Place] = []  # by the last purge
        self._closed = False
        self._sweep_at = 0.0
        self._compact_at = _COMPACT
        self._flushing = self._flush_again = False
        self.journal = Journal(path, self._apply, self._reset)
        self.claims = FetchClaims(path)

    def close(self) -> None:
        """Close the journal; files stay."""
        self._closed = True
        self.journal.close()
        self.claims.close()

    def sync(self) -> None:
        """Learn what other processes have done."""
        self.journal.sync()

    def lookup(self, key: bytes) -> list[Place]:
        """Return the places of a key."""
        return self.catalog.lookup(key)

    def add(self, place: Place, still: Callable[[], bool]) -> bool:
        """Make a response that is in its files known to all.

        ``still()``: whether it may be, once everything before is known. Return False, with its
        files removed, if not. OSError if the journal cannot be written.
        """
        removed: list[Place] = []

        def entries() -> Iterable[bytes]:
            removed.clear()
            if not still() or place.bytes > self.catalog.limit:
                return []
            removed.extend(self._displaced(place))
            dropped = [dump_entry(Dropped(one.record)) for one in removed]
            return [*dropped, dump_entry(place)]

        self.journal.append(entries)
        known = place.record in self._names
        self._unlink(removed)
        if known:
            self.catalog.counts.stored += 1
            self._tend()
            if time.time() >= self._sweep_at:
                self.sweep()
        else:
            self.remove_files([place])
        return known

    def drop(self, places: Iterable[Place]) -> None:
        """Let nobody use ``places`` any more."""
        found = [one for one in places if self._names.get(one.record) is one]
        try:
            if found:
                self.journal.append(lambda: [dump_entry(Dropped(one.record)) for one in found])
        except OSError as error:
            self.failed("cannot be written", error)
            for one in found:
                self._forget(one)
        self._unlink(found)

    def purge(self, purge: Purge, soft: bool) -> int:
        """Remove what ``purge`` names, or make it stale; true everywhere when it returns.

        Return how many responses. OSError if it cannot be recorded."""
        self.sync()
        self._hit.clear()
        self.journal.append_surely(dump_entry(Purged(purge, soft)))
        found = list(self._hit)
        if not soft:
            self._unlink(found)
        self.catalog.counts.purged += len(found)
        self._tend()
        self._flush()
        return len(found)

    def _flush(self) -> None:
        """Have the journal written to the disk, once for all purges that come meanwhile."""
        if self._flushing:
            self._flush_again = True
            return
        self._flushing = True
        self.jobs.run(self.journal.flush, self._flushed)

    def _flushed(self, _: object) -> None:
        self._flushing = False
        if self._flush_again:
            self._flush_again = False
            self._flush()

    def resize(self, limit: int, variants: int) -> None:
        """Change the limit, and evict down to it."""
        self.catalog.limit, self.catalog.variants = limit, variants
        if self.catalog.bytes > limit:
            self.drop(self._evicted(0, []))

    def relieve(self, size: int) -> None:
        """Evict ``size`` bytes: the disk is full before the limit is reached."""
        self.drop(self._evicted(self.catalog.limit - self.catalog.bytes + size, []))

    def failed(self, what: str, error: BaseException) -> None:
        """Log a failure of the disk, at most once a second."""
        log_failure(self.path, what, error)

    # -- room -----------------------------------------------------------------------------------

    def _displaced(self, place: Place) -> list[Place]:
        """Return what must go for ``place``: the same selection, too many variants, the oldest."""
        others = self.catalog.lookup(place.key)
        gone = [one for one in others if one.selected == place.selected]
        if len(others) - len(gone) >= self.catalog.variants:
            gone += [one for one in others if one not in gone][:1]
        return self._evicted(place.bytes, gone)

    def _evicted(self, size: int, gone: list[Place]) -> list[Place]:
        """Return ``gone`` and what must go besides for ``size`` more bytes."""
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
            catalog.insert(one)  # until the journal says so, it is stored
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
            if entry.body:
                self._bodies[entry.body] = self._bodies.get(entry.body, 0) + 1
        elif isinstance(entry, Dropped):
            place = self._names.get(entry.record)
            if place is not None:
                self._forget(place)
        else:
            self._follower.purged(entry.purge, entry.soft)
            self._hit = list(entry.purge.find(self.catalog))
            if entry.purge.kind == "all" and not entry.soft:
                self.catalog.clear()
                self._names, self._bodies = {}, {}
                return
            for place in self._hit:
                if entry.soft:
                    place.purged = True
                else:
                    self._forget(place)

    def _forget(self, place: Place) -> None:
        del self._names[place.record]
        self.catalog.discard(place)
        if place.body:
            left = self._bodies.pop(place.body) - 1
            if left:
                self._bodies[place.body] = left
        self._follower.gone(place)

    def _reset(self) -> None:
        had = bool(self._names)
        catalog = self.catalog
        self.catalog = Catalog(catalog.limit, catalog.variants)
        self.catalog.counts = catalog.counts
        self._names, self._bodies = {}, {}
        if had:
            _quiet.warn("cache reset", "cache folder {path}: its index was replaced or is damaged;"
                        " its contents are not used", path=str(self.path))  # fmt: skip
        self._follower.reset()

    def _tend(self) -> None:
        """Compact the journal when most of it is history."""
        if self.journal.records < max(self._compact_at, 2 * len(self._names)):
            return
        try:
            self.journal.compact(lambda: map(dump_entry, self._names.values()))
            self._compact_at = _COMPACT
        except OSError as error:
            self._compact_at = 2 * self.journal.records  # not with each record
            self.failed("cannot be compacted", error)

    # -- files ----------------------------------------------------------------------------------

    def _unlink(self, places: Iterable[Place]) -> None:
        self.remove_files([one for one in places if one.record not in self._names])

    def remove_files(self, places: list[Place]) -> None:
        """Remove the files of places that are not stored, in a thread."""
        if not places:
            return
        names = [(one.record, "r") for one in places]
        names += [(one.body, "b") for one in places if one.body and one.body not in self._bodies]

        def remove() -> None:
            for name, kind in names:
                self.files.remove(name, kind)

        self.jobs.run(remove, lambda _: None)

    def remove_body(self, name: int) -> None:
        """Remove the file of a body unless a record has it."""
        if name not in self._bodies:
            self.jobs.run(lambda: self.files.remove(name, "b"), lambda _: None)

    def sweep(self, part: int = 0) -> None:
        """Remove files that no process knows, one sub-folder after the other, in threads."""
        if not part:
            self._sweep_at = time.time() + _SWEEP
        text = f"{part:02x}"
        before = time.time() - _AGE

        def look() -> list[tuple[int, str]]:
            return self.files.names(text)

        def found(result: list[tuple[int, str]] | Exception) -> None:
            if isinstance(result, Exception) or self._closed:
                return
            try:
                self.sync()
            except OSError as error:
                self.failed("cannot be swept", error)
                return
            unknown = [(name, kind) for name, kind in result if not self._knows(name, kind)]
            self.jobs.run(lambda: self._remove_abandoned(unknown, before), more)

        def more(_: object) -> None:
            if part < 255:
                self.sweep(part + 1)

        self.jobs.run(look, found)

    def _remove_abandoned(self, names: list[tuple[int, str]], before: float) -> None:
        for name, kind in names:
            if self.files.abandoned(name, kind, before if kind != "t" else time.time() + 1):
                self.files.remove(name, kind)

    def _knows(self, name: int, kind: str) -> bool:
        return name in self._names if kind == "r" else name in self._bodies


def log_failure(path: Path, what: str, error: BaseException) -> None:
    """Log a failure of a folder, at most once a second."""
    words = getattr(error, "strerror", None) or str(error)
    text = "cache folder {path} {what}: {words}"
    _quiet.warn("cache folder", text, path=str(path), what=what, words=words)
