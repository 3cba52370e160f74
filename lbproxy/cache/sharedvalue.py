"""PURE. Encoding of stored responses as values of a store that several nodes share.

A value is a line, ``EPOCH PURGES ASKED NAMES URL``, then its names (:mod:`.purgenames`), its URL
and a record (:mod:`.codec`) with a MAC. Scripts in the store read the line: ``EPOCH`` and
``PURGES`` identify the purges known to the node that stored it, ``ASKED`` is the time of its
request, ``NAMES`` the number of its names, ``URL`` the length of the URL. A node that reads the
value trusts only the record.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

from lbproxy.cache.codec import (
    DamagedError,
    StoredRecord,
    digest_of,
    dump_record,
    load_record,
)
from lbproxy.cache.key import Key
from lbproxy.cache.keybytes import selection_digest
from lbproxy.cache.parts import is_part
from lbproxy.cache.purgenames import names_of
from lbproxy.cache.stored import Stored

__all__ = ["MAC_SIZE", "dump_shared", "load_shared", "mac_key", "shared_field"]

MAC_SIZE: Final = 32


def mac_key(secret: bytes) -> bytes:
    """Return the key of MACs. The key for no secret is empty and only detects damage."""
    return blake2b(b"cache " + secret, digest_size=32).digest() if secret else b""


def dump_shared(
    key: Key, stored: Stored, body: bytes, known: tuple[bytes, int], secret: bytes
) -> bytes:
    """Return a response as a value. ``known``: the epoch and the number of the last purge."""
    names = names_of(stored)
    epoch, purges = known
    line = b"%b %d %.6f %d %d\n" % (epoch, purges, stored.asked, len(names), len(stored.url))
    record = dump_record(StoredRecord(key, stored, body, len(body), digest_of(body)))
    return b"".join((line, *names, stored.url, record, _mac(record, secret)))


def shared_field(stored: Stored) -> bytes:
    """Return the field of a response among those of its key.

    It identifies the request fields that selected the response: 8 bytes, and 9 for a part.
    """
    chosen = selection_digest(stored.selected)
    return b"p" + chosen if is_part(stored) else chosen


def load_shared(data: bytes, key: Key, field: bytes, secret: bytes) -> StoredRecord:
    """Return the record of a value without its line, names and URL.

    ``key`` and ``field`` (:func:`shared_field`) are those under which it was found. Raises
    DamagedError if a node has not stored it there.
    """
    content, mac = data[:-MAC_SIZE], data[-MAC_SIZE:]
    if _mac(content, secret) != mac:
        raise DamagedError("its MAC is wrong: it is damaged, or from a node with another secret")
    record = load_record(content)
    if record.key != key:
        raise DamagedError("it is of another key")
    if shared_field(record.stored) != field:
        raise DamagedError("it is another response for its key")
    body = record.body
    if body is None or len(body) != record.size or record.stored.length != record.size:
        raise DamagedError("its body is not complete")
    return record


def _mac(data: bytes, secret: bytes) -> bytes:
    return blake2b(data, digest_size=MAC_SIZE, key=secret).digest()
