"""CONTROL. What the master knows of one worker process, and how it is started."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred

import lbproxy
from lbproxy.model import Address
from lbproxy.workers.channel import Channel

__all__ = ["FIRST_PAUSE", "WorkerProcess"]

FIRST_PAUSE = 0.1
"""Seconds before a worker that died is started again; they double each time."""


@define(eq=False)
class WorkerProcess:
    """One place for a worker and the process that is in it now."""

    slot: int
    process: subprocess.Popen[bytes] | None = None
    channel: Channel | None = None
    ready: bool = False
    since: float = 0.0
    pause: float = FIRST_PAUSE
    restarts: int = 0
    call: Any = None  # its next start
    kill: Any = None  # the end of its patience with a stop
    told: dict[str, Any] = field(factory=dict)  # by backend, the signature it was told
    placed: dict[str, int] | None = None  # the places on the board it was told
    tail: list[str] = field(factory=list)  # frontends whose records it tells
    untaught: bool = False  # bonds were kept from it
    busy: bool = False  # it has not said yet that it serves what it was sent
    outdated: bool = False  # there has been another one since
    holds: set[Address] = field(factory=set)  # addresses it may have sockets of
    over: list[Deferred[None]] = field(factory=list)

    @property
    def pid(self) -> int:
        """0 while there is none."""
        return self.process.pid if self.process is not None else 0

    def spawn(self) -> socket.socket:
        """Start it; our end of its channel.  OSError."""
        ours, theirs = socket.socketpair()
        with theirs, ExitStack() as failed:
            failed.callback(ours.close)
            self.process = subprocess.Popen(
                [sys.executable, "-m", "lbproxy.workers", str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                env=_environment(),
            )
            failed.pop_all()
        return ours


def _environment() -> dict[str, str]:
    """A worker runs the lbproxy that its master is."""
    ours = str(Path(lbproxy.__file__).resolve().parents[1])
    path = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": f"{ours}{os.pathsep}{path}" if path else ours}
