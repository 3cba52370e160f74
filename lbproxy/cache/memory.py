"""PURE. The memory store: stored responses with their bodies, within a bound of bytes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from lbproxy.cache.catalog import Catalog, Counts, Listed, origin_of
from lbproxy.cache.filebody import Body
from lbproxy.cache.key import Key
from lbproxy.cache.popular import Popular
from lbproxy.cache.purge import Purge
from lbproxy.cache.stored import Stored
from lbproxy.cache.sweep import Sweep

__all__ = ["OVERHEAD", "Body", "Counts", "Entry", "Memory", "Reading",
           "members_cost", "origin_of"]  # fmt: skip

OVERHEAD: Final = 2048
"""Overhead of an entry in bytes besides its key, head and body; ``tests/cache`` measures it."""

PER_FIELD: Final = 160
"""Overhead of one stored header field in bytes besides its text, which is stored twice: as a pair,
and as an encoded line.
"""

PER_MEMBER: Final = 512
"""Overhead of one tag or group of a response in bytes besides its text: sets that may be its
own.
"""


def size_of(body: Body) -> int:
    """Return the bytes of a body."""
    return len(body) if isinstance(body, bytes) else body.size


class Entry(Listed[Key]):
    """One stored response. ``body`` is complete.

    ``reading``: the clients that receive the body, None without any. ``place``: that of the same
    response in the folder store, None without one. ``ready``: ``stored`` prepared for hits
    (:class:`~lbproxy.cache.ready.ReadyHead`), None before the first.
    """

    __slots__ = ("body", "hits", "place", "reading", "ready", "stored")

    def __init__(self, key: Key, stored: Stored, body: Body) -> None:
        held = len(body) if isinstance(body, bytes) else 0
        super().__init__(key, stored.url, stored.tags, stored.groups, cost(key, stored, held))
        self.stored = stored
        self.body = body
        self.hits = 0
        self.reading: Reading | None = None
        self.place: Any = None
        self.ready: Any = None

    @property
    def size(self) -> int:
        """Size of the body in bytes."""
        return size_of(self.body)

    @property
    def in_use(self) -> bool:
        """True if a client receives the body, so that an eviction would free nothing."""
        return self.reading is not None and self.reading.readers > 0


class Reading:
    """The clients that receive one body. ``stored``: the store counts its ``bytes``."""

    __slots__ = ("bytes", "readers", "stored")

    def __init__(self, size: int, stored: bool) -> None:
        self.bytes = size
        self.readers = 0
        self.stored = stored


def cost(key: Key, stored: Stored, body: int) -> int:
    """Return the bytes that a response with ``body`` bytes of body takes in memory."""
    texts = len(stored.url)
    for part in key:
        texts += len(part)
    for name, value in stored.headers:
        texts += 2 * (len(name) + len(value)) + PER_FIELD
    for name, chosen in stored.selected:
        texts += len(name) + len(chosen or b"") + PER_FIELD
    return OVERHEAD + texts + members_cost(stored) + body


def members_cost(stored: Stored) -> int:
    """Return the bytes that the tags and groups of a response take in a catalog."""
    found = 0
    for names in (stored.tags, stored.groups):
        for name in names:
            found += len(name) + PER_MEMBER
    return found


class Memory(Catalog[Key, Entry]):
    """See :class:`Catalog`.  A new entry evicts others until it fits; one larger than the limit is
    refused. ``reserved``: bytes of bodies that are still coming in, or that were not stored and are
    still being sent. ``detached``: bytes of entries that are no longer stored, and are still being
    sent. All three together stay below the limit. ``popular``: those with the most hits.
    """

    def __init__(self, limit: int, variants: int = 64) -> None:
        super().__init__(limit, variants)
        self.reserved = 0
        self.detached = 0
        self.popular: Popular[Entry] = Popular()

    def discard(self, entry: Entry) -> bool:
        """See :class:`Catalog`."""
        if entry.place is not None and entry.place.shown is entry:
            entry.place.shown = None
        self.popular.forget(entry)
        known = super().discard(entry)
        if known and entry.reading is not None:
            self._detach(entry.reading)
        return known

    def begin_clear(self) -> Iterator[None]:
        """See :class:`Catalog`."""
        self.popular = Popular()
        return super().begin_clear()

    def _cleared(self, entry: Entry) -> None:
        """See :class:`Catalog`."""
        if entry.reading is not None and entry.reading.stored:
            self._detach(entry.reading)
        if entry.place is not None and entry.place.shown is entry:
            entry.place.shown = None

    def use(self, entry: Entry) -> None:
        """Note that ``entry`` answered a request."""
        entry.used = True
        entry.hits += 1
        if entry.hits >= self.popular.floor:
            self.popular.note(entry)

    def add(self, key: Key, stored: Stored, body: Body) -> Entry | None:
        """Store a response and replace the one with the same selection.

        Return None if it is too large, or if bodies being sent leave no room; the one that it
        should have replaced is removed nevertheless.
        """
        entry = Entry(key, stored, body)
        others = self.lookup(key)
        for other in list(others) if others else ():
            if other.stored.selected == stored.selected or len(self.lookup(key)) >= self.variants:
                self.discard(other)
        if entry.bytes > self.limit or not self._make_room(entry.bytes):
            self.counts.refused += 1
            return None
        self.insert(entry)
        self.counts.stored += 1
        return entry

    def replace(self, entry: Entry, stored: Stored) -> Entry | None:
        """Give the body of ``entry`` a refreshed head. Return None if the entry was removed
        meanwhile.
        """
        if entry not in self.lookup(entry.key):
            return None
        used, hits = entry.used, entry.hits
        # the readers of the body, which the new entry also has
        reading, entry.reading = entry.reading, None
        new = self.add(entry.key, stored, entry.body)
        self.discard(entry)  # still in the catalog if its selection changed
        if new is not None:
            new.used, new.hits, new.reading = used, hits, reading
            if hits >= self.popular.floor:
                self.popular.note(new)
        elif reading is not None:
            self._detach(reading)
        return new

    def reserve(self, size: int) -> bool:
        """Reserve ``size`` more bytes for a body that is being received; at most half of the limit.

        Return False if that is too much, or if bodies being sent leave no room.
        """
        if self.reserved + size > self.limit // 2 or not self._make_room(size):
            return False
        self.reserved += size
        return True

    def release(self, size: int) -> None:
        """Release reserved bytes."""
        self.reserved -= size

    def begin_reading(self, entry: Entry) -> Reading:
        """Count a client that receives the body of ``entry``, until :meth:`end_reading`."""
        reading = entry.reading
        if reading is None:
            stored = entry in self.lookup(entry.key)
            reading = entry.reading = Reading(entry.bytes, stored)
        reading.readers += 1
        if reading.readers == 1 and not reading.stored:
            self.detached += reading.bytes
        return reading

    def end_reading(self, reading: Reading) -> None:
        """Note that the client no longer needs the body."""
        reading.readers -= 1
        if not reading.readers and not reading.stored:
            self.detached -= reading.bytes

    def remove(self, entry: Entry) -> None:
        """Remove ``entry`` if it is still stored."""
        self.discard(entry)

    def resize(self, limit: int) -> None:
        """Change the limit, and evict down to it."""
        self.limit = limit
        self._make_room(0)

    def sweep(self, purge: Purge, soft: bool = False) -> Sweep[Key, Entry]:
        """Start to remove the entries that ``purge`` names, or to make them stale if ``soft``.

        Entries that are also in the folder store are not counted.
        """

        def purged(entry: Entry) -> bool:
            self.counts.purged += 1
            if soft:
                entry.stored = entry.stored.softly_purged()
            else:
                self.discard(entry)
            return entry.place is None

        return Sweep(self, purge, purged)

    def _make_room(self, size: int) -> bool:
        """Evict entries that are not being read until ``size`` more bytes fit. Return whether they
        do.
        """
        spared = 0
        while self.bytes + self.reserved + self.detached + size > self.limit:
            entry = self.victim()
            if entry is None or spared > len(self):
                return False
            if entry.in_use:
                entry.used = True  # the hand skips it
                spared += 1
                continue
            self.discard(entry)
            self.counts.evicted += 1
        return True

    def _detach(self, reading: Reading) -> None:
        reading.stored = False
        if reading.readers:
            self.detached += reading.bytes
