"""DATA. The records of the journal: a stored response, a dropped response, or a purge."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, Final

from lbproxy.cache.catalog import Listed
from lbproxy.cache.purge import KINDS, Purge

__all__ = ["Dropped", "Entry", "Place", "Purged", "dump_entry", "load_entry"]

_STORED: Final = struct.Struct(">c16s8sQQQdB")
_DROPPED: Final = struct.Struct(">cQ")
_COUNT: Final = struct.Struct(">I")


class Place(Listed[bytes]):
    """A response in the folder.

    ``key``: digest of its key. ``selected``: digest of its selection. ``record`` and ``body``:
    names of its files; ``body`` is 0 if the record contains the body. ``asked``: when its request
    was sent. ``record_stamp`` and ``body_stamp``: of the files when this process verified them.
    ``hits``: number of hits from the files. ``shown``: the same response in the memory of this
    process.
    """

    __slots__ = (
        "asked",
        "body",
        "body_stamp",
        "hits",
        "purged",
        "record",
        "record_stamp",
        "selected",
        "shown",
    )

    def __init__(
        self,
        key: bytes,
        selected: bytes,
        url: bytes,
        tags: frozenset[bytes],
        groups: frozenset[bytes],
        size: int,
        record: int,
        body: int,
        asked: float,
        purged: bool = False,
    ) -> None:
        super().__init__(key, url, tags, groups, size)
        self.selected = selected
        self.record = record
        self.body = body
        self.asked = asked
        self.purged = purged
        self.record_stamp: Any = None
        self.body_stamp: Any = None
        self.hits = 0
        self.shown: Any = None


class Dropped:
    """The response with this ``record`` is no longer stored."""

    __slots__ = ("record",)

    def __init__(self, record: int) -> None:
        self.record = record


class Purged:
    """A purge. ``soft``: responses that it names become stale."""

    __slots__ = ("purge", "soft")

    def __init__(self, purge: Purge, soft: bool) -> None:
        self.purge = purge
        self.soft = soft


Entry = Place | Dropped | Purged


def dump_entry(entry: Entry) -> bytes:
    """Return an entry as bytes."""
    if isinstance(entry, Place):
        fixed = _STORED.pack(
            b"S", entry.key, entry.selected, entry.record, entry.body, entry.bytes, entry.asked,
            entry.purged,
        )  # fmt: skip
        return fixed + _texts([entry.url], sorted(entry.tags), sorted(entry.groups))
    if isinstance(entry, Dropped):
        return _DROPPED.pack(b"D", entry.record)
    kind = KINDS.index(entry.purge.kind)
    return b"P" + bytes([kind, entry.soft]) + entry.purge.value


def load_entry(data: bytes) -> Entry:
    """Return the entry in ``data``, whose checksum has been verified."""
    kind = data[:1]
    if kind == b"S":
        _, key, selected, record, body, size, asked, purged = _STORED.unpack_from(data)
        (url,), tags, groups = _read_texts(data, _STORED.size)
        return Place(
            key, selected, url, frozenset(tags), frozenset(groups), size, record, body, asked,
            bool(purged),
        )  # fmt: skip
    if kind == b"D":
        return Dropped(_DROPPED.unpack(data)[1])
    return Purged(Purge(KINDS[data[1]], data[3:]), bool(data[2]))


def _texts(*lists: Sequence[bytes]) -> bytes:
    parts = []
    for one in lists:
        parts.append(_COUNT.pack(len(one)))
        for text in one:
            parts += [_COUNT.pack(len(text)), text]
    return b"".join(parts)


def _read_texts(data: bytes, at: int) -> list[list[bytes]]:
    found = []
    for _ in range(3):
        texts = []
        (count,) = _COUNT.unpack_from(data, at)
        at += 4
        for _ in range(count):
            (length,) = _COUNT.unpack_from(data, at)
            at += 4
            texts.append(data[at : at + length])
            at += length
        found.append(texts)
    return found
