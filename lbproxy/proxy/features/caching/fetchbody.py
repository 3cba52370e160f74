"""DATA. The body of a fetch: in memory or in the file that it is stored in, until all have it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from lbproxy.cache.memory import Entry, Reading
from lbproxy.cache.storing import Refusal
from lbproxy.proxy.features.caching.cache import Cache
from lbproxy.proxy.features.caching.chunks import PER_CHUNK, SpooledChunks, StoredChunks
from lbproxy.proxy.features.caching.disk.spool import Spool
from lbproxy.proxy.features.caching.fetchstate import NO_ROOM, TOO_LARGE, Waiting
from lbproxy.proxy.features.caching.holds import Hold
from lbproxy.proxy.http.traffic import HTTPTraffic

__all__ = ["FetchBody"]


SPOOLED: Final = 256 * 1024
"""Bytes of a body beyond which it goes to a file while it comes in."""


class Spooling(Protocol):
    """The fetch whose body goes to a file."""

    def spool_begins(self) -> None:
        """The body is large."""

    def spool_wrote(self) -> None:
        """A part of it is in the file."""

    def spool_failed(self) -> None:
        """The disk has failed or is full."""


class FetchBody:
    """The chunks of a body.  They count as memory of the cache while they are held.

    ``chunks``: those that some reader may still need; ``dropped``: the number of those before them.
    ``size``: bytes that have come in; ``waiting``: those that are in memory. ``spool``: the file
    that a large body goes to.
    """

    def __init__(self, cache: Cache[Any]) -> None:
        self.chunks: Sequence[bytes] = []
        self.dropped = 0
        self.size = 0
        self.waiting = 0
        self.spool: Spool | None = None
        self._cache = cache
        self._reserved = 0
        self._reading: Reading | None = None  # of the stored body, while readers take it
        self._hold: Hold | None = None

    def add(self, data: bytes) -> None:
        """Add a chunk."""
        assert isinstance(self.chunks, list | SpooledChunks)
        self.chunks.append(data)
        self.size += len(data)
        self.waiting += len(data)

    def keep(self, data: bytes, fetch: Spooling) -> Refusal | None:
        """Let ``data`` go to a file, or set memory aside for it; return why it cannot be stored."""
        size = len(data) + PER_CHUNK
        if self.size > self._cache.policy.max_object:
            return TOO_LARGE
        if self.spool is not None:
            self.spool.write(data)
        elif self.size > SPOOLED and self._cache.store.spools:
            self._begin_spool(fetch)
        elif self._cache.reserve(size):
            self._reserved += size
        elif self._cache.store.spools:
            self._begin_spool(fetch)
        else:
            return NO_ROOM
        return None

    def _begin_spool(self, fetch: Spooling) -> None:
        def wrote(offset: int, size: int, check: int) -> None:
            if isinstance(self.chunks, SpooledChunks):
                self.waiting -= self.chunks.wrote(offset, size, check)
                fetch.spool_wrote()

        fetch.spool_begins()
        spool = self._cache.store.spool(wrote, fetch.spool_failed)
        before = self.chunks
        self.spool, self.chunks = spool, SpooledChunks(spool, before)
        self._reserve_at_most(0)
        for chunk in before:
            spool.write(chunk)

    # -- memory ---------------------------------------------------------------------------------

    def hold(self, readers: list[Waiting], traffic: HTTPTraffic, cut: Callable[[], None]) -> None:
        """From now on the readers decide when the chunks go; ``cut()`` fails them if others need
        the memory.
        """
        if self._hold is None and readers:
            self._hold = Hold(traffic, cut)
            self._cache.holds.add(self._hold)
        self.drop_taken(readers)

    def drop_taken(self, readers: list[Waiting]) -> None:
        """Drop the chunks that all readers have, and free their memory."""
        taken = min((reader.position for reader in readers), default=0) - self.dropped
        if taken > 0 and isinstance(self.chunks, SpooledChunks):
            self.waiting -= self.chunks.drop(taken)
            self.dropped += taken
        elif taken > 0 and isinstance(self.chunks, list):
            self.waiting -= sum(map(len, self.chunks[:taken]))
            del self.chunks[:taken]
            self.dropped += taken
        if self._reserved:
            self._reserve_at_most(self.waiting + PER_CHUNK * len(self.chunks))

    def _reserve_at_most(self, size: int) -> None:
        if self._reserved > size:
            self._cache.memory.release(self._reserved - size)
            self._reserved = size

    def store(self, store: Callable[[bytes], Entry | None]) -> None:
        """Let ``store`` take the whole body, and readers that are behind take the rest from it."""
        chunks = self.chunks
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        kept = self._reserved
        self._reserve_at_most(0)
        entry = store(body)
        if entry is None:
            self._cache.memory.reserved += kept  # the readers still have to take it
            self._reserved = kept
        else:
            assert isinstance(entry.body, bytes)
            self.chunks = StoredChunks(entry.body, chunks)
            self._reading = self._cache.memory.begin_reading(entry)

    def free(self) -> None:
        """Release the chunks and their memory: there is no reader."""
        self._reserve_at_most(0)
        self.chunks, self.waiting = [], 0
        if self.spool is not None:
            self.spool.close()
            self.spool = None
        if self._reading is not None:
            self._cache.memory.end_reading(self._reading)
            self._reading = None
        if self._hold is not None:
            self._cache.holds.remove(self._hold)
            self._hold = None
