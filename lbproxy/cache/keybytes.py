"""PURE. Keys and selections as bytes, and their digests."""

from __future__ import annotations

from hashlib import blake2b

from librt.strings import BytesWriter, write_i64_le

from lbproxy.cache.key import Key
from lbproxy.cache.vary import Selected

__all__ = ["digest_of_bytes", "key_bytes", "key_digest", "selection_digest"]


def key_bytes(key: Key) -> bytes:
    """Return a key as bytes: each value is preceded by its length, as an ``i64``."""
    writer = BytesWriter()
    for part in key:
        write_i64_le(writer, len(part))
        writer.write(part)
    return writer.getvalue()


def digest_of_bytes(data: bytes) -> bytes:
    """Return the 16 bytes that identify the key with :func:`key_bytes` ``data``."""
    return blake2b(data, digest_size=16).digest()


def key_digest(key: Key) -> bytes:
    """Return 16 bytes that identify a key."""
    return digest_of_bytes(key_bytes(key))


def selection_digest(selected: Selected) -> bytes:
    """Return 8 bytes that identify the request fields that selected a response."""
    if not selected:
        return bytes(8)
    parts = [
        b"%d:%b%b" % (len(name), name, b"-" if value is None else b"%d:%b" % (len(value), value))
        for name, value in selected
    ]
    return blake2b(b"".join(parts), digest_size=8).digest()
