"""PURE. Counts what uses the body files of a folder: records, and responses that wait for the disk.

A record that refreshes a head shares the body file of the record it replaces. That record may be
evicted while the new one waits. The process that evicts it removes its files, but not a body for
which one of its own responses waits. Another process knows nothing of these responses, so that the
body is lost to them.
"""

from __future__ import annotations

__all__ = ["BodyUses"]


class BodyUses:
    """Bodies are known by the names of their files; 0 stands for none."""

    def __init__(self) -> None:
        self._records: dict[int, int] = {}
        self._waiting: dict[int, int] = {}
        self._lost: set[int] = set()  # waited for, and removed by another process

    def __contains__(self, name: int) -> bool:
        return name in self._records or name in self._waiting

    def is_lost(self, name: int) -> bool:
        """Return whether a response waits for a body that another process removes."""
        return name in self._lost

    def add_record(self, name: int) -> None:
        """Note that a record of the index refers to a body."""
        if name:
            self._records[name] = self._records.get(name, 0) + 1
            self._lost.discard(name)

    def drop_record(self, name: int) -> bool:
        """Note that such a record is gone; return whether it was the last one.

        If a response waits for the body, it is lost unless this process calls :meth:`spare`.
        """
        if not name or not _count_down(self._records, name):
            return False
        if name in self._waiting:
            self._lost.add(name)
        return True

    def spare(self, name: int) -> None:
        """Note that this process has dropped the last record of a body, and leaves its file to the
        responses that wait for it.
        """
        self._lost.discard(name)

    def begin_wait(self, name: int) -> None:
        """Note that a response waits to be written with a body."""
        if name:
            self._waiting[name] = self._waiting.get(name, 0) + 1

    def end_wait(self, name: int) -> None:
        """Note that such a response is written, or is no longer wanted."""
        if name and _count_down(self._waiting, name):
            self._lost.discard(name)

    def lose(self) -> None:
        """Forget all records, because the index is lost."""
        self._records.clear()
        self._lost.update(self._waiting)


def _count_down(counts: dict[int, int], name: int) -> bool:
    """Return whether no use is left."""
    left = counts.pop(name) - 1
    if left:
        counts[name] = left
    return not left
