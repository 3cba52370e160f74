"""DATA. The store of a cache: memory, a folder, or memory over a folder.

With a folder, the memory of a process holds copies of its contents, and the heads of large bodies.
Processes share the folder: :meth:`ResponseStore.select` first applies the changes of other
processes, so nothing is served that another process has purged.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from attrs import evolve
from twisted.internet.defer import Deferred, fail

from lbproxy.cache.codec import DamagedError, StoredRecord, digest_of
from lbproxy.cache.freshness import current_age
from lbproxy.cache.key import Key
from lbproxy.cache.keybytes import key_digest, selection_digest
from lbproxy.cache.memory import Entry, Memory
from lbproxy.cache.purge import Purge
from lbproxy.cache.stored import Stored
from lbproxy.compiled import native
from lbproxy.proxy.features.caching.disk.claims import FetchClaims
from lbproxy.proxy.features.caching.disk.entries import Place
from lbproxy.proxy.features.caching.disk.failures import log_failure
from lbproxy.proxy.features.caching.disk.filehits import FileHits
from lbproxy.proxy.features.caching.disk.folder import Folder
from lbproxy.proxy.features.caching.disk.loader import DiskBody, FolderLoader, described
from lbproxy.proxy.features.caching.disk.openfile import OpenFile
from lbproxy.proxy.features.caching.disk.openfiles import LARGEST
from lbproxy.proxy.features.caching.disk.slot import FolderSlot
from lbproxy.proxy.features.caching.disk.spool import Spool
from lbproxy.proxy.features.caching.disk.writer import FolderWriter
from lbproxy.proxy.features.caching.disk.writing import Writing, nothing
from lbproxy.proxy.features.caching.jobs import Jobs
from lbproxy.proxy.features.caching.storepage import page_of
from lbproxy.proxy.features.caching.sweeping import Sweeping, free_slowly, sum_of

__all__ = ["Observer", "ResponseStore"]


class Observer(Protocol):
    """The cache, which has running fetches."""

    def purged(self, purge: Purge) -> None:
        """A purge is in effect from now on."""

    def outdated(self) -> None:
        """Purges may have been missed, so no running fetch may be stored."""


@native(allow_interpreted_subclasses=True)
class ResponseStore:
    """See the module. ``now``: clock, in seconds.

    ``alone``: no other process uses the folder, so memory works without it. ``memory_only``: the
    store has no folder, and :meth:`select` only looks up memory. ``file_hits``: the short path of
    hits if there is a folder. ``held``: by key, responses that are being written to the folder.
    """

    def __init__(
        self,
        observer: Observer,
        now: Callable[[], float],
        jobs: Jobs,
        memory: int,
        variants: int,
    ) -> None:
        self.memory = Memory(memory, variants)
        self.alone = True
        self.memory_only = False
        self._observer = observer
        self._now = now
        self._jobs = jobs
        self._slot = FolderSlot(self, now, jobs, self.memory)
        self._writer = FolderWriter(self._slot, self.memory, jobs)
        self.held = self._writer.held
        self._loader = FolderLoader(self._slot, self._writer, self.memory, jobs)
        self.file_hits = FileHits(self._slot, self._writer.writing, self.memory)
        self._remote: dict[str, int] = {}
        self._last: Sweeping | None = None  # the last purge from the folder, in memory

    def __len__(self) -> int:
        folder = self._slot.folder
        return len(self.memory) if folder is None else len(folder.catalog)

    @property
    def folder(self) -> Folder | None:
        """The folder, None while none is in use."""
        return self._slot.folder

    @property
    def spools(self) -> bool:
        """True if large bodies are written to files."""
        return self.folder is not None

    @property
    def claims(self) -> FetchClaims | None:
        """The claims of fetches, None if no other process uses the store."""
        return None if self.alone or self.folder is None else self.folder.claims

    def has_news(self, key: bytes) -> bool:
        """Return whether another process has changed the responses of a key (by digest) since the
        last look-up.
        """
        folder = self.folder
        if folder is None:
            return False
        before = list(folder.lookup(key))
        return self.sync() and list(folder.lookup(key)) != before

    # -- the folder -----------------------------------------------------------------------------

    def use_folder(self, path: Path | None, limit: int, alone: bool) -> None:
        """Keep up to ``limit`` bytes of responses in ``path`` from now on; None for memory."""
        self.alone = alone
        self.memory_only = path is None
        self._slot.use(path, limit)

    def log(self, what: str, error: OSError) -> None:
        """Log a failure of the folder."""
        if self._slot.path is not None:
            log_failure(self._slot.path, what, error)

    def close(self) -> None:
        """Close the folder; its files stay."""
        self._slot.close()

    # -- looking up -----------------------------------------------------------------------------

    def select(self, key: Key) -> list[Entry] | None:
        """Return the stored responses of ``key``; None if they have to be loaded first."""
        slot = self._slot
        folder = slot.folder
        if folder is None:
            if slot.path is None:
                return self.memory.lookup(key)
            slot.open()
            folder = slot.folder
            if folder is None:
                return self.memory.lookup(key) if self.alone else []
        if not slot.sync():
            return []
        found = self._writer.entries(key)
        return None if self._loader.needed(folder, key, found) else found

    def sync(self) -> bool:
        """Apply the changes of other processes; return False if the folder fails."""
        return self._slot.sync()

    def load(self, key: Key, done: Callable[[list[Entry]], None]) -> None:
        """Call ``done`` with the stored responses of ``key``, verified, now or later."""
        self._loader.load(key, done)

    def open(self, entry: Entry) -> bytes | OpenFile | None:
        """Return the body of ``entry``, or its open file; None if it must be verified again."""
        body = entry.body
        if isinstance(body, bytes):
            return body
        assert isinstance(body, DiskBody)
        try:
            folder = self._slot.folder
            if folder is None:
                raise DamagedError("the folder is not there")
            found = self.body_of(entry)
            if found is not None:
                return found
            return folder.open_files.share(body.name, body.stamp)
        except (OSError, DamagedError):
            self.memory.discard(entry)
            if entry.place is not None:
                entry.place.body_stamp = None
            return None

    def body_of(self, entry: Entry) -> bytes | OpenFile | None:
        """Return the body of ``entry`` if it is available at once, or its open file if it is large
        (the caller closes it); None if :meth:`open` must decide.
        """
        body, folder = entry.body, self._slot.folder
        if isinstance(body, bytes):
            return body
        assert isinstance(body, DiskBody)
        if folder is None:
            return None
        try:
            if body.size > LARGEST:
                return folder.open_files.share(body.name, body.stamp)
            return folder.open_files.read(body.name, body.stamp)
        except (OSError, DamagedError):
            return None

    def read(self, entry: Entry) -> bytes | None:
        """Return the body of ``entry`` as bytes if it is available at once."""
        large = not isinstance(entry.body, bytes) and entry.size > LARGEST
        found = None if large else self.body_of(entry)
        return found if isinstance(found, bytes) else None

    def use(self, entry: Entry) -> None:
        """Note that ``entry`` served a request."""
        self.memory.use(entry)
        if entry.place is not None:
            entry.place.used = True

    # -- storing --------------------------------------------------------------------------------

    def has_later(self, key: Key, stored: Stored) -> bool:
        """Return whether the response that ``stored`` would replace was requested later.

        A time in the future does not count, because the clock has been set back."""
        return stored.asked < self._asked(key, stored) <= self.latest

    @property
    def latest(self) -> float:
        """The latest time of a request that any process can have sent."""
        return self._slot.latest

    def _asked(self, key: Key, stored: Stored) -> float:
        """Return when the response that ``stored`` would replace was requested; 0 for none."""
        if self.folder is None and not self.memory.lookup(key):
            return 0.0
        known = [one.stored for one in self.memory.lookup(key)]
        times = [0.0, *(one.asked for one in known if one.selected == stored.selected)]
        if self.folder is not None:
            chosen = selection_digest(stored.selected)
            digest = key_digest(key)
            times.append(self._writer.asked(digest, chosen))
            places = self.folder.lookup(digest)
            times += [one.asked for one in places if one.selected == chosen]
        return max(times)

    def add(
        self, key: Key, stored: Stored, body: bytes, done: Callable[[], None] = nothing
    ) -> Entry | None:
        """Store a response whose body is in memory; return its entry if memory has room for it.

        ``done()`` is called when the response is visible to all processes, or cannot be stored.
        """
        folder = self._slot.folder
        if folder is None:
            done()
            usable = self._slot.path is None or self.alone
            return self.memory.add(key, stored, body) if usable else None
        entry = self.memory.add(key, stored, body)
        record = StoredRecord(key, stored, body, len(body), digest_of(body))
        shown = entry or Entry(key, stored, body)
        self._writer.write(folder, Writing(stored, shown, record, 0, done))
        return entry

    def add_spooled(
        self, key: Key, stored: Stored, spool: Spool, digest: bytes, done: Callable[[], None]
    ) -> None:
        """Store a response whose body is already in its file, and call ``done`` at the end."""
        folder = self._slot.folder
        if folder is None or self.has_later(key, stored):
            self.discard_spooled(spool)
            done()
            return
        record = StoredRecord(key, stored, None, spool.size, digest)
        self._writer.write(folder, Writing(stored, None, record, spool.name, done))

    def discard_spooled(self, spool: Spool) -> None:
        """Remove the file of a body that is not stored."""
        if self.folder is not None:
            self.folder.remove_body(spool.name)

    def spool(self, wrote: Callable[[int, int, int], None], failed: Callable[[], None]) -> Spool:
        """Return the spool for a large body; only if the store :attr:`spools`."""
        folder = self.folder
        assert folder is not None

        def refused() -> None:
            self._slot.refused(folder, spool.error or OSError(), spool.size)
            failed()

        spool = Spool(folder.files, self._jobs, wrote, refused)
        return spool

    def replace(
        self, entry: Entry, stored: Stored, done: Callable[[], None] = nothing
    ) -> Entry | None:
        """Replace the head of ``entry`` by a refreshed one; return None if the entry is gone, or a
        later one is stored. ``done()``: see :meth:`add`.
        """
        if self.has_later(entry.key, stored):
            done()
            return None
        folder = self._slot.folder
        found = None if folder is None else self._contents(folder, entry)
        if folder is None or found is None:
            done()
            return self.memory.replace(entry, stored) if entry.place is None else None
        record, body = found
        self._writer.outdate(entry)
        new = self.memory.replace(entry, stored)
        shown = new or Entry(entry.key, stored, entry.body)
        record = evolve(record, stored=stored)
        self._writer.write(folder, Writing(stored, shown, record, body, done))
        return shown

    def _contents(self, folder: Folder, entry: Entry) -> tuple[StoredRecord, int] | None:
        """Return what the folder has of ``entry``, or is being given, and the name of its body file
        (0: not apart); None if neither.
        """
        place: Place | None = entry.place
        if place is None:
            pending = self._writer.pending(entry)
            return None if pending is None else (pending.record, pending.body)
        if place not in folder.lookup(place.key):
            return None
        body = entry.body
        if not isinstance(body, bytes):
            assert isinstance(body, DiskBody)
            return body.record, place.body
        within = None if place.body else body
        digest = digest_of(body)
        return StoredRecord(entry.key, entry.stored, within, len(body), digest), place.body

    def remove(self, entry: Entry) -> None:
        """Remove ``entry`` if it is still stored."""
        self.memory.discard(entry)
        self._writer.outdate(entry)
        if entry.place is not None and self.folder is not None:
            self.folder.drop([entry.place])

    def displace(self, key: Key, stored: Stored) -> None:
        """Remove what ``stored``, which cannot be stored, should have replaced."""
        self._writer.displace(key, stored)

    def expire(self, entry: Entry) -> None:
        """Make ``entry`` stale."""
        lifetime = min(entry.stored.lifetime, current_age(entry.stored, self._now()))
        self.replace(entry, evolve(entry.stored, lifetime=lifetime))

    # -- purges ---------------------------------------------------------------------------------

    def purge(self, wanted: Purge, soft: bool = False) -> Deferred[int]:
        """Remove what ``wanted`` names, or make it stale, in all processes.

        The purge takes effect at once, except while the folder is being read. The Deferred fires
        with the number of responses when all are removed. It fails with OSError if the purge cannot
        be recorded for other processes or the next start.
        """
        if self._slot.folder is None:
            self._slot.open(at_once=True)
        return self._purge(wanted, soft)

    def _purge(self, wanted: Purge, soft: bool) -> Deferred[int]:
        """See :meth:`purge`. A folder that fails while it is read is not opened again."""
        slot = self._slot
        if slot.loading:
            self._purge_memory(wanted, soft)
            return slot.loaded().addCallback(lambda _: self._purge(wanted, soft))
        if slot.folder is None:
            memory = self._purge_memory(wanted, soft)
            if slot.path is None:
                return memory.counted()
            slot.missed = True
            return fail(OSError(f"the cache folder {slot.path} cannot be opened"))
        self._last = None
        try:
            found = slot.folder.purge(wanted, soft), self._begun_sweeping()
        except OSError as error:
            slot.missed = True
            self._purge_memory(wanted, soft)
            slot.fail(error)  # its places are not purged
            return fail(error)
        return sum_of([one.counted() for one in found if one is not None])

    def _begun_sweeping(self) -> Sweeping | None:
        """Return the sweep of memory by the purge that the folder has just applied."""
        return self._last

    def _purge_memory(self, wanted: Purge, soft: bool) -> Sweeping:
        self._observer.purged(wanted)
        self._writer.purge(wanted, soft)
        return Sweeping(self._jobs.reactor, self.memory.sweep(wanted, soft))

    # -- from the folder ------------------------------------------------------------------------

    def gone(self, place: Place) -> None:
        """See :class:`~lbproxy.proxy.features.caching.disk.follower.FolderFollower`."""
        entry, place.shown = place.shown, None
        if entry is not None and entry.place is place:
            self.memory.discard(entry)

    def purged(self, purge: Purge, soft: bool) -> None:
        """See FolderFollower."""
        self._last = self._purge_memory(purge, soft)

    def reset(self) -> None:
        """See FolderFollower: the contents of memory may be outdated."""
        free_slowly(self._jobs.reactor, self.memory.begin_clear())
        self._writer.outdate_all()
        self._observer.outdated()

    def totals(self) -> dict[str, int]:
        """Return the counters since the start: of the folder, or of memory without one."""
        counts = self.memory.counts if self._slot.path is None else self._slot.counts
        own = {"stored": counts.stored, "evicted": counts.evicted, "purged": counts.purged}
        return {name: count + self._remote.get(name, 0) for name, count in own.items()}

    def show_totals(self, total: dict[str, int]) -> None:
        """In a master: show the sum of the :meth:`totals` of its workers."""
        self._remote = total

    # -- shown ----------------------------------------------------------------------------------

    def by_url(self, url: bytes) -> list[Entry]:
        """Return the responses of a URL, for display. This call blocks."""
        found = self.memory.of_url(url)
        if self.folder is not None:
            self.folder.sync()
            places = self._writer.kept(self.folder.catalog.of_url(url))
            own = [one for one in found if one.place is None]
            found = [*own, *self._writer.of_url(url), *described(self.folder, places)]
        return found

    def page(self, first: int, limit: int) -> Deferred[tuple[list[Entry], int]]:
        """Return at most ``limit`` responses from number ``first`` on, and the total number.

        This is for display, and takes several turns of the reactor. It reads the heads on disk of
        one page only, which blocks.
        """
        return page_of(self.memory, self.folder, self._jobs.reactor, first, limit)
