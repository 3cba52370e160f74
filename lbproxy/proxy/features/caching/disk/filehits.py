"""DATA. Hits of responses whose heads memory no longer has, from files.

A record in the page cache is read from an open file without a thread, verified at first use, and
only the part that a hit needs is decoded (:mod:`lbproxy.cache.readyrecord`). What is not certain is
left to :class:`~lbproxy.proxy.features.caching.disk.loader.FolderLoader`, which verifies files in
threads and reports damage.
"""

from __future__ import annotations

from typing import Any, Final

from lbproxy.cache.codec import DamagedError
from lbproxy.cache.key import Key
from lbproxy.cache.keybytes import digest_of_bytes, key_bytes, selection_digest
from lbproxy.cache.memory import Memory
from lbproxy.cache.ready import chosen_entry
from lbproxy.cache.readyrecord import DIGEST, ReadyRecord, is_whole, load_ready
from lbproxy.http.message import RequestHead
from lbproxy.proxy.features.caching.disk.entries import Place
from lbproxy.proxy.features.caching.disk.openfile import OpenFile
from lbproxy.proxy.features.caching.disk.openfiles import LARGEST, OpenFiles
from lbproxy.proxy.features.caching.disk.slot import FolderSlot

__all__ = ["PROMOTE", "FileHit", "FileHits"]

PROMOTE: Final = 256
"""Number of hits from files after which a response is copied to memory."""

PROMOTE_EARLY: Final = 4
"""The same while memory has room: a sixteenth of its limit."""


class FileHit:
    """A response in files: its prepared head ``ready``, and its ``place`` in the folder."""

    __slots__ = ("_files", "_record", "place", "ready")

    def __init__(self, place: Place, record: ReadyRecord, files: OpenFiles) -> None:
        self.place = place
        self.ready = record.ready
        self._record = record
        self._files = files

    def body(self) -> bytes | OpenFile | None:
        """Return the body, or its open file if it is large (the caller closes it); None if it must
        be verified first, or is not in the page cache.
        """
        record, place = self._record, self.place
        if not record.apart:
            return record.body()
        stamp = place.body_stamp
        if stamp is None:
            return None
        try:
            if record.size > LARGEST:
                return self._files.share(place.body, stamp)
            return self._files.read(place.body, stamp)
        except (OSError, DamagedError):
            place.body_stamp = None
            return None


class FileHits:
    """The responses in the folder of ``slot``. ``memory``: the store of those with a head in
    memory. ``writing``: the digests of keys and selections of what is being written.
    """

    def __init__(
        self, slot: FolderSlot, writing: dict[tuple[bytes, bytes], Any], memory: Memory
    ) -> None:
        self._slot = slot
        self._writing = writing
        self._memory = memory

    def find(self, key: Key, head: RequestHead) -> Any:
        """Return the response of ``key`` that ``head`` selects, the most recent of several: an
        entry of memory or a :class:`FileHit`; None if there is none, or if a thread must read one.

        Changes of other processes are applied before. A response that is due to be copied to memory
        is left to the loader.
        """
        folder = self._slot.folder
        if folder is None or not self._slot.sync():
            return None
        entries = self._memory.lookup(key)
        place: Place | None = entries[0].place if entries else None
        data = b"" if place is not None else key_bytes(key)
        best: Any = chosen_entry(entries, head) if entries else None
        latest: float = 0.0 if best is None else best.ready.received
        for one in folder.lookup(digest_of_bytes(data) if place is None else place.key):
            if one.shown is not None or (one.key, one.selected) in self._writing:
                continue
            if one.purged or self._due(one):
                return None
            record = _read(folder.open_files, one, data or key_bytes(key))
            if record is None:
                return None
            ready = record.ready
            if ready.selected_by(head) and (best is None or ready.received >= latest):
                best, latest = FileHit(one, record, folder.open_files), ready.received
        return best

    def _due(self, place: Place) -> bool:
        """Return whether a response has had enough hits to be copied to memory."""
        hits = place.hits
        if not hits or hits % PROMOTE_EARLY:
            return False
        memory = self._memory
        return not hits % PROMOTE or memory.bytes + (memory.limit >> 4) < memory.limit


def _read(files: OpenFiles, place: Place, key: bytes) -> ReadyRecord | None:
    """Return the verified record of ``place`` if it can be read at once."""
    stamp = place.record_stamp
    try:
        if stamp is None:
            return _verified(files, place, key)
        data = files.read(place.record, stamp, "r")
    except (OSError, DamagedError):
        place.record_stamp = None
        return None
    return None if data is None else load_ready(data, key)


def _verified(files: OpenFiles, place: Place, key: bytes) -> ReadyRecord | None:
    """Return the record of ``place`` after verifying it; None if it is damaged.

    Raises OSError, or DamagedError if it was changed meanwhile."""
    data, stamp = files.read_new(place.record)
    if data is None or len(data) < DIGEST or not is_whole(data):
        return None
    found = load_ready(data, key)
    if found is None or found.asked != place.asked:
        return None
    if selection_digest(found.ready.selected) != place.selected:
        return None
    place.record_stamp = stamp
    return found
