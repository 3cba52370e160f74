"""DATA. Decides when to compact the journal of a folder: once most of its records are obsolete."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from lbproxy.proxy.features.caching.disk.journal import Journal
from lbproxy.proxy.slices import in_slices

__all__ = ["Compacting"]

_LEAST: Final = 10_000
"""Minimum number of records of a journal that is compacted."""


class Compacting:
    """Compacts ``journal`` in slices of a millisecond, one compaction at a time.

    ``records()`` yields the records to keep. While ``busy()`` is true no compaction starts, and the
    caller calls :meth:`tend` again afterwards. ``failed(what, error)`` logs a failure. ``least``:
    number of records at which the journal is next compacted.
    """

    def __init__(
        self,
        reactor: Any,
        journal: Journal,
        records: Callable[[], Iterator[bytes]],
        busy: Callable[[], bool],
        failed: Callable[[str, BaseException | None], None],
    ) -> None:
        self.least = _LEAST
        self._reactor = reactor
        self._journal = journal
        self._records = records
        self._busy = busy
        self._failed = failed
        self._due = False  # until the compaction has ended
        self._running: Deferred[None] | None = None

    def tend(self, stored: int) -> None:
        """Compact in a later turn if more than half of the records are obsolete.

        ``stored``: number of records that a compacted journal would have.
        """
        if self._journal.records >= max(self.least, 2 * stored) and not self._due:
            self._due = True
            self._reactor.callLater(0, self._compact)

    def stop(self) -> None:
        """Cancel a running compaction. The journal stays unchanged."""
        if self._running is not None:
            self._running.cancel()

    def _compact(self) -> None:
        if self._busy():
            self._due = False
            return
        self.least = 2 * self._journal.records  # after a failure, do not retry at each record
        self._running = in_slices(self._reactor, self._journal.compaction(self._records))
        self._running.addCallbacks(self._compacted, self._not_compacted)

    def _compacted(self, _: None) -> None:
        self._due = False
        self.least = _LEAST

    def _not_compacted(self, failure: Failure) -> None:
        self._due = False
        if failure.check(CancelledError) is None:
            self._failed("cannot be compacted", failure.value)
