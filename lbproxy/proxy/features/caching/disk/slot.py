"""DATA. The folder of a store: opened, closed for a while after a failure, and opened again.

A folder with a large journal is read over several turns of the reactor, and is not used before the
end.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from lbproxy.cache.catalog import Counts
from lbproxy.cache.memory import Memory
from lbproxy.cache.purge import Purge
from lbproxy.proxy.features.caching.disk.failures import log_failure
from lbproxy.proxy.features.caching.disk.folder import Folder
from lbproxy.proxy.features.caching.disk.follower import FolderFollower
from lbproxy.proxy.features.caching.jobs import Jobs
from lbproxy.proxy.slices import in_slices

__all__ = ["RETRY", "FolderSlot"]

RETRY: Final = 10.0
"""Seconds until a failed folder is opened again."""

SKEW: Final = 1.0
"""Seconds by which the clocks of processes may differ."""

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


class FolderSlot:
    """``folder`` is None while it cannot be used, and if ``path`` is None.

    ``missed``: a purge arrived while the folder was unusable, so its contents must not be used.
    ``counts``: counters of the folder, kept when it is reopened. ``now``: clock, in seconds. The
    follower's ``reset`` is called whenever its view of the folder may be outdated.
    """

    def __init__(
        self, follower: FolderFollower, now: Callable[[], float], jobs: Jobs, memory: Memory
    ) -> None:
        self.folder: Folder | None = None
        self.path: Path | None = None
        self.missed = False
        self.counts = Counts()
        self._follower = follower
        self._now = now
        self._jobs = jobs
        self._memory = memory
        self._limit = 0
        self._retry_at = 0.0
        self._loading: Folder | None = None
        self._waiting: list[Deferred[None]] = []

    @property
    def loading(self) -> bool:
        """True if the folder is being read."""
        return self._loading is not None

    @property
    def latest(self) -> float:
        """The latest time of a request that any process can have sent."""
        return self._now() + SKEW

    def loaded(self) -> Deferred[None]:
        """Return a Deferred that fires when the folder has been read, or cannot be read."""
        found: Deferred[None] = Deferred()
        self._waiting.append(found)
        return found

    def use(self, path: Path | None, limit: int) -> None:
        """Keep up to ``limit`` bytes of responses in ``path`` from now on; None for memory."""
        if path == self.path:
            self._limit = limit
            if self.folder is not None:
                self.folder.resize(limit, self._memory.variants)
            return
        if self.folder is not None:
            self._follower.reset()
            self.folder.close()
            self.folder = None
        self._abandon()
        self.path, self._limit = path, limit
        self._retry_at = 0.0
        self.open()
        if not self.loading:
            self._answer()  # who waits for the folder before, if any

    def open(self, at_once: bool = False) -> None:
        """Open the folder, unless it failed less than :data:`RETRY` seconds ago and ``at_once`` is
        false.
        """
        path = self.path
        if path is None or self.loading:
            return
        if not at_once and 0 < self._retry_at - self._now() <= RETRY:
            return
        self._retry_at = self._now() + RETRY
        try:
            if self.missed and path.exists() and not os.access(path, os.W_OK):
                raise PermissionError(
                    errno.EACCES, "a purge cannot be recorded"
                )  # nor be forgotten
            variants = self._memory.variants
            folder = Folder(path, self._limit, variants, self._jobs, self._follower)
        except OSError as error:
            log_failure(path, "cannot be opened", error)
            return
        self._loading = folder
        reading = in_slices(self._jobs.reactor, folder.load())
        reading.addCallback(self._read, folder)
        reading.addErrback(self._unread, folder)

    def _read(self, _: None, folder: Folder) -> None:
        if self._loading is not folder:
            return  # the slot was closed
        self._follower.reset()
        if self.missed:
            folder.purge(Purge("all"), soft=False)
        self.missed = False
        folder.catalog.counts = self.counts
        folder.resize(self._limit, self._memory.variants)
        self.folder = folder
        self._loading = None
        folder.tidy()
        self._answer()

    def _unread(self, failure: Failure, folder: Folder) -> None:
        if self._loading is folder:
            self._abandon()
            self._answer()
        log_failure(folder.path, "cannot be opened", failure.value)

    def _abandon(self) -> None:
        """Stop reading the folder, if it is being read."""
        folder, self._loading = self._loading, None
        if folder is not None:
            folder.close()

    def _answer(self) -> None:
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.callback(None)

    def sync(self) -> bool:
        """Apply the changes of other processes; return False if the folder fails."""
        try:
            if self.folder is not None:
                self.folder.sync()
        except OSError as error:
            self.fail(error)
            return False
        return True

    def fail(self, error: OSError) -> None:
        """Stop using the folder for a while."""
        assert self.folder is not None
        self.folder.failed("cannot be used", error)
        self.folder.close()
        self.folder = None
        self._retry_at = self._now() + RETRY
        self._follower.reset()

    def refused(self, folder: Folder, error: BaseException, size: int) -> None:
        """Handle a file of ``size`` bytes that could not be written.

        A full folder makes room for the next file. :meth:`open` creates a removed folder again.
        """
        folder.failed("cannot be written", error)
        if self.folder is not folder:
            return
        if isinstance(error, OSError) and error.errno in _FULL:
            folder.relieve(2 * size)
        elif not folder.path.is_dir():
            self.fail(OSError(errno.ENOENT, os.strerror(errno.ENOENT)))

    def close(self) -> None:
        """Close the folder; its files stay."""
        self._abandon()
        if self.folder is not None:
            self.folder.close()
            self.folder = None
        self.path = None
        self._answer()
