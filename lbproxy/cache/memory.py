"""PURE. The memory store: stored responses with their bodies, within a bound of bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeVar

from lbproxy.cache.key import Key
from lbproxy.cache.sieve import Node, Sieve
from lbproxy.cache.stored import Stored

__all__ = ["OVERHEAD", "Counts", "Entry", "Memory"]

OVERHEAD: Final = 2048
"""Bytes that an entry costs besides its key, head and body; ``tests/cache`` measures them."""

A = TypeVar("A")
B = TypeVar("B")

PER_FIELD: Final = 160
"""Bytes that one stored header field costs besides its text."""

PER_MEMBER: Final = 512
"""Bytes that one tag or group of a response costs besides its text: sets that may be its own."""


class Entry(Node):
    """One stored response.  ``body`` is complete.

    ``reading``: the clients that are being sent the body, None if there was none.
    """

    __slots__ = ("body", "bytes", "hits", "key", "reading", "stored")

    def __init__(self, key: Key, stored: Stored, body: bytes) -> None:
        super().__init__()
        self.key = key
        self.stored = stored
        self.body = body
        self.hits = 0
        self.reading: Reading | None = None
        self.bytes = cost(key, stored, len(body))

    @property
    def in_use(self) -> bool:
        """Whether a client is being sent the body, so that an eviction would free nothing."""
        return self.reading is not None and self.reading.readers > 0


class Reading:
    """The clients that are being sent one body.  ``stored``: the store counts its ``bytes``."""

    __slots__ = ("bytes", "readers", "stored")

    def __init__(self, size: int, stored: bool) -> None:
        self.bytes = size
        self.readers = 0
        self.stored = stored


def cost(key: Key, stored: Stored, body: int) -> int:
    """Return the bytes that a response with ``body`` bytes of body takes in memory."""
    texts = sum(map(len, key)) + len(stored.url)
    for name, value in stored.headers:
        texts += len(name) + len(value) + PER_FIELD
    for name, chosen in stored.selected:
        texts += len(name) + len(chosen or b"") + PER_FIELD
    for members in (stored.tags, stored.groups):
        texts += sum(map(len, members)) + PER_MEMBER * len(members)
    return OVERHEAD + texts + body


class Counts:
    """Counters of the store since the start."""

    __slots__ = ("evicted", "purged", "refused", "stored")

    def __init__(self) -> None:
        self.stored = 0
        self.evicted = 0
        self.purged = 0
        self.refused = 0


class Memory:
    """Entries by key; each key has up to ``variants`` of them, selected by Vary.

    ``limit``: bytes of all entries, overhead included. A new entry evicts others until it fits; one
    larger than the limit is refused. ``reserved``: bytes of bodies that are still coming in, or
    that were not stored and are still being sent. ``detached``: bytes of entries that are no longer
    stored, and are still being sent. All three together stay below the limit.
    """

    def __init__(self, limit: int, variants: int = 64) -> None:
        self.limit = limit
        self.variants = variants
        self.bytes = 0
        self.reserved = 0
        self.detached = 0
        self.counts = Counts()
        self._keys: dict[Key, list[Entry]] = {}
        self._urls: dict[bytes, set[Key]] = {}
        self._tags: dict[bytes, set[Entry]] = {}
        self._groups: dict[tuple[bytes, bytes], set[Entry]] = {}
        self._order: Sieve[Entry] = Sieve()

    def __len__(self) -> int:
        return self._order.count

    def __iter__(self) -> Iterator[Entry]:
        for entries in self._keys.values():
            yield from entries

    def lookup(self, key: Key) -> list[Entry]:
        """Return the variants of ``key``; nobody may change the list."""
        return self._keys.get(key, _NONE)

    def use(self, entry: Entry) -> None:
        """Note that ``entry`` served a request."""
        entry.used = True
        entry.hits += 1

    def add(self, key: Key, stored: Stored, body: bytes) -> Entry | None:
        """Store a response in place of the one with the same selection.

        Return None if it is too large, or the bodies that are being sent leave no room."""
        entry = Entry(key, stored, body)
        if entry.bytes > self.limit:
            self.counts.refused += 1
            return None
        for other in list(self.lookup(key)):
            if other.stored.selected == stored.selected or len(self.lookup(key)) >= self.variants:
                self._remove(other)
        if not self._make_room(entry.bytes):
            self.counts.refused += 1
            return None
        self._insert(entry)
        self.counts.stored += 1
        return entry

    def replace(self, entry: Entry, stored: Stored) -> Entry | None:
        """Give the body of ``entry`` a refreshed head.  None if the entry has gone meanwhile."""
        if entry not in self.lookup(entry.key):
            return None
        used, hits = entry.used, entry.hits
        reading, entry.reading = entry.reading, None  # of the body, which the new entry has, too
        new = self.add(entry.key, stored, entry.body)
        if entry in self.lookup(entry.key):
            self._remove(entry)  # its selection changed
        if new is not None:
            new.used, new.hits, new.reading = used, hits, reading
        elif reading is not None:
            self._detach(reading)
        return new

    def reserve(self, size: int) -> bool:
        """Set ``size`` more bytes aside for a body that is coming in; at most half of the limit.

        Return False if that is too much, or the bodies that are being sent leave no room."""
        if self.reserved + size > self.limit // 2 or not self._make_room(size):
            return False
        self.reserved += size
        return True

    def release(self, size: int) -> None:
        """Give back what was set aside."""
        self.reserved -= size

    def begin_reading(self, entry: Entry) -> Reading:
        """Count a client that is being sent the body of ``entry``, until :meth:`end_reading`."""
        reading = entry.reading
        if reading is None:
            stored = entry in self.lookup(entry.key)
            reading = entry.reading = Reading(entry.bytes, stored)
        reading.readers += 1
        if reading.readers == 1 and not reading.stored:
            self.detached += reading.bytes
        return reading

    def end_reading(self, reading: Reading) -> None:
        """The client needs the body no more."""
        reading.readers -= 1
        if not reading.readers and not reading.stored:
            self.detached -= reading.bytes

    def remove(self, entry: Entry) -> None:
        """Remove ``entry`` if it is still stored."""
        if entry in self.lookup(entry.key):
            self._remove(entry)

    def resize(self, limit: int) -> None:
        """Change the limit, and evict down to it."""
        self.limit = limit
        self._make_room(0)

    # -- purges ---------------------------------------------------------------------------------

    def purge(self, wanted: Iterable[Entry], soft: bool = False) -> int:
        """Remove entries, or make them stale if ``soft``; return how many."""
        found = list(wanted)
        for entry in found:
            if soft:
                entry.stored = entry.stored.softly_purged()
            else:
                self._remove(entry)
        self.counts.purged += len(found)
        return len(found)

    def by_url(self, url: bytes) -> list[Entry]:
        """Return the entries of a public URL: all backends, keys and variants."""
        return [entry for key in self._urls.get(url, ()) for entry in self._keys[key]]

    def by_tag(self, tag: bytes) -> list[Entry]:
        """Return the entries with ``tag``."""
        return list(self._tags.get(tag, ()))

    def by_group(self, origin: bytes, group: bytes) -> list[Entry]:
        """Return the entries of a cache group of an origin (``scheme://host``)."""
        return list(self._groups.get((origin, group), ()))

    def where(self, test: Callable[[bytes], bool]) -> list[Entry]:
        """Return the entries whose public URL passes ``test``."""
        return [entry for url in self._urls if test(url) for entry in self.by_url(url)]

    # -- bookkeeping ----------------------------------------------------------------------------

    def _make_room(self, size: int) -> bool:
        """Evict entries that nobody reads until ``size`` more bytes fit; whether they do."""
        spared = 0
        while self.bytes + self.reserved + self.detached + size > self.limit:
            entry = self._order.victim()
            if entry is None or spared > self._order.count:
                return False
            if entry.in_use:
                entry.used = True  # the hand passes it
                spared += 1
                continue
            self._remove(entry)
            self.counts.evicted += 1
        return True

    def _insert(self, entry: Entry) -> None:
        self._keys.setdefault(entry.key, []).append(entry)
        self._urls.setdefault(entry.stored.url, set()).add(entry.key)
        for tag in entry.stored.tags:
            self._tags.setdefault(tag, set()).add(entry)
        for group in entry.stored.groups:
            self._groups.setdefault((origin_of(entry.stored.url), group), set()).add(entry)
        self._order.add(entry)
        self.bytes += entry.bytes

    def _remove(self, entry: Entry) -> None:
        entries = self._keys[entry.key]
        entries.remove(entry)
        url = entry.stored.url
        if not entries:
            del self._keys[entry.key]
        if not any(other.stored.url == url for other in entries):
            _forget(self._urls, url, entry.key)
        for tag in entry.stored.tags:
            _forget(self._tags, tag, entry)
        for group in entry.stored.groups:
            _forget(self._groups, (origin_of(url), group), entry)
        self._order.remove(entry)
        self.bytes -= entry.bytes
        if entry.reading is not None:
            self._detach(entry.reading)

    def _detach(self, reading: Reading) -> None:
        reading.stored = False
        if reading.readers:
            self.detached += reading.bytes


_NONE: Final[list[Entry]] = []


def origin_of(url: bytes) -> bytes:
    """Return ``scheme://host`` of a URL."""
    return b"/".join(url.split(b"/", 3)[:3])


def _forget(index: dict[A, set[B]], name: A, member: B) -> None:
    members = index[name]
    members.discard(member)
    if not members:
        del index[name]
