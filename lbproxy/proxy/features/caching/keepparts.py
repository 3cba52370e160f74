"""DATA. Stores new parts of a response beside existing ones.

Small parts are merged into one body at once. Other parts stay separate bodies.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from lbproxy.cache.key import Key
from lbproxy.cache.memory import Entry
from lbproxy.cache.parts import (
    MOST_PARTS,
    combines,
    completed,
    is_part,
    is_superseded,
    merged,
    replaced_by,
    whole,
)
from lbproxy.cache.stored import Stored

if TYPE_CHECKING:
    from lbproxy.proxy.features.caching.disk.spool import Spool
    from lbproxy.proxy.features.caching.store import ResponseStore

__all__ = ["keep_part", "keep_part_file", "remove_other_parts"]

SMALL: Final = 256 * 1024
"""Size in bytes of the largest merged body."""


def keep_part(store: ResponseStore, key: Key, stored: Stored, body: bytes) -> Entry | None:
    """Store a received part. Return its entry, unless it is merged with others or not stored."""
    if stored.length != len(body) or _is_late(store, key, stored):
        return None
    known = _make_room(store, key, stored)
    head, joined = _joined(store, known, stored, body)
    entry = store.add(key, completed(head) or head, joined)
    return entry if joined is body else None


def keep_part_file(
    store: ResponseStore, key: Key, stored: Stored, spool: Spool, digest: bytes,
    done: Callable[[], None],
) -> None:  # fmt: skip
    """Store a part whose body is in a file; ``done()`` is called at the end."""
    if stored.length != spool.size or _is_late(store, key, stored):
        store.discard_spooled(spool)
        done()
        return
    _make_room(store, key, stored)
    store.add_spooled(key, completed(stored) or stored, spool, digest, done)


def remove_other_parts(store: ResponseStore, key: Key, stored: Stored) -> None:
    """Remove the responses of another representation than that of a part, which cannot be stored
    itself.
    """

    def loaded(known: list[Entry]) -> None:
        if _is_late(store, key, stored):
            return
        for entry in replaced_by(stored, known):
            if not is_part(entry.stored) or not combines(entry.stored, stored):
                store.remove(entry)

    known = store.select(key)
    if known is None:
        store.load(key, loaded)
    else:
        loaded(list(known))


def _is_late(store: ResponseStore, key: Key, stored: Stored) -> bool:
    """Return whether a later request has stored the whole response, the same part, or a part of
    another representation."""
    if store.has_later(key, stored) or store.has_later(key, whole(stored)):
        return True
    return is_superseded(stored, store.select(key) or (), store.latest)


def _make_room(store: ResponseStore, key: Key, stored: Stored) -> list[Entry]:
    """Remove what a new part replaces; return the other parts."""
    known = list(store.select(key) or ())
    most = min(MOST_PARTS, max(1, store.memory.variants // 2))
    for entry in replaced_by(stored, known, most):
        store.remove(entry)
        known.remove(entry)
    return [one for one in known if is_part(one.stored)]


def _joined(
    store: ResponseStore, known: list[Entry], stored: Stored, body: bytes
) -> tuple[Stored, bytes]:
    """Merge small stored parts with a new part, as long as one of them adjoins it."""
    left = [one for one in known if combines(one.stored, stored)]
    touched = True
    while touched:
        touched = False
        for entry in list(left):
            small = entry.size + len(body) <= SMALL
            before = store.read(entry) if small else None
            joined = None if before is None else merged(stored, body, entry.stored, before)
            if joined is not None:
                stored, body = joined
                store.remove(entry)
                left.remove(entry)
                touched = True
    return stored, body
