"""PURE. An index of stored responses by key, URL, tag and group, within a bound of bytes.

The memory store keeps entries with their bodies in it, the folder store entries with the names of
their files.

A purge of many entries takes effect at once, and removes them gradually: see
:mod:`lbproxy.cache.sweep`.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Any, Final, Generic, TypeVar

from lbproxy.cache.sieve import Node, Sieve
from lbproxy.compiled import native

__all__ = ["Catalog", "Counts", "Listed", "origin_of", "path_group"]

A = TypeVar("A")
B = TypeVar("B")
KeyT = TypeVar("KeyT", bound=Hashable)


@native(allow_interpreted_subclasses=True)
class Listed(Node, Generic[KeyT]):
    """An entry of a :class:`Catalog`. ``bytes``: its size, overhead included.

    ``epoch``: later sweeps do not affect it; 0 before it is in a catalog.
    """

    __slots__ = ("bytes", "epoch", "groups", "key", "tags", "url")

    def __init__(
        self,
        key: KeyT,
        url: bytes,
        tags: frozenset[bytes],
        groups: frozenset[bytes],
        size: int,
    ) -> None:
        super().__init__()
        self.key = key
        self.url = url
        self.tags = tags
        self.groups = groups
        self.bytes = size
        self.epoch = 0


class Counts:
    """Counters of a store since the start."""

    __slots__ = ("evicted", "purged", "refused", "stored")

    def __init__(self) -> None:
        self.stored = 0
        self.evicted = 0
        self.purged = 0
        self.refused = 0


EntryT = TypeVar("EntryT", bound="Listed[Any]")


@native(allow_interpreted_subclasses=True)
class Catalog(Generic[KeyT, EntryT]):
    """Entries by key; each key has up to ``variants`` of them, selected by Vary.

    ``limit``: bytes of all entries, overhead included. ``sweeps``: those that are not complete
    (:class:`~lbproxy.cache.sweep.Sweep`).
    """

    def __init__(self, limit: int, variants: int = 64) -> None:
        self.limit = limit
        self.variants = variants
        self.bytes = 0
        self.counts = Counts()
        self.epoch = 1
        self.sweeps: list[Any] = []
        self._keys: dict[KeyT, list[EntryT]] = {}
        self._urls: dict[bytes, set[KeyT]] = {}
        self._tags: dict[bytes, set[EntryT]] = {}
        self._groups: dict[tuple[bytes, bytes], set[EntryT]] = {}
        self._order: Sieve[EntryT] = Sieve()

    def __len__(self) -> int:
        return self._order.count

    def __iter__(self) -> Iterator[EntryT]:
        for entries in self._keys.values():
            yield from entries

    def lookup(self, key: KeyT) -> list[EntryT]:
        """Return the variants of ``key``. Callers must not change the list."""
        if self.sweeps:
            for entry in list(self._keys.get(key, _NONE)):
                self.settle(entry)
        return self._keys.get(key, _NONE)

    def by_url(self, url: bytes) -> list[EntryT]:
        """Return the entries of a public URL: all backends, keys and variants."""
        keys = list(self._urls.get(url, ()))
        return [entry for key in keys for entry in self.lookup(key) if entry.url == url]

    def of_url(self, url: bytes) -> list[EntryT]:
        """Return the entries of a public URL, and those of its path that may answer it by
        No-Vary-Search.
        """
        found = self.by_url(url)
        others = self.by_group(origin_of(url), path_group(url))
        return [*found, *(entry for entry in others if entry.url != url)]

    def by_tag(self, tag: bytes) -> list[EntryT]:
        """Return the entries of a public URL, and those of its path that No-Vary-Search may select
        for it.
        """
        return list(self._tags.get(tag, ()))

    def by_group(self, origin: bytes, group: bytes) -> list[EntryT]:
        """Return the entries of a cache group of an origin (``scheme://host``)."""
        return list(self._groups.get((origin, group), ()))

    def walk(self, oldest_first: bool = False) -> Iterator[EntryT]:
        """Yield the entries. Others may be added and removed meanwhile (see :meth:`Sieve.walk`)."""
        return self._order.walk(oldest_first)

    def has(self, entry: EntryT) -> bool:
        """Return whether the catalog contains an entry."""
        return entry in self._keys.get(entry.key, _NONE)

    def settle(self, entry: EntryT) -> None:
        """Purge ``entry`` if an incomplete sweep affects it."""
        for sweep in self.sweeps:
            if entry.epoch <= sweep.epoch and self.has(entry):
                sweep.meet(entry)
        entry.epoch = self.epoch

    def insert(self, entry: EntryT) -> None:
        """Add an entry, or one that was removed a moment ago. The caller has made room."""
        self._keys.setdefault(entry.key, []).append(entry)
        self._urls.setdefault(entry.url, set()).add(entry.key)
        for tag in entry.tags:
            self._tags.setdefault(tag, set()).add(entry)
        for group in entry.groups:
            self._groups.setdefault((origin_of(entry.url), group), set()).add(entry)
        self._order.add(entry)
        self.bytes += entry.bytes
        if not entry.epoch:
            entry.epoch = self.epoch
        elif self.sweeps:
            self.settle(entry)  # the sweeps may have passed its new place

    def discard(self, entry: EntryT) -> bool:
        """Remove an entry. Return False if it was not in the catalog."""
        key: KeyT = entry.key
        entries = self._keys.get(key, _NONE)
        if entry not in entries:
            return False
        entries.remove(entry)
        if not entries:
            del self._keys[key]
        if not any(other.url == entry.url for other in entries):
            _forget(self._urls, entry.url, key)
        for tag in entry.tags:
            _forget(self._tags, tag, entry)
        for group in entry.groups:
            _forget(self._groups, (origin_of(entry.url), group), entry)
        self._order.remove(entry)
        self.bytes -= entry.bytes
        return True

    def clear(self) -> None:
        """Remove all entries at once, and free them."""
        for _ in self.begin_clear():
            pass

    def begin_clear(self) -> Iterator[None]:
        """Remove all entries at once. The steps of the result free them.

        Freeing 100,000 entries takes too long for one turn of the reactor.
        """
        freeing = self._free(self._keys, (self._urls, self._tags, self._groups), self._order)
        self.bytes = 0
        self._keys, self._urls, self._tags, self._groups = {}, {}, {}, {}
        self._order = Sieve()
        self.sweeps.clear()
        return freeing

    def _free(
        self,
        keys: dict[KeyT, list[EntryT]],
        indexes: tuple[dict[Any, set[Any]], ...],
        order: Sieve[EntryT],
    ) -> Iterator[None]:
        """Free the removed objects, some in each step."""
        while keys:
            for entry in keys.popitem()[1]:
                self._cleared(entry)
                order.remove(entry)
            yield
        for index in indexes:
            while index:
                members = index.popitem()[1]
                while members:  # a tag may contain all entries
                    members.pop()
                    yield

    def _cleared(self, entry: EntryT) -> None:
        """Free an entry that :meth:`begin_clear` has removed."""

    def victim(self) -> EntryT | None:
        """Return the entry to evict next, or None."""
        return self._order.victim()


_NONE: Final[list[Any]] = []


def origin_of(url: bytes) -> bytes:
    """Return ``scheme://host`` of a URL."""
    return b"/".join(url.split(b"/", 3)[:3])


def path_group(url: bytes) -> bytes:
    """Return the cache group of the responses of a path that do not depend on its query.

    A purge of one URL also purges it, because it is unknown which of them was stored. A response
    cannot contain this name, because strings of structured fields have no control characters.
    """
    path = url.partition(b"?")[0].split(b"/", 3)
    return b"\x00search /" + (path[3] if len(path) > 3 else b"")


def _forget(index: dict[A, set[B]], name: A, member: B) -> None:
    members = index[name]
    members.discard(member)
    if not members:
        del index[name]
