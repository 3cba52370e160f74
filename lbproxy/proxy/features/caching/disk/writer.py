"""DATA. Writes responses to the folder of a store."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from attrs import define, evolve

from lbproxy.cache.codec import StoredRecord
from lbproxy.cache.key import Key
from lbproxy.cache.keybytes import key_digest, selection_digest
from lbproxy.cache.memory import Entry, Memory, members_cost
from lbproxy.cache.purge import Purge
from lbproxy.cache.stored import Stored
from lbproxy.proxy.features.caching.disk.entries import Place
from lbproxy.proxy.features.caching.disk.files import on_disk
from lbproxy.proxy.features.caching.disk.folder import Folder
from lbproxy.proxy.features.caching.disk.slot import FolderSlot
from lbproxy.proxy.features.caching.jobs import Jobs

__all__ = ["FolderWriter", "Writing", "indexed", "link", "nothing"]

MOST_WRITING: Final = 16 * 1024 * 1024
"""Maximum bytes of bodies that wait to be written; beyond it, responses stay in memory only."""

PER_WRITING: Final = 4096
"""Bytes that a waiting response counts in addition to its body."""

PLACE: Final = 1360
"""Bytes that the place of a response takes in the index in addition to its URL, tags and groups;
the tests measure them.
"""


def nothing() -> None:
    """Do nothing, for a response that no request waits for."""


@define(eq=False)
class Writing:
    """A response that is being written. ``outdated``: it must no longer be stored.

    ``done()`` is called when the response is visible to all processes, or cannot be stored.
    """

    key: Key
    stored: Stored
    entry: Entry | None
    done: Callable[[], None] = nothing
    outdated: bool = False


class FolderWriter:
    """Writes responses in threads, and publishes them to all processes.

    ``writing``: the responses that are being written, by the digests of their keys and selections.
    """

    def __init__(self, slot: FolderSlot, memory: Memory, jobs: Jobs) -> None:
        self._slot = slot
        self._memory = memory
        self._jobs = jobs
        self.writing: dict[tuple[bytes, bytes], Writing] = {}
        self._waiting = 0

    def replaces(self, place: Place) -> bool:
        """Return whether a response that replaces ``place`` is being written."""
        return (place.key, place.selected) in self.writing

    def outdate(self, entry: Entry | None = None) -> None:
        """Do not store ``entry`` if it is being written; None for all entries."""
        for writing in self.writing.values():
            if entry is None or writing.entry is entry:
                writing.outdated = True

    def purge(self, wanted: Purge) -> None:
        """Do not store responses that a purge names."""
        for writing in self.writing.values():
            writing.outdated = writing.outdated or wanted.names(writing.stored)

    def write(self, folder: Folder, writing: Writing, record: StoredRecord, body: int) -> None:
        """Write a response. ``body``: the name of its body file, 0 if ``record`` has the body."""
        size = PER_WRITING + (record.size if record.body is not None else 0)
        apart = record.body is not None and not body and record.size > folder.files.inline
        name = folder.files.new_name()
        where = key_digest(writing.key), selection_digest(writing.stored.selected)
        before = self.writing.get(where)
        if before is not None:
            before.outdated = True
        if self._waiting + size > MOST_WRITING:
            self._memory.counts.refused += 1
            self._not_written(folder, writing, body)
            writing.done()
            return
        self.writing[where] = writing
        self._waiting += size
        if apart:
            body = folder.files.new_name()

        def written(result: Any) -> None:
            self._waiting -= size
            if isinstance(result, BaseException):
                self._not_written(folder, writing, body)
                self._slot.refused(folder, result, size)
            elif self._slot.folder is folder:
                known = evolve(record, body=None) if apart else record
                self._written(folder, writing, known, name, body, result)
            if self.writing.get(where) is writing:
                del self.writing[where]
            writing.done()

        if apart:
            self._jobs.run(lambda: folder.files.write_apart(name, body, record), written)
        else:
            self._jobs.run(lambda: folder.files.write_record(name, record), written)

    def _not_written(self, folder: Folder, writing: Writing, body: int) -> None:
        """Drop the response that should have been replaced; it is older than the one in memory."""
        if self._slot.folder is not folder:
            return
        chosen = selection_digest(writing.stored.selected)
        places = folder.lookup(key_digest(writing.key))
        folder.drop([one for one in places if one.selected == chosen])
        if body:
            folder.remove_body(body)

    def _written(
        self,
        folder: Folder,
        writing: Writing,
        record: StoredRecord,
        name: int,
        body: int,
        length: int,
    ) -> None:
        """Publish a response whose files are written. ``length``: bytes of its record."""
        stored = writing.stored
        size = on_disk(length) + (on_disk(record.size) if body else 0)
        place = Place(
            key_digest(writing.key), selection_digest(stored.selected), stored.url, stored.tags,
            stored.groups, size + indexed(stored), name, body, stored.asked, stored.purged,
        )  # fmt: skip
        try:
            known = folder.add(place, lambda: not writing.outdated)
        except OSError as error:
            folder.failed("cannot be written", error)
            folder.remove_files([place])
            return
        entry = writing.entry
        if known and entry is not None and entry in self._memory.lookup(entry.key):
            for one in folder.lookup(place.key):
                if one.record == name:
                    link(entry, one)


def link(entry: Entry, place: Place) -> None:
    """Link an entry in memory and its place in the folder."""
    entry.place = place
    place.shown = entry


def indexed(stored: Stored) -> int:
    """Return the bytes that a response counts for its place, besides the blocks of its files."""
    return PLACE + len(stored.url) + members_cost(stored)
