"""PURE. The beginning of a record: its fixed part, and a head prepared for hits.

The head of a stored response (:mod:`lbproxy.cache.codec`) takes long to read. A hit of a file that
was verified before needs only what :class:`~lbproxy.cache.ready.ReadyHead` has, in this form:

==== ======================================================================================
112  numbers (little-endian): times, status, flags, lengths, and the sets of known fields
n    key (:func:`~lbproxy.cache.keybytes.key_bytes`), reason phrase and entity tag
n    the field lines and their table (:class:`~lbproxy.http.scan.Lines`)
n    the request fields that selected the response: name and value, preceded by their lengths
==== ======================================================================================
"""

from __future__ import annotations

import struct
from hashlib import blake2b
from typing import Any, Final

from librt.strings import (
    BytesWriter,
    read_f64_le,
    read_i32_be,
    read_i64_be,
    read_i64_le,
    write_f64_le,
    write_i64_le,
)
from mypy_extensions import i64

from lbproxy.cache.key import Key
from lbproxy.cache.keybytes import key_bytes
from lbproxy.cache.ready import ReadyHead, ready_head
from lbproxy.cache.vary import Selected
from lbproxy.http.scan import ROW, Lines

__all__ = [
    "DIGEST",
    "FIXED",
    "MAGIC",
    "OVERHEAD",
    "ReadyRecord",
    "dump_ready",
    "is_whole",
    "load_ready",
]

MAGIC: Final = b"LBOBJ\x00\x04\n"

FIXED: Final = struct.Struct(">8sIIQB32s")
"""The fixed part of a record: magic, length of the prepared head, length of the head, size of the
body, whether the body follows, digest of the body.
"""

DIGEST: Final = 32
"""Length of a digest in bytes."""

OVERHEAD: Final = 1536
"""Bytes of memory that a kept :class:`ReadyRecord` takes, with its open file, in addition to the
prepared head; the tests measure them.
"""

_USABLE: Final = 1
_PUBLIC: Final = 2
_TAGGED: Final = 4

_NUMBERS: Final = 14 * 8
"""Size in bytes of the numbers of a prepared head, each a ``f64`` or ``i64``."""


class ReadyRecord:
    """The part of a record that a hit needs, without its body.

    ``ready``: its prepared head. ``asked``: when its request was sent, in seconds since the epoch.
    ``size``: bytes of its body. ``apart``: the body has a file of its own. ``cost``: bytes of
    memory that this object takes.
    """

    __slots__ = ("apart", "asked", "body_at", "cost", "key", "ready", "size")

    def __init__(
        self,
        key: Key,
        ready: ReadyHead,
        asked: float,
        size: int,
        body_at: int,
        apart: bool,
        cost: int,
    ) -> None:
        self.key = key
        self.ready = ready
        self.asked = asked
        self.size = size
        self.apart = apart
        self.cost = cost
        self.body_at = body_at

    def body(self, data: bytes) -> bytes:
        """Return the body that follows the head in the record ``data``."""
        return data[self.body_at : self.body_at + self.size]


def dump_ready(key: bytes, stored: Any) -> bytes:
    """Return the prepared head of a response (:class:`~lbproxy.cache.stored.Stored`); empty if it
    cannot be prepared. ``key``: its :func:`~lbproxy.cache.keybytes.key_bytes`.
    """
    ready = ready_head(stored)
    lines = ready.lines
    etag = ready.etag
    flags = _USABLE if ready.usable else 0
    flags |= _PUBLIC if ready.public else 0
    flags |= _TAGGED if etag is not None else 0
    if not lines.count:
        return b""
    writer = BytesWriter()
    for time in (stored.asked, ready.received, ready.first_age, ready.lifetime):
        write_f64_le(writer, float(time))
    write_i64_le(writer, ready.status)
    write_i64_le(writer, flags)
    write_i64_le(writer, len(ready.selected))
    for text in (ready.reason, key, etag or b"", lines.raw):
        write_i64_le(writer, len(text))
    write_i64_le(writer, lines.count)
    write_i64_le(writer, lines.present)
    write_i64_le(writer, lines.repeated)
    for text in (key, ready.reason, etag or b"", lines.raw, lines.table):
        writer.write(text)
    for name, value in ready.selected:
        write_i64_le(writer, len(name))
        write_i64_le(writer, -1 if value is None else len(value))
        writer.write(name)
        writer.write(value or b"")
    return writer.getvalue()


def is_whole(data: bytes) -> bool:
    """Return whether no bit of a record differs from the written one."""
    content = memoryview(data)[:-DIGEST]
    return blake2b(content, digest_size=DIGEST).digest() == data[-DIGEST:]


def load_ready(data: bytes, key: Key) -> ReadyRecord | None:
    """Return the part of a verified record that a hit needs; None if its head is not prepared, or
    if it is not the record of ``key``.

    ``data`` is whole (:func:`is_whole`), or was when its file was verified.
    """
    size: i64 = len(data)
    at: i64 = FIXED.size
    if size < at + _NUMBERS or not data.startswith(MAGIC):
        return None
    ready_size: i64 = i64(read_i32_be(data, 8))
    head_size: i64 = i64(read_i32_be(data, 12))
    if ready_size < _NUMBERS or at + ready_size + head_size > size:
        return None
    key_at: i64 = at + _NUMBERS
    reason_at: i64 = key_at + read_i64_le(data, at + 64)
    if data[key_at:reason_at] != key_bytes(key):
        return None
    flags: i64 = read_i64_le(data, at + 40)
    etag_at: i64 = reason_at + read_i64_le(data, at + 56)
    raw_at: i64 = etag_at + read_i64_le(data, at + 72)
    table_at: i64 = raw_at + read_i64_le(data, at + 80)
    count: i64 = read_i64_le(data, at + 88)
    end: i64 = table_at + count * ROW
    present: i64 = read_i64_le(data, at + 96)
    repeated: i64 = read_i64_le(data, at + 104)
    chosen: i64 = read_i64_le(data, at + 48)
    ready = ReadyHead(
        None,
        read_f64_le(data, at + 8),
        read_f64_le(data, at + 16),
        read_f64_le(data, at + 24),
        read_i64_le(data, at + 32),
        data[reason_at:etag_at],
        Lines(data[raw_at:table_at], data[table_at:end], count, present, repeated),
        data[etag_at:raw_at] if flags & _TAGGED else None,
        _selected(data, end, chosen) if chosen else (),
        flags & _PUBLIC != 0,
        flags & _USABLE != 0,
    )
    return ReadyRecord(
        key,
        ready,
        read_f64_le(data, at),
        read_i64_be(data, 16),
        at + ready_size + head_size,
        not data[24],
        OVERHEAD + ready_size,
    )


def _selected(data: bytes, at: i64, count: i64) -> Selected:
    found: list[tuple[bytes, bytes | None]] = []
    while count:
        name_at: i64 = at + 16
        value_at: i64 = name_at + read_i64_le(data, at)
        size: i64 = read_i64_le(data, at + 8)
        at = value_at + size if size > 0 else value_at
        found.append((data[name_at:value_at], None if size < 0 else data[value_at:at]))
        count -= 1
    return tuple(found)
