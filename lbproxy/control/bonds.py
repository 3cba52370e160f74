"""CONTROL. Sticky tables that several processes share.

What one worker learns, the others are told through the master.  It keeps the tables too, which is what it shows to
people and what a worker begins with.  It passes changes on in one order to all workers, the one they came from
included, so that two who disagreed about a client soon agree.  An upgrade gives the tables to the new process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import islice
from typing import Any

from lbproxy.balance.sticky import Sticky
from lbproxy.balance.stickytable import StickyTable
from lbproxy.proxy.backend import Backend

__all__ = ["CHUNK", "MOST_HANDED_OVER", "BondsTold", "learn", "whole"]

CHUNK = 10_000
"""Most changes in one message."""

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
        for name in self._told.keys() - backends.keys():
            del self._told[name], self._heard[name]
        for name, backend in backends.items():
            table = backend.sticky.table if backend.sticky is not None else None
            if table is not None and self._heard.get(name) is not table:
                self._heard[name] = table
                told: dict[bytes, str] = {}
                self._told[name] = told
                table.tell = partial(_note, told)

    def send(self, backends: Mapping[str, Backend], say: Callable[[Changes], None]) -> None:
        """What there is, in messages of at most :data:`CHUNK` changes."""
        for name, told in self._told.items():
            if told:
                for part in _chunks(told):
                    say(_changes(name, backends[name].sticky, part))
                told.clear()


def _note(told: dict[bytes, str], key: bytes, server: str) -> None:
    told[key] = server


def whole(backends: Mapping[str, Backend], most: int | None = None) -> Iterator[Changes]:
    """What the tables hold, each at most the ``most`` keys used last, those at the end."""
    for name, backend in backends.items():
        sticky = backend.sticky
        if sticky is not None and sticky.table is not None:
            entries = islice(sticky.table.entries(), most)
            bonds = [(key, server) for key, server, _ in entries]
            for part in _chunks(dict(reversed(bonds))):
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


def _chunks(bonds: dict[bytes, str]) -> Iterator[dict[bytes, str]]:
    items = iter(bonds.items())
    while part := dict(islice(items, CHUNK)):
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
