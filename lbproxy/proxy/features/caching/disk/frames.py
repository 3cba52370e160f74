"""DATA. The frames of a journal: length, its complement, CRC-32 and payload."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import Final

__all__ = ["FRAME", "READ", "frame", "frames", "write_copy"]

FRAME: Final = struct.Struct(">III")

READ: Final = 4 * 1024 * 1024
"""Bytes of a journal that are read, or written, at a time."""

_LARGEST: Final = 1024 * 1024
"""Bytes of the largest payload."""


def frame(payload: bytes) -> bytes:
    """Return the frame of a payload."""
    length = len(payload)
    return FRAME.pack(length, length ^ 0xFFFFFFFF, zlib.crc32(payload)) + payload


def frames(data: bytes) -> Iterator[bytes | None]:
    """Yield the payloads of the complete frames in ``data``, and None for one that is damaged."""
    at = 0
    while at + FRAME.size <= len(data):
        length, complement, crc = FRAME.unpack_from(data, at)
        if length ^ complement != 0xFFFFFFFF or length > _LARGEST:
            yield None
            return
        start = at + FRAME.size
        if start + length > len(data):
            return  # it is cut at the end of ``data``, or not complete yet
        payload = data[start : start + length]
        if zlib.crc32(payload) != crc:
            yield None
            return
        yield payload
        at = start + length


def write_copy(fd: int, start: int, payloads: Iterable[bytes]) -> tuple[int, int]:
    """Write the records of a new journal from ``start`` on; return their number and its end."""
    count, position = 0, start
    pending: list[bytes] = []
    held = 0
    for payload in payloads:
        pending.append(frame(payload))
        held += len(pending[-1])
        count += 1
        if held > READ:
            position += _write_all(fd, pending, position)
            pending, held = [], 0
    return count, position + _write_all(fd, pending, position)


def _write_all(fd: int, pieces: list[bytes], position: int) -> int:
    data = b"".join(pieces)
    if os.pwrite(fd, data, position) != len(data):
        raise OSError("the disk is full")
    return len(data)
