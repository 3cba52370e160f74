"""DATA. The frames of the journal, and its files: length, its complement, CRC-32, payload."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

__all__ = ["FRAME", "LARGEST", "frame", "frames", "is_at", "open_file", "write_pieces"]

FRAME: Final = struct.Struct(">III")

LARGEST: Final = 1024 * 1024
"""Maximum size of a payload, in bytes."""


def is_at(fd: int, path: Path) -> bool:
    """Return whether ``path`` is the name of an open file."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(fd))
    except FileNotFoundError:
        return False


def open_file(path: Path, flags: int = 0) -> int:
    """Open a file of this user for reading and writing; create it if it does not exist."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | flags, 0o600)


def frame(payload: bytes) -> bytes:
    """Return the frame of a payload."""
    length = len(payload)
    return FRAME.pack(length, length ^ 0xFFFFFFFF, zlib.crc32(payload)) + payload


def frames(data: bytes) -> Iterator[bytes | None]:
    """Yield the payloads of the complete frames in ``data``, and None for one that is damaged."""
    at = 0
    while at + FRAME.size <= len(data):
        length, complement, crc = FRAME.unpack_from(data, at)
        if length ^ complement != 0xFFFFFFFF or length > LARGEST:
            yield None
            return
        start = at + FRAME.size
        if start + length > len(data):
            return  # the frame is cut at the end of ``data``, or still incomplete
        payload = data[start : start + length]
        if zlib.crc32(payload) != crc:
            yield None
            return
        yield payload
        at = start + length


def write_pieces(fd: int, pieces: list[bytes], position: int) -> int:
    """Write at ``position``; return the number of bytes. Raises OSError if they do not fit."""
    data = b"".join(pieces)
    if os.pwrite(fd, data, position) != len(data):
        raise OSError("the disk is full")
    return len(data)
