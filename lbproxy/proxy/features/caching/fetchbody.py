"""DATA. The body of a fetch, in memory or in its stored file, until all readers have it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from lbproxy.cache.memory import Entry, Memory, Reading
from lbproxy.cache.storing import Refusal
from lbproxy.proxy.features.caching.chunks import PER_CHUNK, SpooledChunks, StoredChunks
from lbproxy.proxy.features.caching.disk.spool import Spool
from lbproxy.proxy.features.caching.fetchstate import NO_ROOM, TOO_LARGE, Spooling, Waiting
from lbproxy.proxy.features.caching.holds import Hold
from lbproxy.proxy.http.traffic import HTTPTraffic

__all__ = ["FetchBody"]


SPOOLED: Final = 256 * 1024
"""Size in bytes above which a body is written to a file while it is received."""


class FetchBody:
    """The chunks of a body. They count as memory of the cache while they are held.

    ``chunks``: chunks that a reader may still need. ``dropped``: number of chunks before them.
    ``size``: number of bytes received. ``waiting``: number of those in memory. ``spool``: the file
    of a large body.
    """

    def __init__(self, cache: Any) -> None:
        self.chunks: Any = []  # a sequence of bytes
        self.dropped = 0
        self.size = 0
        self.waiting = 0
        self.spool: Spool | None = None
        self._cache = cache
        self._memory: Memory = cache.memory
        self._reserved = 0
        self._entry: Entry | None = None  # the entry that has the body, until :meth:`settle`
        self._reading: Reading | None = None  # a hold on the stored body while readers take it
        self._hold: Hold | None = None

    def add(self, data: bytes) -> None:
        """Add a chunk."""
        self.chunks.append(data)
        self.size += len(data)
        self.waiting += len(data)

    def keep(self, data: bytes, fetch: Spooling) -> Refusal | None:
        """Write ``data`` to a file, or reserve memory for it; return why it cannot be stored."""
        size = len(data) + PER_CHUNK
        if self.size > self._cache.policy.max_object:
            return TOO_LARGE
        if self.spool is not None:
            self.spool.write(data)
        elif self.size > SPOOLED and self._cache.store.spools:
            self._begin_spool(fetch)
        elif self._memory.reserve(size) or self._cache.reserve(size):
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

    def report(self, error: Exception) -> None:
        """Log that the file of the body was changed."""
        folder = self._cache.store.folder
        if folder is not None and self.spool is not None:
            folder.failed("has a damaged file", error, f"{self.spool.name:016x}.b")

    # -- memory ---------------------------------------------------------------------------------

    def hold(self, readers: list[Waiting], traffic: HTTPTraffic, cut: Callable[[], None]) -> None:
        """From now on, keep the chunks until the readers have them. ``cut()`` fails the readers if
        other requests need the memory.
        """
        if self._hold is None and readers:
            self._hold = Hold(traffic, cut)
            self._cache.holds.add(self._hold)
        self.drop_taken(readers)

    def drop_taken(self, readers: list[Waiting]) -> None:
        """Drop the chunks that all readers have, and free their memory."""
        if self._entry is not None:
            return  # the store owns the memory
        taken = _least_position(readers) - self.dropped
        if taken > 0 and type(self.chunks) is list:
            for chunk in self.chunks[:taken]:
                self.waiting -= len(chunk)
            del self.chunks[:taken]
            self.dropped += taken
        elif taken > 0 and isinstance(self.chunks, SpooledChunks):
            self.waiting -= self.chunks.drop(taken)
            self.dropped += taken
        if self._reserved:
            self._reserve_at_most(self.waiting + PER_CHUNK * len(self.chunks))

    def _reserve_at_most(self, size: int) -> None:
        if self._reserved > size:
            self._memory.release(self._reserved - size)
            self._reserved = size

    # -- stored ---------------------------------------------------------------------------------

    def whole(self) -> bytes:
        """Return the body, which must be complete and in memory."""
        chunks = self.chunks
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def release(self) -> int:
        """End the reservation of memory because the store takes the body; return its size."""
        kept = self._reserved
        self._reserve_at_most(0)
        return kept

    def stored_in(self, entry: Entry | None, kept: int) -> None:
        """Use the body of ``entry``. None: the body is not stored, and ``kept`` bytes stay reserved
        for the readers that have not taken it yet.
        """
        if entry is None:
            self._memory.reserved += kept
            self._reserved = kept
        else:
            self._entry = entry

    def settle(self) -> None:
        """Let readers that are behind take the rest of a stored body from its entry."""
        entry, self._entry = self._entry, None
        if entry is not None:
            assert isinstance(entry.body, bytes)
            self.chunks = StoredChunks(entry.body, self.chunks)
            self._reading = self._memory.begin_reading(entry)

    def free(self) -> None:
        """Release the chunks and their memory, because no reader is left."""
        if self._reserved:
            self._reserve_at_most(0)
        self.chunks, self.waiting = [], 0
        self._entry = None
        if self.spool is not None:
            self.spool.close()
            self.spool = None
        if self._reading is not None:
            self._memory.end_reading(self._reading)
            self._reading = None
        if self._hold is not None:
            self._cache.holds.remove(self._hold)
            self._hold = None


def _least_position(readers: list[Waiting]) -> int:
    """Return the number of chunks that all readers have taken; 0 without readers."""
    least = -1
    for reader in readers:
        position = reader.position
        if least < 0 or position < least:
            least = position
    return max(least, 0)
