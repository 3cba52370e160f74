"""CONTROL. A worker process as its master sees it, and its start."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred

import lbproxy
from lbproxy.model import Address
from lbproxy.workers.channel import Channel

__all__ = ["FIRST_PAUSE", "WorkerProcess"]

FIRST_PAUSE = 0.1
"""Seconds before a worker that ended is started again; they double each time."""

_STACK_BYTES = 64 * 1024  # of a stack that is logged


@define(eq=False)
class WorkerProcess:
    """One slot for a worker, and the process that is in it now."""

    slot: int
    process: subprocess.Popen[bytes] | None = None
    channel: Channel | None = None
    ready: bool = False
    since: float = 0.0  # when it was started
    heard: float = 0.0  # when its last message came
    pause: float = FIRST_PAUSE
    restarts: int = 0
    call: Any = None  # its next start, or the next look at whether it has ended
    kill: Any = None  # when it is killed because it does not stop
    signatures: dict[str, Any] = field(factory=dict)  # by backend: the state it was sent
    places: dict[str, int] | None = None  # the places on the board it was sent
    followed: list[str] = field(factory=list)  # frontends whose records it sends
    busy: bool = False  # it has not confirmed the configuration that it was sent
    outdated: bool = False  # there has been another configuration since
    hung: bool = False  # its stack was asked for
    holds: set[Address] = field(factory=set)  # addresses it may have sockets of
    ended: list[Deferred[None]] = field(factory=list)
    _stack: int = -1  # a file in memory that it writes its stack to

    @property
    def pid(self) -> int:
        """0 while there is no process."""
        return self.process.pid if self.process is not None else 0

    def spawn(self) -> socket.socket:
        """Start it and return our end of its channel.  OSError."""
        ours, theirs = socket.socketpair()
        with theirs, ExitStack() as failed:
            failed.callback(ours.close)
            self._close_stack()
            self._stack = os.memfd_create("lbproxy-stack", os.MFD_CLOEXEC)
            descriptors = (self._stack, theirs.fileno())
            self.process = subprocess.Popen(
                [sys.executable, "-m", "lbproxy.workers", *map(str, descriptors)],
                pass_fds=descriptors,
                stdin=subprocess.DEVNULL,
                env=_environment(),
            )
            failed.pop_all()
        return ours

    def stack(self) -> str:
        """The stack that it has written since it was sent ``STACK_SIGNAL``; "" if it has not."""
        if self._stack < 0:
            return ""
        with suppress(OSError):
            return os.pread(self._stack, _STACK_BYTES, 0).decode(errors="replace").strip()
        return ""

    def forget(self) -> None:
        """The process has ended: nothing of it is left."""
        self.process = None
        self.ready = self.busy = self.hung = False
        self.holds = set()
        self._close_stack()

    def _close_stack(self) -> None:
        if self._stack >= 0:
            os.close(self._stack)
            self._stack = -1


def _environment() -> dict[str, str]:
    """A worker runs the lbproxy that its master is."""
    ours = str(Path(lbproxy.__file__).resolve().parents[1])
    path = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": f"{ours}{os.pathsep}{path}" if path else ours}
