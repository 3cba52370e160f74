"""CONTROL. Sticky tables that several processes share.

What one worker learns, the others are told through the master.  It keeps the tables too, which is what it shows to
people and what a worker begins with.  It passes changes on in one order to all workers, the one they came from
included, so that two who disagreed about a client soon agree.  An upgrade gives the tables to the new process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import islice
from typing import Any

from lbproxy.balance.sticky import Sticky
from lbproxy.balance.stickytable import StickyTable
from lbproxy.proxy.backend import Backend

__all__ = ["CHUNK", "CHUNK_BYTES", "MOST_HANDED_OVER", "MOST_KEPT", "BondsTold", "learn", "whole"]

CHUNK = 10_000
"""Most changes in one message."""

CHUNK_BYTES = 256 * 1024
"""Bytes of keys and names after which a message is full; one more key of any length may be in it."""

MOST_KEPT = 100_000
"""Most changes of one backend that are kept while nobody takes them; more are told when they are used again."""

MOST_HANDED_OVER = 100_000
"""Most clients of one backend that the process after an upgrade is told of."""

Changes = dict[str, Any]
"""By backend: ``kind``, what the keys mean, and ``bonds``, servers by key; "" for none any more."""


class BondsTold:
    """What a worker's tables have told since the last :meth:`send`; for one key only the last word."""

    def __init__(self) -> None:
        self._told: dict[str, dict[bytes, str]] = {}
        self._heard: dict[str, StickyTable] = {}

    def listen(self, backends: Mapping[str, Backend]) -> None:
        """To the tables of ``backends`` and no others; cheap when nothing has changed."""
        tables = {
            name: one.sticky.table
            for name, one in backends.items()
            if one.sticky is not None and one.sticky.table is not None
        }
        for name in self._told.keys() - tables.keys():
            del self._told[name], self._heard[name]
        for name, table in tables.items():
            if self._heard.get(name) is not table:
                self._heard[name] = table
                told: dict[bytes, str] = {}
                self._told[name] = told
                table.tell = partial(_note, told)

    def send(self, backends: Mapping[str, Backend], say: Callable[[Changes], None]) -> None:
        """What there is, in messages of at most :data:`CHUNK` changes and about :data:`CHUNK_BYTES`."""
        for name, told in self._told.items():
            if told:
                for part in _chunks(told.items()):
                    say(_changes(name, backends[name].sticky, part))
                told.clear()


def _note(told: dict[bytes, str], key: bytes, server: str) -> None:
    if len(told) < MOST_KEPT or key in told:
        told[key] = server


def whole(backends: Mapping[str, Backend], most: int | None = None) -> Iterator[Changes]:
    """What the tables hold, each at most the ``most`` keys used last, those at the end.

    A piece is as the tables are when it is asked for: what was told meanwhile is not taken back by it.
    """
    for name, backend in backends.items():
        sticky = backend.sticky
        if sticky is not None and sticky.table is not None:
            keys = [key for key, *_ in islice(sticky.table.entries(), most)]
            peek = sticky.table.peek
            bonds = ((key, server) for key in reversed(keys) if (server := peek(key)))
            for part in _chunks(bonds):
                yield _changes(name, sticky, part)


def learn(backends: Mapping[str, Backend], changes: Changes) -> None:
    """Take in what another process told; keys of another meaning than here (a reload is under way) are left out."""
    for name, change in changes.items():
        backend = backends.get(name)
        sticky = backend.sticky if backend is not None else None
        if sticky is None or sticky.table is None or _kind(sticky) != change["kind"]:
            continue
        for key, server in change["bonds"].items():
            sticky.table.learn(bytes.fromhex(key), server)


def _chunks(bonds: Iterable[tuple[bytes, str]]) -> Iterator[dict[bytes, str]]:
    part: dict[bytes, str] = {}
    size = 0
    for key, server in bonds:
        part[key] = server
        size += len(key) + len(server)
        if len(part) == CHUNK or size >= CHUNK_BYTES:
            yield part
            part, size = {}, 0
    if part:
        yield part


def _changes(name: str, sticky: Sticky | None, bonds: dict[bytes, str]) -> Changes:
    assert sticky is not None
    return {
        name: {
            "kind": _kind(sticky),
            "bonds": {key.hex(): server for key, server in bonds.items()},
        }
    }


def _kind(sticky: Sticky) -> str:
    return repr(sticky.identity())
