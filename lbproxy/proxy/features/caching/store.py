"""DATA. The store of a cache: memory, a folder, or memory over a folder.

With a folder the memory of a process holds copies of what is in it, and the heads of large bodies.
Processes share the folder: :meth:`ResponseStore.select` first learns what others have stored and
purged, so nothing is served that another process has purged.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, Protocol

from attrs import define, evolve, frozen

from lbproxy.cache.catalog import Counts
from lbproxy.cache.codec import (
    DamagedError,
    StoredRecord,
    digest_of,
    dump_record,
    key_digest,
    selection_digest,
)
from lbproxy.cache.freshness import current_age
from lbproxy.cache.key import Key
from lbproxy.cache.memory import Body, Entry, Memory, members_cost
from lbproxy.cache.purge import Purge
from lbproxy.cache.stored import Stored
from lbproxy.proxy.features.caching.disk.claims import FetchClaims
from lbproxy.proxy.features.caching.disk.entries import Place
from lbproxy.proxy.features.caching.disk.files import OpenBody, on_disk
from lbproxy.proxy.features.caching.disk.folder import Folder, log_failure
from lbproxy.proxy.features.caching.disk.spool import Spool
from lbproxy.proxy.features.caching.jobs import Jobs

__all__ = ["DiskBody", "Observer", "ResponseStore"]

MOST_WRITING: Final = 16 * 1024 * 1024
"""Bytes of bodies that wait to be written; beyond, responses are kept in memory alone."""

PER_WRITING: Final = 4096
"""Bytes that a response that waits to be written counts besides its body."""

MOST_JOBS: Final = 1000
"""Jobs that wait for the disk; beyond, nothing is loaded: it hangs, and requests do without."""

_SHORTAGE: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.EINTR})
"""Failures that say nothing about the file."""

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})

SKEW: Final = 1.0
"""Seconds that the clocks of two processes may differ."""

RETRY: Final = 10.0
"""Seconds until a folder that failed is tried again."""


def _nothing() -> None:
    """Do nothing when a response is stored that no request waits for."""


class Observer(Protocol):
    """The cache, which has fetches under way."""

    def purged(self, purge: Purge) -> None:
        """A purge is true from now on."""

    def outdated(self) -> None:
        """Purges may have been missed: no fetch under way may be stored."""


@frozen
class DiskBody:
    """A body in the file ``name``, which was verified when it had ``stamp``."""

    name: int
    size: int
    record: StoredRecord
    stamp: Any


@define(eq=False)
class Writing:
    """A response that is being written.  ``outdated``: it must not be stored any more."""

    key: Key
    stored: Stored
    entry: Entry | None
    done: Callable[[], None] = _nothing
    outdated: bool = False


class ResponseStore:
    """See the module.  ``now``: seconds.

    ``alone``: no other process uses the folder, so that memory can do without it.
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
        self.folder: Folder | None = None
        self.alone = True
        self._observer = observer
        self._now = now
        self._jobs = jobs
        self._path: Path | None = None
        self._limit = 0
        self._retry_at = 0.0
        self._missed = False  # a purge while the folder was not there
        self._writing: dict[tuple[bytes, bytes], Writing] = {}  # by digests of key and selection
        self._waiting = 0
        self._loading: dict[Key, list[Callable[[list[Entry]], None]]] = {}
        self._remote: dict[str, int] = {}
        self.counts = Counts()  # of the folder, whichever it is

    def __len__(self) -> int:
        return len(self.memory) if self.folder is None else len(self.folder.catalog)

    @property
    def spools(self) -> bool:
        """Whether large bodies go to files."""
        return self.folder is not None

    @property
    def claims(self) -> FetchClaims | None:
        """The claims of fetches, None if no other process has a part in the store."""
        return None if self.alone or self.folder is None else self.folder.claims

    def has_news(self, key: bytes) -> bool:
        """Whether another process has changed what is stored of a key (its digest) since the last
        look-up.
        """
        folder = self.folder
        if folder is None:
            return False
        before = list(folder.lookup(key))
        return self.sync() and list(folder.lookup(key)) != before

    # -- the folder -----------------------------------------------------------------------------

    def use_folder(self, path: Path | None, limit: int, alone: bool) -> None:
        """Keep responses in ``path``, of at most ``limit`` bytes, from now on; None for memory."""
        self.alone = alone
        if path == self._path:
            self._limit = limit
            if self.folder is not None:
                self.folder.resize(limit, self.memory.variants)
            return
        if self.folder is not None:
            self._clear()
            self.folder.close()
            self.folder = None
        self._path, self._limit = path, limit
        self._retry_at = 0.0
        self._open()

    def log(self, what: str, error: OSError) -> None:
        """Log a failure of the folder."""
        if self._path is not None:
            log_failure(self._path, what, error)

    def close(self) -> None:
        """Close the folder; its files stay."""
        if self.folder is not None:
            self.folder.close()
            self.folder = None
        self._path = None

    def _open(self) -> None:
        if self._path is None or 0 < self._retry_at - self._now() <= RETRY:
            return
        self._retry_at = self._now() + RETRY
        try:
            if self._missed and self._path.exists() and not os.access(self._path, os.W_OK):
                raise PermissionError(
                    errno.EACCES, "a purge cannot be recorded"
                )  # nor be forgotten
            folder = Folder(self._path, self._limit, self.memory.variants, self._jobs, self)
            self._clear()
            if self._missed:
                folder.purge(Purge("all"), soft=False)
        except OSError as error:
            log_failure(self._path, "cannot be opened", error)
            return
        self._missed = False
        folder.catalog.counts = self.counts
        self.folder = folder
        folder.sweep()

    def _failed(self, error: OSError) -> None:
        """Do without the folder for a while."""
        assert self.folder is not None
        self.folder.failed("cannot be used", error)
        self.folder.close()
        self.folder = None
        self._retry_at = self._now() + RETRY
        self._clear()

    def _refused(self, folder: Folder, error: BaseException, size: int) -> None:
        """A file of ``size`` bytes could not be written.

        A folder that is full makes room for the next one; a folder that somebody has removed is
        made again by :meth:`_open`."""
        folder.failed("cannot be written", error)
        if self.folder is not folder:
            return
        if isinstance(error, OSError) and error.errno in _FULL:
            folder.relieve(2 * size)
        elif not folder.path.is_dir():
            self._failed(OSError(errno.ENOENT, os.strerror(errno.ENOENT)))

    def _clear(self) -> None:
        """Forget what is in memory; it may be outdated."""
        self.memory.clear()
        for writing in self._writing.values():
            writing.outdated = True
        self._observer.outdated()

    # -- looking up -----------------------------------------------------------------------------

    def select(self, key: Key) -> list[Entry] | None:
        """Return the stored responses of ``key``; None if they have to be loaded first."""
        folder = self.folder
        if folder is None:
            if self._path is None:
                return self.memory.lookup(key)
            self._open()
            if self.folder is None:
                return self.memory.lookup(key) if self.alone else []
            folder = self.folder
        if not self.sync():
            return []
        found = self.memory.lookup(key)
        places = folder.lookup(key_digest(key))
        busy = len(self._jobs) > MOST_JOBS
        return None if not busy and self._unshown(places) else found

    def sync(self) -> bool:
        """Learn what other processes have done; False if the folder fails."""
        try:
            if self.folder is not None:
                self.folder.sync()
        except OSError as error:
            self._failed(error)
            return False
        return True

    def _unshown(self, places: list[Place]) -> list[Place]:
        """Return the places whose responses are neither in memory nor being replaced."""
        return [
            one
            for one in places
            if one.shown is None and (one.key, one.selected) not in self._writing
        ]

    def load(self, key: Key, done: Callable[[list[Entry]], None]) -> None:
        """Call ``done`` with the stored responses of ``key``, verified, now or later."""
        folder = self.folder
        if folder is None:
            done(self.memory.lookup(key))
            return
        waiting = self._loading.get(key)
        if waiting is not None and len(waiting) > MOST_JOBS:
            done(self.memory.lookup(key))
            return
        if waiting is not None:
            waiting.append(done)
            return
        waiting = self._loading[key] = [done]
        places = self._unshown(folder.lookup(key_digest(key)))

        def read() -> list[tuple[Place, StoredRecord | None, Any]]:
            return [_read(folder, key, place) for place in places]

        def loaded(result: list[tuple[Place, StoredRecord | None, Any]] | Exception) -> None:
            found = [] if isinstance(result, Exception) else self._loaded(folder, key, result)
            known = [entry for entry in self.memory.lookup(key) if entry not in found]
            del self._loading[key]
            for one in waiting:
                one(found + known)

        self._jobs.run(read, loaded)

    def _loaded(
        self, folder: Folder, key: Key, result: list[tuple[Place, StoredRecord | None, Any]]
    ) -> list[Entry]:
        if self.folder is not folder or not self.sync():
            return []
        present = self._unshown(folder.lookup(key_digest(key)))
        damaged = []
        for place, record, why in result:
            if record is not None or place not in present:
                continue
            name = folder.files.path(place.record, "r").name
            if isinstance(why, OSError) and why.errno in _SHORTAGE:
                folder.failed(f"has a file {name} that cannot be opened now", why)
            else:
                folder.failed(f"has a damaged file {name}", why)
                damaged.append(place)
        folder.drop(damaged)
        return [
            self._show(place, record, stamp)
            for place, record, stamp in result
            if record is not None and place in present
        ]

    def _show(self, place: Place, record: StoredRecord, stamp: Any) -> Entry:
        """Have a response of the folder in memory."""
        place.stamp = stamp
        stored = record.stored.softly_purged() if place.purged else record.stored
        body: Body = record.body if record.body is not None else b""
        if place.body:
            body = DiskBody(place.body, record.size, record, stamp)
        entry = self.memory.add(record.key, stored, body)
        if entry is None:
            entry = Entry(record.key, stored, body)
            entry.place = place
        else:
            self._link(entry, place)
        return entry

    def _link(self, entry: Entry, place: Place) -> None:
        entry.place = place
        place.shown = entry

    def open(self, entry: Entry) -> bytes | OpenBody | None:
        """Return the body of ``entry`` for reading; None if it must be verified anew."""
        body = entry.body
        if isinstance(body, bytes):
            return body
        assert isinstance(body, DiskBody)
        try:
            if self.folder is None:
                raise DamagedError("the folder is not there")
            return self.folder.files.open_body(body.name, body.stamp, None)
        except (OSError, DamagedError):
            self.memory.discard(entry)
            if entry.place is not None:
                entry.place.stamp = None
            return None

    def use(self, entry: Entry) -> None:
        """Note that ``entry`` served a request."""
        self.memory.use(entry)
        if entry.place is not None:
            entry.place.used = True

    # -- storing --------------------------------------------------------------------------------

    def has_later(self, key: Key, stored: Stored) -> bool:
        """Whether the response that ``stored`` would replace was asked for later.

        One from the future was not: the clock has been set back."""
        return stored.asked < self._asked(key, stored) <= self._now() + SKEW

    def _asked(self, key: Key, stored: Stored) -> float:
        """When the response that ``stored`` would replace was asked for; 0 for none."""
        times = [0.0]
        times += [
            one.stored.asked
            for one in self.memory.lookup(key)
            if one.stored.selected == stored.selected
        ]
        if self.folder is not None:
            chosen = selection_digest(stored)
            places = self.folder.lookup(key_digest(key))
            times += [one.asked for one in places if one.selected == chosen]
        return max(times)

    def add(
        self, key: Key, stored: Stored, body: bytes, done: Callable[[], None] = _nothing
    ) -> Entry | None:
        """Store a response whose body is in memory; return its entry if memory has room for it.

        ``done()`` is called when all processes can know it, or it cannot be stored."""
        if self.folder is None:
            done()
            usable = self._path is None or self.alone
            return self.memory.add(key, stored, body) if usable else None
        entry = self.memory.add(key, stored, body)
        record = StoredRecord(key, stored, body, len(body), digest_of(body))
        self._write(Writing(key, stored, entry, done), record, 0)
        return entry

    def add_spooled(
        self, key: Key, stored: Stored, spool: Spool, digest: bytes, done: Callable[[], None]
    ) -> None:
        """Store a response whose body has its file already, and call ``done`` at the end."""
        if self.folder is None or self.has_later(key, stored):
            self.discard_spooled(spool)
            done()
            return
        record = StoredRecord(key, stored, None, spool.size, digest)
        self._write(Writing(key, stored, None, done), record, spool.name)

    def discard_spooled(self, spool: Spool) -> None:
        """Remove the file of a body that is not stored."""
        if self.folder is not None:
            self.folder.remove_body(spool.name)

    def spool(self, wrote: Callable[[int, int], None], failed: Callable[[], None]) -> Spool:
        """Return what a large body is written to, where the store :attr:`spools`."""
        folder = self.folder
        assert folder is not None

        def refused() -> None:
            self._refused(folder, spool.error or OSError(), spool.size)
            failed()

        spool = Spool(folder.files, self._jobs, wrote, refused)
        return spool

    def replace(
        self, entry: Entry, stored: Stored, done: Callable[[], None] = _nothing
    ) -> Entry | None:
        """Give the body of ``entry`` a refreshed head.  None if the entry has gone meanwhile.

        ``done()``: see :meth:`add`."""
        place: Place | None = entry.place
        if place is None or self.folder is None:
            done()
            return self.memory.replace(entry, stored)
        if place not in self.folder.lookup(place.key):
            done()
            return None
        new = self.memory.replace(entry, stored)
        body = entry.body
        if isinstance(body, bytes):
            record = StoredRecord(entry.key, stored, body, len(body), digest_of(body))
        else:
            assert isinstance(body, DiskBody)
            record = evolve(body.record, stored=stored)
        self._write(Writing(entry.key, stored, new, done), record, place.body)
        return new or Entry(entry.key, stored, body)

    def remove(self, entry: Entry) -> None:
        """Remove ``entry`` if it is still stored."""
        self.memory.discard(entry)
        for writing in self._writing.values():
            if writing.entry is entry:
                writing.outdated = True
        if entry.place is not None and self.folder is not None:
            self.folder.drop([entry.place])

    def expire(self, entry: Entry) -> None:
        """Make ``entry`` stale."""
        lifetime = min(entry.stored.lifetime, current_age(entry.stored, self._now()))
        self.replace(entry, evolve(entry.stored, lifetime=lifetime))

    def _write(self, writing: Writing, record: StoredRecord, body: int) -> None:
        folder = self.folder
        assert folder is not None
        size = PER_WRITING + (record.size if record.body is not None else 0)
        name = folder.files.new_name()
        where = key_digest(writing.key), selection_digest(writing.stored)
        before = self._writing.get(where)
        if before is not None:
            before.outdated = True
        if self._waiting + size > MOST_WRITING:
            self.memory.counts.refused += 1
            self._not_written(folder, writing, body)
            writing.done()
            return
        self._writing[where] = writing
        self._waiting += size

        def written(result: Any) -> None:
            self._waiting -= size
            if isinstance(result, BaseException):
                self._not_written(folder, writing, body)
                self._refused(folder, result, size)
            elif self.folder is folder:
                self._written(folder, writing, record, name, body)
            if self._writing.get(where) is writing:
                del self._writing[where]
            writing.done()

        self._jobs.run(lambda: folder.files.write_record(name, record), written)

    def _not_written(self, folder: Folder, writing: Writing, body: int) -> None:
        """Drop what the response should have replaced: it is older than what is in memory."""
        if self.folder is not folder:
            return
        chosen = selection_digest(writing.stored)
        places = folder.lookup(key_digest(writing.key))
        folder.drop([one for one in places if one.selected == chosen])
        if body:
            folder.remove_body(body)

    def _written(
        self, folder: Folder, writing: Writing, record: StoredRecord, name: int, body: int
    ) -> None:
        """The files are there: make them known."""
        stored = writing.stored
        size = on_disk(len(dump_record(evolve(record, body=b""))) + len(record.body or b""))
        size += on_disk(record.size) if body else 0
        place = Place(
            key_digest(writing.key), selection_digest(stored), stored.url, stored.tags,
            stored.groups, size + indexed(stored), name, body, stored.asked, stored.purged,
        )  # fmt: skip
        try:
            known = folder.add(place, lambda: not writing.outdated)
        except OSError as error:
            folder.failed("cannot be written", error)
            folder.remove_files([place])
            return
        entry = writing.entry
        if known and entry is not None and entry in self.memory.lookup(entry.key):
            for one in folder.lookup(place.key):
                if one.record == name:
                    self._link(entry, one)

    # -- purges ---------------------------------------------------------------------------------

    def purge(self, wanted: Purge, soft: bool = False) -> int:
        """Remove what ``wanted`` names, or make it stale, in all processes; return how many.

        OSError if other processes, or the next start, cannot be told."""
        if self.folder is None:
            self._open()
        if self.folder is None:
            count = self._purge_memory(wanted, soft)
            if self._path is not None:
                self._missed = True
                raise OSError(f"the cache folder {self._path} cannot be opened")
            return count
        try:
            alone = [one for one in wanted.find(self.memory) if one.place is None]
            return self.folder.purge(wanted, soft) + len(alone)
        except OSError as error:
            self._missed = True
            self._purge_memory(wanted, soft)
            self._failed(error)  # its places are not purged
            raise

    def _purge_memory(self, wanted: Purge, soft: bool) -> int:
        self._observer.purged(wanted)
        for writing in self._writing.values():
            writing.outdated = writing.outdated or wanted.names(writing.stored)
        return self.memory.purge(wanted.find(self.memory), soft)

    # -- from the folder ------------------------------------------------------------------------

    def gone(self, place: Place) -> None:
        """See :class:`~lbproxy.proxy.features.caching.disk.folder.FolderFollower`."""
        entry, place.shown = place.shown, None
        if entry is not None and entry.place is place:
            self.memory.discard(entry)

    def purged(self, purge: Purge, soft: bool) -> None:
        """See FolderFollower."""
        self._purge_memory(purge, soft)

    def reset(self) -> None:
        """See FolderFollower."""
        self._clear()

    def totals(self) -> dict[str, int]:
        """Return the counters since the start: of the folder, or of memory without one."""
        counts = self.memory.counts if self._path is None else self.counts
        own = {"stored": counts.stored, "evicted": counts.evicted, "purged": counts.purged}
        return {name: count + self._remote.get(name, 0) for name, count in own.items()}

    def show_totals(self, total: dict[str, int]) -> None:
        """In a master: the sum of :meth:`totals` of its workers."""
        self._remote = total

    # -- shown ----------------------------------------------------------------------------------

    def by_url(self, url: bytes) -> list[Entry]:
        """Return the responses of a URL, for people; blocks."""
        found = self.memory.by_url(url)
        if self.folder is not None:
            self.folder.sync()
            places = self.folder.catalog.by_url(url)
            found = [one for one in found if one.place is None] + list(self._described(places))
        return found

    def page(self, first: int, limit: int) -> tuple[list[Entry], int]:
        """Return at most ``limit`` responses from number ``first`` on, and the number of all.

        For people. Blocks: the heads of those on disk are read, of one page alone.
        """
        last = first + limit
        if self.folder is None:
            stored = list(self.memory)
            return stored[first:last], len(stored)
        self.folder.sync()
        own = [one for one in self.memory if one.place is None]
        places = list(self.folder.catalog)
        rest = places[max(0, first - len(own)) : max(0, last - len(own))]
        return [*own[first:last], *self._described(rest)], len(own) + len(places)

    def _described(self, places: list[Place]) -> Iterator[Entry]:
        assert self.folder is not None
        for place in places:
            if place.shown is not None:
                yield place.shown
                continue
            try:
                record = self.folder.files.read_record(place.record)
            except (OSError, DamagedError):
                continue
            stored = record.stored.softly_purged() if place.purged else record.stored
            body: Body = record.body or b""
            if place.body:
                body = DiskBody(place.body, record.size, record, None)
            entry = Entry(record.key, stored, body)
            entry.place = place
            yield entry


PLACE: Final = 1360
"""Bytes that the place of a response takes in the index besides its URL, tags and groups; the tests
measure them."""


def indexed(stored: Stored) -> int:
    """Return the bytes that a response counts besides the blocks of its files, for its place."""
    return PLACE + len(stored.url) + members_cost(stored)


def _read(folder: Folder, key: Key, place: Place) -> tuple[Place, StoredRecord | None, Any]:
    """Read and verify the files of a place; the record is None, with the reason, if they are
    damaged."""
    try:
        record = folder.files.read_record(place.record)
        if record.key != key:
            raise DamagedError("it is of another key")
        if record.stored.asked != place.asked or selection_digest(record.stored) != place.selected:
            raise DamagedError("it is another response of its key")
        stamp = None
        if place.body:
            body = folder.files.open_body(place.body, place.stamp, record)
            stamp = body.stamp
            body.close()
    except (OSError, DamagedError) as error:
        return place, None, error
    return place, record, stamp
