"""DATA. A pool of pipes, lent to relays while they move bulk data. Each Poller has one pool.

A pipe costs two descriptors and kernel memory, so the number is bounded. A borrower that has not
used its pipe for a while is asked to return it. Without a free pipe, a borrower continues without
one.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Callable
from typing import Any, Protocol

from twisted.logger import Logger

from lbproxy.net.descriptors import pipe_bound
from lbproxy.net.timers import TimerWheel

__all__ = ["PIPE_BYTES", "Borrower", "Pipe", "PipePool"]

PIPE_BYTES = 512 * 1024
"""Requested capacity, and the maximum that is moved in one turn; see :mod:`lbproxy.net.relay` for
the cost of sizes.
"""

LEAST_BYTES = 64 * 1024  # a smaller pipe costs more in turns than it saves in copies
KEPT = 4  # empty pipes kept for later borrowers
SWEEP_S = 0.5  # a pipe that is unused for at most two sweeps is returned
SHORTAGE_S = 5.0  # pause before creating pipes again after the system refused one

_SET_SIZE = getattr(fcntl, "F_SETPIPE_SZ", 1031)
_GET_SIZE = getattr(fcntl, "F_GETPIPE_SZ", 1032)

_log = Logger()

splice: Any = getattr(os, "splice", None)
"""``os.splice``, None where there is none."""


class Borrower(Protocol):
    """The owner of a borrowed pipe."""

    def sweep(self) -> None:
        """Return the pipe unless it was used since the last call."""


class Pipe:
    """A non-blocking pipe. ``size``: its capacity in bytes."""

    __slots__ = ("read_end", "size", "write_end")

    def __init__(self) -> None:
        self.read_end, self.write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        # the user's quota is used up: the pipe keeps the default size
        with contextlib.suppress(OSError):
            fcntl.fcntl(self.write_end, _SET_SIZE, PIPE_BYTES)
        self.size = fcntl.fcntl(self.write_end, _GET_SIZE)

    def close(self) -> None:
        """Close both ends. The content is lost."""
        os.close(self.read_end)
        os.close(self.write_end)


class PipePool:
    """A pool of pipes. ``most``: maximum number of pipes; None: derived from the limit of
    descriptors.

    It uses no descriptor and no timer before the first pipe is taken.
    """

    __slots__ = ("_borrowers", "_closed", "_free", "_most", "_not_before", "_now", "_timer")

    def __init__(self, wheel: TimerWheel, most: int | None = None) -> None:
        self._most = pipe_bound() if most is None else most
        self._free: list[Pipe] = []
        self._borrowers: dict[Borrower, Pipe] = {}
        self._now: Callable[[], float] = wheel.now
        self._timer = wheel.timer(self._sweep)
        self._not_before = 0.0
        self._closed = splice is None

    def __len__(self) -> int:
        """Return the number of lent pipes."""
        return len(self._borrowers)

    def take(self, borrower: Borrower) -> Pipe | None:
        """Return an empty pipe to use until :meth:`give`, or None if none is available."""
        if self._closed or len(self._borrowers) >= self._most:
            return None
        pipe = self._free.pop() if self._free else self._make()
        if pipe is not None:
            if not self._borrowers:
                self._timer.set(SWEEP_S)
            self._borrowers[borrower] = pipe
        return pipe

    def _make(self) -> Pipe | None:
        now = self._now()
        if now < self._not_before:
            return None
        try:
            pipe = Pipe()
        except OSError:  # out of descriptors, and connections need the remaining ones
            self._not_before = now + SHORTAGE_S
            return None
        if pipe.size < LEAST_BYTES:
            pipe.close()
            self._not_before = now + SHORTAGE_S
            return None
        return pipe

    def give(self, borrower: Borrower, empty: bool) -> None:
        """Take a pipe back. A pipe that is not ``empty`` is closed with its content."""
        pipe = self._borrowers.pop(borrower)
        if empty and len(self._free) < KEPT and not self._closed:
            self._free.append(pipe)
        else:
            pipe.close()
        if not self._borrowers:
            self._timer.clear()

    def refuse(self, error: OSError) -> None:
        """Stop lending, because the kernel cannot splice these sockets."""
        if not self._closed:
            why = errno.errorcode.get(error.errno or 0, str(error))
            _log.warn("bulk data is copied through the process: splice failed: {why}", why=why)
        self.close()

    def _sweep(self) -> None:
        for borrower in list(self._borrowers):
            borrower.sweep()
        if self._borrowers:
            self._timer.set(SWEEP_S)

    def close(self) -> None:
        """Stop lending and close idle pipes. Lent pipes are closed when they are returned."""
        self._closed = True
        for pipe in self._free:
            pipe.close()
        self._free.clear()
