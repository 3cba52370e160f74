"""DATA. Hits of responses whose heads memory no longer has, from files.

A record in the page cache is read from an open file without a thread, verified at first use, and
only the part that a hit needs is decoded (:mod:`lbproxy.cache.readyrecord`). What is not certain is
left to :class:`~lbproxy.proxy.features.caching.disk.loader.FolderLoader`, which verifies files in
threads and reports damage.
"""

from __future__ import annotations

from typing import Any, Final

from mypy_extensions import i64

from lbproxy.cache.choosing import chosen_entry
from lbproxy.cache.codec import DamagedError
from lbproxy.cache.key import Key
from lbproxy.cache.keybytes import key_digest, selection_digest
from lbproxy.cache.memory import Entry, Memory
from lbproxy.cache.readyrecord import DIGEST, ReadyRecord, is_whole, load_ready
from lbproxy.http.message import RequestHead
from lbproxy.proxy.features.caching.disk.entries import Place
from lbproxy.proxy.features.caching.disk.openfile import OpenFile
from lbproxy.proxy.features.caching.disk.openfiles import LARGEST, OpenFiles
from lbproxy.proxy.features.caching.disk.slot import FolderSlot

__all__ = ["CHECK_RECORD", "CHECK_SEALED", "PROMOTE", "SEALED", "FileHit", "FileHits"]

PROMOTE: Final = 1024
"""Number of hits from files after which a response is copied to memory and evicts another. The copy
costs as much as 25 hits from files.
"""

PROMOTE_EARLY: Final = 4
"""The same while memory has room: a sixteenth of its limit."""

CHECK_RECORD: Final = 4
"""Number of hits of a body in a file of its own after which its record is compared. Each hit uses
the head that was verified before; a check costs 5 % of a hit.
"""

SEALED: Final = 2048
"""Size in bytes of the largest body that is compared by its hash instead of its file: hashing it
takes half as long as ``fstat``.
"""

CHECK_SEALED: Final = 8
"""Number of hits of such a body after which its file is compared as well."""


class FileHit:
    """A response in files.

    ``ready``: its prepared head. ``place``: in the folder; ``places``: those of all variants of its
    key. ``record``: without the body. ``file``: the open file of the record.
    """

    __slots__ = ("_seal", "file", "place", "places", "ready", "record")

    def __init__(
        self, place: Place, places: list[Place], record: ReadyRecord, file: OpenFile
    ) -> None:
        self.place = place
        self.places = places
        self.ready = record.ready
        self.record = record
        self.file = file
        self._seal: i64 = 0

    def is_of(self, key: Key) -> bool:
        """Return whether this is a response of ``key`` whose record is still verified."""
        return self.place.record_stamp is not None and self.record.key == key

    def is_only(self) -> bool:
        """Return whether this is the only response of its key, and may be used."""
        places, place = self.places, self.place
        if len(places) != 1 or places[0] is not place:
            return False
        return place.shown is None and not place.purged and place.record_stamp is not None

    def inline_body(self) -> bytes | None:
        """Return the body that follows the head in the record; see :meth:`FileHits.body_of`.

        A small one is sealed with its hash (SipHash with a key of this process) when the file is
        known to be unchanged. Later reads with the same hash are the same bytes.
        """
        file, at, size = self.file, self.record.body_at, self.record.size
        if self._seal and self.place.hits % CHECK_SEALED:
            found = file.unchecked(at, size)
            if found is not None and i64(hash(found)) == self._seal:
                return found
        try:
            body = file.part(at, size)
        except DamagedError:
            self.place.record_stamp = None
            return None
        if body is not None and size <= SEALED:
            self._seal = i64(hash(body))
        return body


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
        files = folder.open_files
        known: FileHit | None = files.known(key)
        if known is not None and not entries and not folder.catalog.sweeps and known.is_only():
            place = known.place
            if not (self._writing and (place.key, place.selected) in self._writing):
                known.file.used = True
                due = self._due(place)
                return known if not due and known.ready.selected_by(head) else None
        first: Place | None = entries[0].place if entries else None
        if first is None and known is not None:
            first = known.place
        places = folder.lookup(key_digest(key) if first is None else first.key)
        return self._chosen(files, places, key, entries, head)

    def _chosen(
        self,
        files: OpenFiles,
        places: list[Place],
        key: Key,
        entries: list[Entry],
        head: RequestHead,
    ) -> Any:
        best: Any = chosen_entry(entries, head) if entries else None
        latest: float = 0.0 if best is None else best.ready.received
        for one in places:
            if one.shown is not None or (one.key, one.selected) in self._writing:
                continue
            if one.purged or self._due(one):
                return None
            hit = _hit(files, one, places, key)
            if hit is None:
                return None
            ready = hit.ready
            if ready.selected_by(head) and (best is None or ready.received >= latest):
                best, latest = hit, ready.received
        return best

    def _due(self, place: Place) -> bool:
        """Return whether a response has had enough hits to be copied to memory."""
        hits = place.hits
        if not hits or hits % PROMOTE_EARLY:
            return False
        memory = self._memory
        return not hits % PROMOTE or memory.bytes + (memory.limit >> 4) < memory.limit

    def body_of(self, hit: FileHit) -> bytes | OpenFile | None:
        """Return the body, or its open file if it is large (the caller closes it); None if it must
        be verified first, or is not in the page cache.
        """
        if not hit.record.apart:
            return hit.inline_body()
        folder, place = self._slot.folder, hit.place
        stamp = place.body_stamp
        if stamp is None or folder is None:
            return None
        if not place.hits % CHECK_RECORD:
            try:
                same = hit.file.is_unchanged()
            except OSError:  # it has just been closed
                return None
            if not same:
                place.record_stamp = None
                return None
        try:
            if hit.record.size > LARGEST:
                return folder.open_files.share(place.body, stamp)
            return folder.open_files.read(place.body, stamp)
        except (OSError, DamagedError):
            place.body_stamp = None
            return None


def _hit(files: OpenFiles, place: Place, places: list[Place], key: Key) -> FileHit | None:
    """Return the response of ``place`` if its head is kept, or its record can be read at once."""
    kept: FileHit | None = files.kept(place.record)
    if kept is not None and kept.is_of(key):
        return kept
    stamp = place.record_stamp
    try:
        file = files.open_record(place.record, stamp)
        data = file.whole()
    except (OSError, DamagedError):
        place.record_stamp = None
        return None
    if data is None:
        return None
    if stamp is None and (len(data) < DIGEST or not is_whole(data)):
        return None
    record = load_ready(data, key)
    if record is None or record.asked != place.asked:
        return None
    if stamp is None and selection_digest(record.ready.selected) != place.selected:
        return None
    place.record_stamp = file.stamp
    hit = FileHit(place, places, record, file)
    files.keep(place.record, hit, key, record.cost)
    return hit
