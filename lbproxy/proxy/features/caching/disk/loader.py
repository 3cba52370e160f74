"""DATA. Loads responses from the folder of a store into memory, and verifies them."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from typing import Any, Final

from lbproxy.cache.codec import DamagedError, StoredRecord
from lbproxy.cache.key import Key
from lbproxy.cache.keybytes import key_digest, selection_digest
from lbproxy.cache.memory import Body, Entry, Memory
from lbproxy.proxy.features.caching.disk.entries import Place
from lbproxy.proxy.features.caching.disk.folder import Folder
from lbproxy.proxy.features.caching.disk.slot import FolderSlot
from lbproxy.proxy.features.caching.disk.writer import FolderWriter
from lbproxy.proxy.features.caching.disk.writing import link
from lbproxy.proxy.features.caching.jobs import Jobs

__all__ = ["MOST_JOBS", "DiskBody", "FolderLoader", "described"]

MOST_JOBS: Final = 1000
"""Maximum number of jobs that wait for the disk. Beyond it the disk hangs, so nothing is loaded."""

_SHORTAGE: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.EINTR})
"""Errors that do not indicate a problem with the file."""

_Read = tuple[Place, StoredRecord | None, Any]
"""A place, the contents of its files, and the stamps of both; or None, and the kind of the file
that failed with the reason.
"""


class DiskBody:
    """A body of ``size`` bytes in the file ``name``, which had ``stamp`` when it was verified.
    ``record``: without the body.
    """

    __slots__ = ("name", "record", "size", "stamp")

    def __init__(self, name: int, size: int, record: StoredRecord, stamp: Any) -> None:
        self.name = name
        self.size = size
        self.record = record
        self.stamp = stamp


class FolderLoader:
    """Reads and verifies the responses of a key in threads, once for all waiting requests."""

    def __init__(self, slot: FolderSlot, writer: FolderWriter, memory: Memory, jobs: Jobs) -> None:
        self._slot = slot
        self._writer = writer
        self._memory = memory
        self._jobs = jobs
        self._loading: dict[Key, list[Callable[[list[Entry]], None]]] = {}

    def needed(self, folder: Folder, key: Key, found: list[Entry]) -> bool:
        """Return whether the folder has responses of ``key`` that are not in memory, and the disk
        is not too busy to read them. ``found``: those in memory.
        """
        if len(self._jobs) > MOST_JOBS:
            return False
        place: Place | None = found[0].place if found else None  # a place has the digest of the key
        for one in folder.lookup(key_digest(key) if place is None else place.key):
            if one.shown is None and not self._writer.replaces(one):
                return True
        return False

    def load(self, key: Key, done: Callable[[list[Entry]], None]) -> None:
        """Call ``done`` with the verified stored responses of ``key``, now or later."""
        folder = self._slot.folder
        if folder is None:
            done(self._writer.entries(key))
            return
        waiting = self._loading.get(key)
        if waiting is not None and len(waiting) > MOST_JOBS:
            done(self._writer.entries(key))
            return
        if waiting is not None:
            waiting.append(done)
            return
        waiting = self._loading[key] = [done]
        places = self._unshown(folder.lookup(key_digest(key)))

        def read() -> list[_Read]:
            return [_read(folder, key, place) for place in places]

        def loaded(result: list[_Read] | Exception) -> None:
            found = [] if isinstance(result, Exception) else self._loaded(folder, key, result)
            known = [entry for entry in self._writer.entries(key) if entry not in found]
            del self._loading[key]
            for one in waiting:
                one(found + known)

        self._jobs.run(read, loaded)

    def _unshown(self, places: list[Place]) -> list[Place]:
        """Return the places whose responses are neither in memory nor being replaced."""
        return [one for one in places if one.shown is None and not self._writer.replaces(one)]

    def _loaded(self, folder: Folder, key: Key, result: list[_Read]) -> list[Entry]:
        if self._slot.folder is not folder or not self._slot.sync():
            return []
        present = self._unshown(folder.lookup(key_digest(key)))
        damaged = []
        for place, record, failed in result:
            if record is not None or place not in present:
                continue
            kind, why = failed
            name = folder.files.path(place.body if kind == "b" else place.record, kind).name
            if isinstance(why, OSError) and why.errno in _SHORTAGE:
                folder.failed("cannot open at present the file", why, name)
            else:
                folder.failed("has a damaged file", why, name)
                damaged.append(place)
        folder.drop(damaged)
        return [
            self._show(place, record, stamps)
            for place, record, stamps in result
            if record is not None and place in present
        ]

    def _show(self, place: Place, record: StoredRecord, stamps: tuple[Any, Any]) -> Entry:
        """Copy a response of the folder to memory."""
        place.record_stamp, place.body_stamp = stamps
        place.hits += 1
        made = _entry(place, record, place.body_stamp)
        entry = self._memory.add(record.key, made.stored, made.body)
        if entry is None:
            return made
        link(entry, place)
        return entry


def described(folder: Folder, places: list[Place]) -> Iterator[Entry]:
    """Yield the responses of ``places``, for display. This blocks; bodies are not verified."""
    for place in places:
        if place.shown is not None:
            yield place.shown
            continue
        try:
            record, _ = folder.files.read_record(place.record)
        except (OSError, DamagedError):
            continue
        yield _entry(place, record, None)


def _entry(place: Place, record: StoredRecord, stamp: Any) -> Entry:
    """Return the response of ``place``, without adding it to a store."""
    stored = record.stored.softly_purged() if place.purged else record.stored
    body: Body = record.body if record.body is not None else b""
    if place.body:
        body = DiskBody(place.body, record.size, record, stamp)
    entry = Entry(record.key, stored, body)
    entry.place = place
    return entry


def _read(folder: Folder, key: Key, place: Place) -> _Read:
    """Read and verify the files of a place."""
    kind = "r"
    try:
        record, stamp = folder.files.read_record(place.record)
        if record.key != key:
            raise DamagedError("it is of another key")
        if (
            record.stored.asked != place.asked
            or selection_digest(record.stored.selected) != place.selected
        ):
            raise DamagedError("it is another response of its key")
        body = None
        if place.body:
            kind = "b"
            body = folder.files.verify_body(place.body, place.body_stamp, record)
    except (OSError, DamagedError) as error:
        return place, None, (kind, error)
    return place, record, (stamp, body)
