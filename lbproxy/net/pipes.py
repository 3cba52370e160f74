"""DATA. A few pipes, lent to the relays that move bulk at the moment; one pool for each Poller.

A pipe is two descriptors and kernel memory, so there is a bound, and who has had no use for his
pipe for a while is asked to give it back. When there is none to lend, the borrower goes on without.
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
"""Wanted capacity, and the most that is moved in one turn; see :mod:`lbproxy.net.relay` for what
sizes cost.
"""

LEAST_BYTES = 64 * 1024  # a smaller pipe costs more turns than it saves copies
KEPT = 4  # empty pipes kept for the next borrowers
SWEEP_S = 0.5  # unused for two sweeps at most: given back
SHORTAGE_S = 5.0  # how long none is made after the system refused one

_SET_SIZE = getattr(fcntl, "F_SETPIPE_SZ", 1031)
_GET_SIZE = getattr(fcntl, "F_GETPIPE_SZ", 1032)

_log = Logger()

splice: Any = getattr(os, "splice", None)
"""``os.splice``, None where there is none."""


class Borrower(Protocol):
    """The owner of a borrowed pipe."""

    def sweep(self) -> None:
        """Give it back unless it was used since the last call."""


class Pipe:
    """Both ends, non-blocking; ``size``: its capacity in bytes."""

    __slots__ = ("read_end", "size", "write_end")

    def __init__(self) -> None:
        self.read_end, self.write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        with contextlib.suppress(OSError):  # the user's share is used up: the default size then
            fcntl.fcntl(self.write_end, _SET_SIZE, PIPE_BYTES)
        self.size = fcntl.fcntl(self.write_end, _GET_SIZE)

    def close(self) -> None:
        """Close both ends; the content is lost."""
        os.close(self.read_end)
        os.close(self.write_end)


class PipePool:
    """``most``: pipes at a time; None: what the limit of descriptors allows.

    No descriptor and no timer before the first is taken."""

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
        """How many are lent."""
        return len(self._borrowers)

    def take(self, borrower: Borrower) -> Pipe | None:
        """An empty pipe until :meth:`give`, None if there is none to be had."""
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
        except OSError:  # no descriptors: there are better uses for what is left of them
            self._not_before = now + SHORTAGE_S
            return None
        if pipe.size < LEAST_BYTES:
            pipe.close()
            self._not_before = now + SHORTAGE_S
            return None
        return pipe

    def give(self, borrower: Borrower, empty: bool) -> None:
        """Take a pipe back; one that is not ``empty`` is closed with its content."""
        pipe = self._borrowers.pop(borrower)
        if empty and len(self._free) < KEPT and not self._closed:
            self._free.append(pipe)
        else:
            pipe.close()
        if not self._borrowers:
            self._timer.clear()

    def refuse(self, error: OSError) -> None:
        """The kernel does not splice these sockets: lend no more."""
        if not self._closed:
            why = errno.errorcode.get(error.errno or 0, str(error))
            _log.warn("bulk is copied through the process: splice says {why}", why=why)
        self.close()

    def _sweep(self) -> None:
        for borrower in list(self._borrowers):
            borrower.sweep()
        if self._borrowers:
            self._timer.set(SWEEP_S)

    def close(self) -> None:
        """Lend no more and close idle pipes; lent ones are closed when they come back."""
        self._closed = True
        for pipe in self._free:
            pipe.close()
        self._free.clear()
