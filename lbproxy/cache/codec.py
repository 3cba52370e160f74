"""PURE. Encoding of stored responses as bytes for files, with detection of damage.

A record has the following form. Numbers are big-endian:

==== ======================================================================================
8    :data:`~lbproxy.cache.readyrecord.MAGIC`, which has the version of the format
4    length of the prepared head
4    length of the head
8    length of the body
1    1 if the body follows the head, 0 if it has a file of its own
32   BLAKE2b of the body
n    the prepared head (:mod:`lbproxy.cache.readyrecord`)
n    the head: key and :class:`~lbproxy.cache.stored.Stored`
n    the body, if it follows
32   BLAKE2b of everything before
==== ======================================================================================
"""

from __future__ import annotations

import json
from hashlib import blake2b
from typing import Any, Final

import attrs
from attrs import frozen

from lbproxy.cache.control import Control
from lbproxy.cache.key import Key
from lbproxy.cache.keybytes import key_bytes
from lbproxy.cache.readyrecord import DIGEST, FIXED, MAGIC, dump_ready, is_whole
from lbproxy.cache.stored import Stored

__all__ = ["DamagedError", "StoredRecord", "digest_of", "dump_record", "load_record"]

_CONTROL: Final = tuple(field.name for field in attrs.fields(Control))
_NAMES: Final = ("no_cache_fields", "private_fields")


class DamagedError(Exception):
    """The bytes are not a record, or not the record that was written."""


@frozen
class StoredRecord:
    """A stored response as read from a file.

    ``body`` is None if it is in a separate file, whose bytes must have ``digest``.
    """

    key: Key
    stored: Stored
    body: bytes | None
    size: int
    digest: bytes


def digest_of(data: bytes) -> bytes:
    """Return the digest that records use."""
    return blake2b(data, digest_size=DIGEST).digest()


def dump_record(record: StoredRecord) -> bytes:
    """Return the bytes of a record."""
    ready = dump_ready(key_bytes(record.key), record.stored)
    head = _dump_head(record.key, record.stored)
    inline = record.body is not None
    fixed = FIXED.pack(MAGIC, len(ready), len(head), record.size, inline, record.digest)
    data = b"".join((fixed, ready, head, record.body or b""))
    return data + digest_of(data)


def load_record(data: bytes) -> StoredRecord:
    """Return the record in ``data``. Raises DamagedError if a bit differs from the written one."""
    if len(data) < FIXED.size + DIGEST:
        raise DamagedError("too short")
    if not is_whole(data):
        raise DamagedError("its digest is wrong")
    content = memoryview(data)[:-DIGEST]
    magic, ready, length, size, inline, digest = FIXED.unpack_from(data)
    if magic != MAGIC:
        raise DamagedError("it has another format")
    start = FIXED.size + ready
    end = start + length
    body = bytes(content[end:]) if inline else None
    try:
        key, stored = _load_head(bytes(content[start:end]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedError(f"its head cannot be read: {error}") from None
    return StoredRecord(key, stored, body, size, digest)


def _dump_head(key: Key, stored: Stored) -> bytes:
    control = {
        name: _control_value(name, value)
        for name in _CONTROL
        if (value := getattr(stored.control, name)) not in (None, False, frozenset())
    }
    facts = {
        "key": [_text(part) for part in key],
        "url": _text(stored.url),
        "status": stored.status,
        "reason": _text(stored.reason),
        "headers": [[_text(name), _text(value)] for name, value in stored.headers],
        "control": control,
        "asked": stored.asked,
        "received": stored.received,
        "lifetime": stored.lifetime,
        "stated": stored.stated,
        "rule": stored.rule,
        "length": stored.length,
        "selected": [
            [_text(name), None if value is None else _text(value)]
            for name, value in stored.selected
        ],
        "tags": [_text(tag) for tag in sorted(stored.tags)],
        "groups": [_text(group) for group in sorted(stored.groups)],
        "purged": stored.purged,
        "public": stored.public,
    }
    return json.dumps(facts, separators=(",", ":")).encode("ascii")


def _load_head(data: bytes) -> tuple[Key, Stored]:
    facts: dict[str, Any] = json.loads(data)
    key = tuple(_bytes(part) for part in facts.pop("key"))
    control: dict[str, Any] = facts["control"]
    control["field"] = _bytes(control["field"])
    for name in _NAMES:
        if name in control:
            control[name] = frozenset(map(_bytes, control[name]))
    facts["control"] = Control(**control)
    for name in ("url", "reason"):
        facts[name] = _bytes(facts[name])
    facts["headers"] = [(_bytes(name), _bytes(value)) for name, value in facts["headers"]]
    facts["selected"] = tuple(
        (_bytes(name), None if value is None else _bytes(value))
        for name, value in facts["selected"]
    )
    for name in ("tags", "groups"):
        facts[name] = frozenset(map(_bytes, facts[name]))
    return key, Stored(**facts)


def _control_value(name: str, value: Any) -> Any:
    if name == "field":
        return _text(value)
    return sorted(map(_text, value)) if name in _NAMES else value


def _text(value: bytes) -> str:
    return value.decode("latin-1")


def _bytes(value: str) -> bytes:
    return value.encode("latin-1")
