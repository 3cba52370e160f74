"""PURE. The stored response that a request selects, by the prepared heads of entries."""

from __future__ import annotations

from lbproxy.cache.memory import Entry
from lbproxy.cache.ready import ReadyHead, ready_head
from lbproxy.http.message import RequestHead

__all__ = ["chosen_entry"]


def chosen_entry(entries: list[Entry], request: RequestHead) -> Entry | None:
    """Return the entry that ``request`` selects, the most recent of several, or None.

    Its ``ready`` is for its ``stored``."""
    best: Entry | None = None
    latest = 0.0
    for entry in entries:
        ready: ReadyHead | None = entry.ready
        if ready is None or ready.stored is not entry.stored:
            ready = entry.ready = ready_head(entry.stored)
        if ready.selected_by(request) and (best is None or ready.received >= latest):
            best, latest = entry, ready.received
    return best
