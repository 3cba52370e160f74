"""DATA. Pages of the contents of a store, for display."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from twisted.internet.defer import Deferred

from lbproxy.cache.memory import Entry, Memory
from lbproxy.proxy.features.caching.disk.folder import Folder
from lbproxy.proxy.features.caching.disk.loader import described
from lbproxy.proxy.slices import in_slices

__all__ = ["page_of"]


def page_of(
    memory: Memory, folder: Folder | None, reactor: Any, first: int, limit: int
) -> Deferred[tuple[list[Entry], int]]:
    """Return at most ``limit`` responses of a store from number ``first`` on, and the total number.

    This takes several turns of the reactor. It reads the heads on disk of one page only, which
    blocks.
    """
    if folder is not None:
        folder.sync()
    found: list[Entry] = []
    seen = 0

    def steps() -> Iterator[None]:
        nonlocal seen
        for entry in memory.walk(oldest_first=True):
            if folder is None or entry.place is None:
                seen += 1
                if first < seen <= first + limit:
                    found.append(entry)
            yield
        if folder is None:
            return
        for place in folder.catalog.walk(oldest_first=True):
            seen += 1
            if first < seen <= first + limit:
                found.extend(described(folder, [place]))
            yield

    return in_slices(reactor, steps()).addCallback(lambda _: (found, seen))
