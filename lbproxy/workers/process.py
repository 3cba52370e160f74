"""CONTROL. A worker process from the view of its master, and its start."""

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
"""Seconds before a worker that ended is started again, doubled each time."""

_STACK_BYTES = 64 * 1024  # maximum length of a logged stack


@define(eq=False)
class WorkerProcess:
    """A slot for a worker, and its present process."""

    slot: int
    process: subprocess.Popen[bytes] | None = None
    channel: Channel | None = None
    ready: bool = False
    since: float = 0.0  # time of its start
    heard: float = 0.0  # time of its last message
    pause: float = FIRST_PAUSE
    restarts: int = 0
    call: Any = None  # the call for its next start, or for the next check whether it has ended
    kill: Any = None  # the call that kills it if it does not stop
    signatures: dict[str, Any] = field(factory=dict)  # state sent to it, by backend
    places: dict[str, int] | None = None  # places on the board sent to it
    followed: list[str] = field(factory=list)  # frontends whose records it sends
    busy: bool = False  # it has not confirmed the last configuration
    outdated: bool = False  # a newer configuration is waiting
    hung: bool = False  # its stack was requested
    holds: set[Address] = field(factory=set)  # addresses whose sockets it may have
    ended: list[Deferred[None]] = field(factory=list)
    _stack: int = -1  # a file in memory for its stack

    @property
    def pid(self) -> int:
        """The process id; 0 if no process runs."""
        return self.process.pid if self.process is not None else 0

    def spawn(self) -> socket.socket:
        """Start the process and return our end of its channel. Raises OSError."""
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
        """Return the stack that it has written since ``STACK_SIGNAL`` was sent; "" if none."""
        if self._stack < 0:
            return ""
        with suppress(OSError):
            return os.pread(self._stack, _STACK_BYTES, 0).decode(errors="replace").strip()
        return ""

    def forget(self) -> None:
        """Reset the slot after the end of the process."""
        self.process = None
        self.ready = self.busy = self.hung = False
        self.holds = set()
        self._close_stack()

    def _close_stack(self) -> None:
        if self._stack >= 0:
            os.close(self._stack)
            self._stack = -1


def _environment() -> dict[str, str]:
    """Return the environment of a worker, so that it runs the same lbproxy as its master."""
    ours = str(Path(lbproxy.__file__).resolve().parents[1])
    path = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": f"{ours}{os.pathsep}{path}" if path else ours}
