"""DATA. Writes responses to the folder of a store.

Responses wait in a queue. A job writes a batch of them, as many as take it a short time, and the
index is then changed once for all of them. Until then look-ups find them here
(:meth:`FolderWriter.entries`), because memory may evict them sooner than a disk takes them.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final

from lbproxy.cache.key import Key
from lbproxy.cache.keybytes import key_digest, selection_digest
from lbproxy.cache.memory import Entry, Memory
from lbproxy.cache.purge import Purge
from lbproxy.cache.stored import Stored
from lbproxy.proxy.features.caching.disk.entries import Place
from lbproxy.proxy.features.caching.disk.folder import Folder
from lbproxy.proxy.features.caching.disk.slot import FolderSlot
from lbproxy.proxy.features.caching.disk.writing import (
    FileJob,
    Writing,
    link,
    portions,
    write_files,
)
from lbproxy.proxy.features.caching.jobs import Jobs

__all__ = ["FolderWriter"]

MOST_WRITING: Final = 16 * 1024 * 1024
"""Maximum bytes of bodies that wait to be written; beyond it, responses stay in memory only."""

BATCH: Final = 64
"""Maximum number of responses that one job writes."""

BATCHES: Final = 2
"""Maximum number of concurrent jobs that write, so that reads of a busy disk have some, too."""


class FolderWriter:
    """Writes responses in threads, and publishes them to all processes.

    ``writing``: the latest response of each selection that is being written or waits for it, by the
    digests of key and selection. ``held``: those that are not replaced yet, by key: at most
    ``variants`` of the memory.
    """

    def __init__(self, slot: FolderSlot, memory: Memory, jobs: Jobs) -> None:
        self._slot = slot
        self._memory = memory
        self._jobs = jobs
        self.writing: dict[tuple[bytes, bytes], Writing] = {}
        self.held: dict[Key, list[Writing]] = {}
        self._queue: deque[FileJob] = deque()
        self._waiting = 0
        self._batches = 0

    # -- look-ups -------------------------------------------------------------------------------

    def entries(self, key: Key) -> list[Entry]:
        """Return the responses of ``key`` in memory, and those that are being written and that
        memory no longer has. Callers must not change the list.
        """
        found = self._memory.lookup(key)
        waiting = self.held.get(key) if self.held else None
        if waiting is None:
            return found
        return found + [one for one in _entries(waiting) if one not in found]

    def of_url(self, url: bytes) -> list[Entry]:
        """Return those of a URL that memory no longer has."""
        wanted = [one for one in self.writing.values() if one.stored.url == url]
        return [one for one in _entries(wanted) if not self._memory.has(one)]

    def replaces(self, place: Place) -> bool:
        """Return whether a response that replaces ``place`` is being written. One of an earlier
        request does not replace it, and is not written.
        """
        found = self.writing.get((place.key, place.selected))
        if found is None or not self._is_later(place.asked, found.stored.asked):
            return found is not None
        self._give_up(found)
        return False

    def kept(self, places: list[Place]) -> list[Place]:
        """Return those of ``places`` that no response that is being written replaces."""
        return [one for one in places if not self.replaces(one)]

    def asked(self, key: bytes, selected: bytes) -> float:
        """Return when the response that is being written was requested; 0 for none."""
        found = self.writing.get((key, selected))
        return 0.0 if found is None or found.outdated else found.stored.asked

    def pending(self, entry: Entry) -> Writing | None:
        """Return the writing of ``entry``, None if it is not being written."""
        for one in self.held.get(entry.key, ()):
            if one.entry is entry and not one.outdated:
                return one
        return None

    # -- changes --------------------------------------------------------------------------------

    def outdate(self, entry: Entry) -> None:
        """Do not store ``entry`` if it is being written."""
        found = self.pending(entry)
        if found is not None:
            self._displace(found)

    def outdate_all(self) -> None:
        """Store nothing of what is being written."""
        for one in self.writing.values():
            one.outdated = True

    def purge(self, wanted: Purge, soft: bool) -> None:
        """Do not store responses that a purge names; if ``soft``, store them as stale."""
        for one in self.writing.values():
            if not one.outdated and wanted.names(one.stored):
                one.purge(soft)

    # -- writing --------------------------------------------------------------------------------

    def write(self, folder: Folder, writing: Writing) -> None:
        """Write a response in place of the one with the same selection."""
        where = writing.place
        before = self.writing.get(where)
        if before is not None:
            self._displace(before)
        if self._waiting + writing.size > MOST_WRITING:
            self._memory.counts.refused += 1
            self._drop_older(folder, where, writing.stored.asked)
            if writing.body:
                folder.remove_body(writing.body)
            writing.done()
            return
        variants = self.held.setdefault(writing.key, [])
        while len(variants) >= max(1, self._memory.variants):
            self._displace(variants[0])
        variants.append(writing)
        self.held[writing.key] = variants
        self.writing[where] = writing
        folder.bodies.begin_wait(writing.body)
        self._waiting += writing.size
        self._queue.append(FileJob(folder, writing, where))
        self._next()

    def _next(self) -> None:
        """Begin the next batch, unless enough are being written."""
        while self._queue and self._batches < BATCHES:
            batch = self._taken()
            if batch:
                self._begin(batch)

    def _begin(self, batch: list[FileJob]) -> None:
        self._batches += 1

        def written(result: Any) -> None:
            self._batches -= 1
            try:
                self._written(batch, result)
            finally:
                self._next()

        self._jobs.run(lambda: write_files(batch), written)

    def _taken(self) -> list[FileJob]:
        """Take the jobs of a batch from the queue, without those that are no longer needed."""
        found: list[FileJob] = []
        while self._queue and len(found) < BATCH:
            job = self._queue.popleft()
            if self._slot.folder is job.folder and not job.writing.outdated:
                found.append(job)
                continue
            self._finish(job)
        return found

    def _written(self, batch: list[FileJob], result: list[Exception | None] | Exception) -> None:
        """Publish the files of a batch. ``result``: the errors of the jobs that were begun."""
        errors = [result] * len(batch) if isinstance(result, Exception) else result
        self._queue.extendleft(reversed(batch[len(errors) :]))
        done = list(zip(batch, errors, strict=False))
        self._publish([job for job, error in done if error is None])
        for job, error in done:
            if error is not None:
                self._drop_older(job.folder, job.where, job.writing.stored.asked)
                self._slot.refused(job.folder, error, job.writing.size)
            self._finish(job)

    def _publish(self, jobs: list[FileJob]) -> None:
        """Add responses whose files are written to the index, and link those that memory has."""
        folder = self._slot.folder
        known = [(job, job.place()) for job in jobs if job.folder is folder]
        if folder is None or not known:
            return

        def still(place: Place) -> bool:
            writing = waiting[place.record]
            if self._has_later(folder, place) or folder.bodies.is_lost(place.body):
                self._give_up(writing)  # because of another process
            place.purged = writing.stored.purged  # a purge may have come while we waited for it
            return not writing.outdated

        waiting = {place.record: job.writing for job, place in known}
        for places in portions([place for _, place in known], folder.catalog.limit):
            try:
                folder.add(places, still)
            except OSError as error:
                folder.failed("cannot be written", error)
                folder.remove_files(places)
        for job, place in known:
            entry = job.writing.entry
            listed = folder.listed(place.record)
            if entry is not None and listed is not None:
                entry.place = listed
                if self._memory.has(entry):
                    link(entry, listed)

    def _has_later(self, folder: Folder, place: Place) -> bool:
        """Return whether the response that ``place`` would replace was requested later."""
        others = folder.lookup(place.key)
        return any(
            one.selected == place.selected and self._is_later(one.asked, place.asked)
            for one in others
        )

    def _is_later(self, asked: float, than: float) -> bool:
        """Compare the times of two requests. One in the future is not later: the clock has been set
        back.
        """
        return than < asked <= self._slot.latest

    def _finish(self, job: FileJob) -> None:
        """Forget a response that is stored, or cannot be stored."""
        writing, folder = job.writing, job.folder
        self._waiting -= writing.size
        self._unhold(writing)
        if writing.entry is not None and not self._memory.has(writing.entry):
            self._memory.popular.forget(writing.entry)
        if self.writing.get(job.where) is writing:
            del self.writing[job.where]
            if folder.listed(job.name) is None:
                self._drop_older(folder, job.where, writing.stored.asked)
        folder.bodies.end_wait(writing.body)
        if writing.body and self._slot.folder is folder:
            folder.remove_body(writing.body)
        writing.done()

    def _displace(self, writing: Writing) -> None:
        """Store a response no more, because others take its place."""
        writing.outdated = True
        self._unhold(writing)

    def _give_up(self, writing: Writing) -> None:
        """Neither store nor serve a response any more."""
        self._displace(writing)
        if writing.entry is not None:
            self._memory.discard(writing.entry)

    def _unhold(self, writing: Writing) -> None:
        waiting = self.held.get(writing.key)
        if waiting is not None and writing in waiting:
            waiting.remove(writing)
            if not waiting:
                del self.held[writing.key]

    def _drop_older(self, folder: Folder, where: tuple[bytes, bytes], asked: float) -> None:
        """Remove the response that one requested at the time ``asked`` should have replaced, but
        which is not stored; a later one stays.
        """
        if self._slot.folder is folder:
            others = [one for one in folder.lookup(where[0]) if one.selected == where[1]]
            folder.drop([one for one in others if not self._is_later(one.asked, asked)])

    def displace(self, key: Key, stored: Stored) -> None:
        """Remove from memory and the folder what ``stored`` should have replaced, if it was not
        requested later. ``stored`` itself cannot be stored.
        """
        asked = stored.asked
        for one in list(self._memory.lookup(key)):
            if one.stored.selected == stored.selected and not self._is_later(
                one.stored.asked, asked
            ):
                self._memory.discard(one)
        folder = self._slot.folder
        if folder is not None:
            where = key_digest(key), selection_digest(stored.selected)
            waiting = self.writing.get(where)
            if waiting is not None and not self._is_later(waiting.stored.asked, asked):
                self._displace(waiting)
            self._drop_older(folder, where, asked)


def _entries(waiting: list[Writing]) -> list[Entry]:
    """Return the entries of those that may still be stored."""
    return [one.entry for one in waiting if one.entry is not None and not one.outdated]
