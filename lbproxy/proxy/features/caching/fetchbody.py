"""DATA. The body of a fetch: in memory or in the file that it is stored in, until all have it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from lbproxy.cache.memory import Entry, Reading
from lbproxy.cache.storing import Refusal
from lbproxy.proxy.features.caching.cache import Cache
from lbproxy.proxy.features.caching.chunks import PER_CHUNK, SpooledChunks, StoredChunks
from lbproxy.proxy.features.caching.disk.spool import Spool
from lbproxy.proxy.features.caching.fetchstate import NO_ROOM, TOO_LARGE, Spooling, Waiting
from lbproxy.proxy.features.caching.holds import Hold
from lbproxy.proxy.http.traffic import HTTPTraffic

__all__ = ["FetchBody"]


SPOOLED: Final = 256 * 1024
"""Bytes of a body beyond which it goes to a file while it comes in."""


class FetchBody:
    """The chunks of a body.  They count as memory of the cache while they are held.

    ``chunks``: those that some reader may still need; ``dropped``: the number of those before them.
    ``size``: bytes that have come in; ``waiting``: those that are in memory. ``spool``: the file
    that a large body goes to.
    """

    def __init__(self, cache: Cache[Any]) -> None:
        self.chunks: Any = []  # a sequence of bytes
        self.dropped = 0
        self.size = 0
        self.waiting = 0
        self.spool: Spool | None = None
        self._cache = cache
        self._reserved = 0
        self._entry: Entry | None = None  # that has the body, until :meth:`settle`
        self._reading: Reading | None = None  # of the stored body, while readers take it
        self._hold: Hold | None = None

    def add(self, data: bytes) -> None:
        """Add a chunk."""
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
        if self._entry is not None:
            return  # the memory is that of the store
        taken = _least_position(readers) - self.dropped
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

    # -- stored ---------------------------------------------------------------------------------

    def whole(self) -> bytes:
        """Return the body, which is complete and in memory."""
        chunks = self.chunks
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def release(self) -> int:
        """Set no memory aside any longer, as the store takes the body; return how much it was."""
        kept = self._reserved
        self._reserve_at_most(0)
        return kept

    def stored_in(self, entry: Entry | None, kept: int) -> None:
        """The body is that of ``entry``; None: it is not stored, and ``kept`` bytes stay set aside
        for the readers that still have to take it.
        """
        if entry is None:
            self._cache.memory.reserved += kept
            self._reserved = kept
        else:
            self._entry = entry

    def settle(self) -> None:
        """Let readers that are behind take the rest of a stored body from its entry."""
        entry, self._entry = self._entry, None
        if entry is not None:
            assert isinstance(entry.body, bytes)
            self.chunks = StoredChunks(entry.body, self.chunks)
            self._reading = self._cache.memory.begin_reading(entry)

    def free(self) -> None:
        """Release the chunks and their memory: there is no reader."""
        if self._reserved:
            self._reserve_at_most(0)
        self.chunks, self.waiting = [], 0
        self._entry = None
        if self.spool is not None:
            self.spool.close()
            self.spool = None
        if self._reading is not None:
            self._cache.memory.end_reading(self._reading)
            self._reading = None
        if self._hold is not None:
            self._cache.holds.remove(self._hold)
            self._hold = None


def _least_position(readers: list[Waiting]) -> int:
    """Return how many chunks all readers have taken; 0 if there is no reader."""
    least = -1
    for reader in readers:
        position = reader.position
        if least < 0 or position < least:
            least = position
    return max(least, 0)
