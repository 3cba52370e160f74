"""DATA. A response that is being written to a folder, and the files that a job writes for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from attrs import define

from lbproxy.cache.codec import StoredRecord
from lbproxy.cache.key import Key
from lbproxy.cache.keybytes import key_digest, selection_digest
from lbproxy.cache.memory import Entry, members_cost
from lbproxy.cache.stored import Stored
from lbproxy.proxy.features.caching.disk.entries import Place
from lbproxy.proxy.features.caching.disk.files import on_disk
from lbproxy.proxy.features.caching.disk.folder import Folder

__all__ = ["FileJob", "Writing", "indexed", "link", "nothing", "portions", "write_files"]

PER_WRITING: Final = 4096
"""Bytes that a waiting response counts in addition to its body."""

BATCH_SECONDS: Final = 0.02
"""Seconds after which a job begins no further response, because others wait for a slow disk."""

PLACE: Final = 1360
"""Bytes that the place of a response takes in the index in addition to its URL, tags and groups;
the tests measure them.
"""


def nothing() -> None:
    """Do nothing, for a response that no request waits for."""


@define(eq=False)
class Writing:
    """A response that is being written, or waits for it. ``outdated``: it must no longer be stored.

    ``entry``: the response as look-ups find it meanwhile, even if memory has evicted or refused it;
    None if only the end of the writing shows it. ``record`` has its contents. ``body``: the name of
    its body file if that exists already, 0 if not. ``done()`` is called when the response is
    visible to all processes, or cannot be stored.
    """

    stored: Stored
    entry: Entry | None
    record: StoredRecord
    body: int = 0
    done: Callable[[], None] = nothing
    outdated: bool = False

    @property
    def key(self) -> Key:
        """The key of the response."""
        return self.record.key

    @property
    def place(self) -> tuple[bytes, bytes]:
        """The digests of key and selection."""
        return key_digest(self.record.key), selection_digest(self.stored.selected)

    @property
    def size(self) -> int:
        """Bytes that it takes while it waits."""
        return PER_WRITING + (self.record.size if self.record.body is not None else 0)

    def purge(self, soft: bool) -> None:
        """Make the response stale if ``soft``, otherwise do not store it."""
        if not soft:
            self.outdated = True
            return
        self.stored = self.stored.softly_purged()
        if self.entry is not None:
            self.entry.stored = self.stored


class FileJob:
    """The files of one response in ``folder``. ``name``: of its record. ``body``: of its body file,
    0 without one. ``apart``: the job writes that file.
    """

    __slots__ = ("apart", "body", "folder", "length", "name", "where", "writing")

    def __init__(self, folder: Folder, writing: Writing, where: tuple[bytes, bytes]) -> None:
        record, files = writing.record, folder.files
        self.folder = folder
        self.writing = writing
        self.where = where
        self.name = files.new_name()
        self.apart = record.body is not None and not writing.body and record.size > files.inline
        self.body = files.new_name() if self.apart else writing.body
        self.length = 0  # bytes of the record

    def write(self) -> None:
        """Write the files, in a thread. Raises OSError."""
        files, record = self.folder.files, self.writing.record
        if self.apart:
            self.length = files.write_apart(self.name, self.body, record)
        else:
            self.length = files.write_record(self.name, record)

    def place(self) -> Place:
        """Return the place of the response, whose files are written."""
        stored, record = self.writing.stored, self.writing.record
        size = on_disk(self.length) + (on_disk(record.size) if self.body else 0)
        return Place(
            *self.where, stored.url, stored.tags, stored.groups, size + indexed(stored), self.name,
            self.body, stored.asked, stored.purged,
        )  # fmt: skip


def write_files(batch: list[FileJob]) -> list[Exception | None]:
    """Write the files of a batch, in a thread: all, or as many as take :data:`BATCH_SECONDS`.

    Return the error of each job, None for none."""
    found: list[Exception | None] = []
    until = time.monotonic() + BATCH_SECONDS
    for job in batch:
        try:
            job.write()
        except Exception as error:  # a job that fails fails alone
            found.append(error)
        else:
            found.append(None)
        if time.monotonic() > until:
            break
    return found


def link(entry: Entry, place: Place) -> None:
    """Link an entry in memory and its place in the folder."""
    entry.place = place
    place.shown = entry


def indexed(stored: Stored) -> int:
    """Return the bytes that a response counts for its place, besides the blocks of its files."""
    return PLACE + len(stored.url) + members_cost(stored)


def portions(places: Iterable[Place], limit: int) -> Iterator[list[Place]]:
    """Divide places to be added to a folder of ``limit`` bytes: a portion has one response per key,
    and takes at most a quarter of the limit unless it is a single one.
    """
    found: list[Place] = []
    keys: set[bytes] = set()
    size = 0
    for place in places:
        if found and (place.key in keys or size + place.bytes > limit // 4):
            yield found
            found, size = [], 0
            keys.clear()
        found.append(place)
        keys.add(place.key)
        size += place.bytes
    if found:
        yield found
