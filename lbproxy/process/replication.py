"""CONTROL. Replication of sticky tables between processes, over
:class:`lbproxy.sharing.contracts.Replicated`.

Every process publishes the changes of its tables, and applies all published ones, including its
own. All processes apply the same changes in the same order, so that they soon agree about each
client. The master of workers has the tables too; it shows them to people, and sends them to a
worker that starts. An upgrade hands them to the new process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import islice
from typing import Any

from lbproxy.balance.sticky import Sticky
from lbproxy.balance.stickytable import StickyTable
from lbproxy.proxy.backend import Backend
from lbproxy.sharing.contracts import Replicated

__all__ = [
    "CHUNK",
    "CHUNK_BYTES",
    "MOST_HANDED_OVER",
    "MOST_KEPT",
    "TOPIC",
    "StickyReplication",
    "learn",
    "whole",
]

TOPIC = "sticky:tables"

CHUNK = 10_000
"""Maximum number of changes in one message."""

CHUNK_BYTES = 256 * 1024
"""Bytes of keys and names after which a message is full. One more key of any length may follow."""

MOST_KEPT = 100_000
"""Maximum number of changes of one backend that are kept while they cannot be published. Others are
published at their next use.
"""

MOST_HANDED_OVER = 100_000
"""Maximum number of clients of one backend that an upgrade hands to the new process."""

Changes = dict[str, Any]
"""Content of a message by backend: ``kind``, the meaning of the keys, and ``entries``, servers by
key; "" for a removed key.
"""

Backends = Mapping[str, Backend]


class StickyReplication:
    """Replicates the tables of one process. ``backends()`` returns the present backends."""

    def __init__(self, replicated: Replicated, backends: Callable[[], Backends]) -> None:
        self._replicated = replicated
        self._backends = backends
        self._changes: dict[
            str, dict[bytes, str]
        ] = {}  # not published yet; the last change for each key
        self._tables: dict[str, StickyTable] = {}  # the tables whose changes are collected
        self._end = replicated.subscribe(TOPIC, self._receive, self._whole)

    def stop(self) -> None:
        """Stop publishing and applying changes."""
        self._end()

    def attach(self) -> None:
        """Collect the changes of the present tables. Cheap if no table is new."""
        tables = {
            name: one.sticky.table
            for name, one in self._backends().items()
            if one.sticky is not None and one.sticky.table is not None
        }
        for name in self._changes.keys() - tables.keys():
            del self._changes[name], self._tables[name]
        for name, table in tables.items():
            if self._tables.get(name) is not table:
                self._tables[name] = table
                changes: dict[bytes, str] = {}
                self._changes[name] = changes
                table.tell = partial(_note, changes)

    def publish(self) -> None:
        """Publish the changes, in messages of at most :data:`CHUNK` entries and about
        :data:`CHUNK_BYTES`.
        """
        if not self._replicated.ready:
            return
        backends = self._backends()
        for name, changes in self._changes.items():
            if changes:
                for part in _chunks(changes.items()):
                    self._replicated.publish(TOPIC, _message(name, backends[name].sticky, part))
                changes.clear()

    def _receive(self, message: Changes) -> None:
        learn(self._backends(), message)

    def _whole(self) -> Iterator[Changes]:
        return whole(self._backends())


def _note(changes: dict[bytes, str], key: bytes, server: str) -> None:
    if len(changes) < MOST_KEPT or key in changes:
        changes[key] = server


def whole(backends: Backends, most: int | None = None) -> Iterator[Changes]:
    """Yield messages with all entries of the tables, or with the ``most`` recently used of each,
    those last.

    Each message is created when it is taken, so that it never undoes a change applied meanwhile.
    """
    for name, backend in backends.items():
        sticky = backend.sticky
        if sticky is not None and sticky.table is not None:
            keys = [key for key, *_ in islice(sticky.table.entries(), most)]
            peek = sticky.table.peek
            entries = ((key, server) for key in reversed(keys) if (server := peek(key)))
            for part in _chunks(entries):
                yield _message(name, sticky, part)


def learn(backends: Backends, message: Changes) -> None:
    """Apply a message. Keys with another meaning here, because of a running reload, are ignored."""
    for name, change in message.items():
        backend = backends.get(name)
        sticky = backend.sticky if backend is not None else None
        if sticky is None or sticky.table is None or _kind(sticky) != change["kind"]:
            continue
        for key, server in change["entries"].items():
            sticky.table.learn(bytes.fromhex(key), server)


def _chunks(entries: Iterable[tuple[bytes, str]]) -> Iterator[dict[bytes, str]]:
    part: dict[bytes, str] = {}
    size = 0
    for key, server in entries:
        part[key] = server
        size += len(key) + len(server)
        if len(part) == CHUNK or size >= CHUNK_BYTES:
            yield part
            part, size = {}, 0
    if part:
        yield part


def _message(name: str, sticky: Sticky | None, entries: dict[bytes, str]) -> Changes:
    assert sticky is not None
    return {
        name: {
            "kind": _kind(sticky),
            "entries": {key.hex(): server for key, server in entries.items()},
        }
    }


def _kind(sticky: Sticky) -> str:
    return repr(sticky.identity())
