"""CONTROL. Upgrade in place, the side of the new process, which takes over from
:mod:`lbproxy.process.upgrade`.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from twisted.logger import Logger

from lbproxy.config.model import Address
from lbproxy.net.inherited import Inherited
from lbproxy.process.remainder import Kept, read_remainder
from lbproxy.process.upgrade import ENVIRONMENT, LIMIT_S, READY, VERSION, holds_pid

__all__ = ["HandoverError", "Takeover"]

_log = Logger()

_POLL = 0.05

Complete = Callable[[Sequence[Mapping[str, Any]], Sequence[Kept]], None]


class HandoverError(Exception):
    """The running process uses an unknown protocol for upgrades."""


class Takeover:
    """The new process's side of an upgrade. ``told``: the document of the running process.

    The descriptors in it belong to this process from now on. Raises HandoverError.
    """

    def __init__(self, told: Any) -> None:
        if not isinstance(told, dict) or told.get("version") != VERSION:
            raise HandoverError(
                "the running lbproxy uses a hand-over protocol that this "
                "version does not support: restart it"
            )
        self.predecessor = os.getppid()
        self.known: dict[str, Any] = told["known"]
        self.pidfile: str = told["pidfile"]
        self._ready: int = told["ready"]
        self._stderr: int = told["stderr"]
        self._remainder: tuple[int, ...] = tuple(told.get("remainder", ()))
        for descriptor in (self._ready, self._stderr, *self._remainder):
            os.set_inheritable(descriptor, False)
        found = []
        for one in told["sockets"]:
            sockets = [socket.socket(fileno=fd) for fd in one["fds"]]
            for sock in sockets:
                sock.set_inheritable(False)
            found.append((Address(**one["address"]), sockets))
        self.sockets = Inherited(found)

    @classmethod
    def from_environment(
        cls, environment: MutableMapping[str, str] = os.environ
    ) -> Takeover | None:
        """Return the takeover described in the environment, None for an ordinary start.

        The variables are removed, so that child processes do not inherit them. Raises
        HandoverError.
        """
        number = environment.pop(ENVIRONMENT, "")
        if not number:
            return None
        try:
            with os.fdopen(int(number), "rb") as file:
                told = json.load(file)
        except (OSError, ValueError) as error:
            raise HandoverError(f"{ENVIRONMENT} cannot be read: {error}") from None
        return cls(told)

    def stderr(self) -> TextIO:
        """Return the standard error of the running process, for messages until :meth:`start`."""
        return os.fdopen(os.dup(self._stderr), "w", buffering=1)

    def start(
        self,
        reactor: Any,
        serving: Callable[[], bool],
        own: Callable[[], None],
        complete: Complete,
    ) -> None:
        """Call ``own()``, and report to the running process that this one serves.

        ``complete(events, kept)`` is then called with its additions since our start. From now on
        its files belong to this process.
        """
        if not serving():
            reactor.callLater(_POLL, self.start, reactor, serving, own, complete)
            return
        self.sockets.discard()
        own()
        os.dup2(self._stderr, 2)  # until here the running process shows our messages
        os.close(self._stderr)
        with suppress(BrokenPipeError):  # it was killed in the meantime
            os.write(self._ready, READY)
        os.close(self._ready)
        _log.info("upgrade: took over from process {pid}", pid=self.predecessor)
        if self._remainder:
            self._collect(reactor, complete, reactor.seconds() + LIMIT_S)
        else:
            complete([], [])

    def _collect(self, reactor: Any, complete: Complete, end: float) -> None:
        """Wait for the remainder of the running process, at most until ``end``."""
        found = read_remainder(*self._remainder)
        if found is not None:
            complete(*found)
        elif reactor.seconds() < end:
            reactor.callLater(_POLL, self._collect, reactor, complete, end)
        else:
            for descriptor in self._remainder:
                os.close(descriptor)
            complete([], [])

    def remove_pidfile(self) -> None:
        """Remove the pid file at the end of this process, unless it contains another process id."""
        if self.pidfile and holds_pid(self.pidfile, os.getpid()):
            with suppress(OSError):
                Path(self.pidfile).unlink()
