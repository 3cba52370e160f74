"""CONTROL. Upgrade in place, the side of the old process, which starts the new program and hands it
the sockets.

SIGUSR2 and ``POST /api/v1/upgrade`` start it. :mod:`lbproxy.tap` creates the :class:`Upgrader`, and
:mod:`lbproxy.process.takeover` is the other side.

1. The new program is started with our command line. It inherits the listening sockets, and a file
   that describes them and our state of servers.
2. It reads its configuration, takes over the sockets, and writes ``ready`` into a pipe when it
   serves.
3. Only then does this process stop accepting, hand over the events and the bans since step 1
   (:mod:`lbproxy.process.remainder`), drain, and end. If the new program fails before, it is killed
   and this process continues as before.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, Protocol

import attrs
from attrs import frozen
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from lbproxy.config.model import Address
from lbproxy.errors import ListenError
from lbproxy.observe.events import EventKind, Events, EventSeverity
from lbproxy.process.remainder import Kept, Remainder

__all__ = [
    "ENVIRONMENT",
    "LIMIT_S",
    "READY",
    "VERSION",
    "Upgradable",
    "UpgradeReport",
    "Upgrader",
    "holds_pid",
    "write_pid",
]

_log = Logger()

ENVIRONMENT = "LBPROXY_UPGRADE"
"""The environment variable with the descriptor of the hand-over file."""

VERSION = 2
READY = b"ready"
LIMIT_S = 30.0
"""Deadline in seconds for the new program to serve."""

_POLL = 0.05
_SAY_FIRST = 0.3  # time before the end for the reply to the caller
_WORDS = 4000  # maximum output of a failed program that is kept


class Upgradable(Protocol):
    """The methods of :class:`lbproxy.service.LoadBalancer` that an upgrade uses."""

    events: Events

    @property
    def serving(self) -> bool:
        """True if this process serves traffic."""

    def sockets(self) -> list[tuple[Address, list[int]]]:
        """Return the listening sockets by address. Raises ListenError."""

    def known(self) -> dict[str, Any]:
        """Return the state for the new process as plain JSON types."""

    def note_kept(self) -> None:
        """Start to record the messages of features that are kept over a restart."""

    def noted(self) -> list[Kept]:
        """Return the messages since :meth:`note_kept`, and stop recording."""

    def hand_over(self) -> None:
        """Stop accepting."""


@frozen
class UpgradeReport:
    """The result of an upgrade. ``error``: why it failed, "" if the process ``pid`` serves now."""

    pid: int = 0
    error: str = ""

    @property
    def ok(self) -> bool:
        """True if the new process serves."""
        return not self.error

    def summary(self) -> str:
        """Text for people: one line, or several for an invalid configuration."""
        if self.ok:
            return f"process {self.pid} serves now; this one, {os.getpid()}, drains and ends"
        return f"{self.error}; process {os.getpid()} continues"


class Upgrader:
    """Runs upgrades. ``command``: the program and its arguments. ``pidfile()``: the pid file to
    hand over, "" for none.

    ``prepare()`` is called before the start. ``over(pid)`` is called when the new process serves
    and this one is about to end.
    """

    def __init__(
        self,
        reactor: Any,
        balancer: Upgradable,
        command: list[str],
        *,
        pidfile: Callable[[], str] = lambda: "",
        prepare: Callable[[], Any] = lambda: None,
        over: Callable[[int], None] = lambda pid: None,
    ) -> None:
        self._reactor = reactor
        self._balancer = balancer
        self._command = command
        self._pidfile = pidfile
        self._prepare = prepare
        self._over = over
        self._done = False
        self._waiting: Deferred[UpgradeReport] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._said: IO[bytes] | None = None
        self._pipe = -1
        self._remainder: Remainder | None = None
        self._told = 0  # number of the last event handed over at the start
        self._deadline = 0.0
        self._call: Any = None

    def begin(self) -> Deferred[UpgradeReport]:
        """Start the new program. The Deferred fires when it serves or has failed; it never fails
        itself.
        """
        reason = self._why_not()
        if reason:
            return succeed(self._refused(reason))
        self._prepare()
        try:
            self._start()
        except (ListenError, OSError) as error:
            return succeed(self._refused(str(error)))
        _log.info("upgrade: started process {pid}", pid=self._pid)
        self._deadline = self._reactor.seconds() + LIMIT_S
        waiting: Deferred[UpgradeReport] = Deferred()
        self._waiting = waiting
        self._look()
        return waiting

    def abandon(self) -> None:
        """Kill a program that does not serve yet, because this process stops."""
        if self._waiting is not None:
            self._fail("the running process is stopping")

    @property
    def _pid(self) -> int:
        return self._process.pid if self._process is not None else 0

    def _why_not(self) -> str:
        if self._done:
            return f"process {self._pid} has taken over already"
        if self._waiting is not None:
            return f"an upgrade is under way, process {self._pid} is starting"
        if os.getpid() == 1:
            return "this is process 1 of a container, which ends with it: replace the container"
        if not self._balancer.serving:
            return "lbproxy has not started completely yet"
        return ""

    def _start(self) -> None:
        sockets = self._balancer.sockets()
        try:
            with ExitStack() as ours:
                self._process = self._spawn(sockets, ours)
        except BaseException:
            self._clean()
            raise

    def _spawn(
        self, sockets: list[tuple[Address, list[int]]], ours: ExitStack
    ) -> subprocess.Popen[bytes]:
        """Start the program. ``ours``: descriptors that this process closes once it runs."""
        self._pipe, theirs = os.pipe()
        ours.callback(os.close, theirs)
        os.set_blocking(self._pipe, False)
        self._said = tempfile.TemporaryFile()  # noqa: SIM115
        self._remainder = remainder = Remainder()
        ours.callback(remainder.started)
        self._told = self._balancer.events.last
        self._balancer.note_kept()
        stderr = os.dup(2)
        ours.callback(os.close, stderr)
        document = ours.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
        told = {
            "version": VERSION,
            "sockets": [{"address": attrs.asdict(address), "fds": fds} for address, fds in sockets],
            "known": self._balancer.known(),
            "ready": theirs,
            "remainder": remainder.theirs,
            "stderr": stderr,
            "pidfile": self._pidfile(),
        }
        document.write(json.dumps(told).encode())
        document.seek(0)
        environment = {**os.environ, ENVIRONMENT: str(document.fileno())}
        environment.pop("WATCHDOG_PID", None)  # the new process is the one to watch
        listening = [fd for _, fds in sockets for fd in fds]
        return subprocess.Popen(
            self._command,
            pass_fds=(*listening, *remainder.theirs, theirs, stderr, document.fileno()),
            stdin=subprocess.DEVNULL,
            stderr=self._said,
            env=environment,
        )

    def _look(self) -> None:
        self._call = None
        process = self._process
        assert process is not None
        status = process.poll()
        if self._is_ready() and status is None:
            self._succeed()
        elif status is not None:
            how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
            self._fail(f"the new process {how}{self._words()}")
        elif self._reactor.seconds() >= self._deadline:
            self._fail(f"the new process did not serve within {LIMIT_S:g} s{self._words()}")
        else:
            self._call = self._reactor.callLater(_POLL, self._look)

    def _is_ready(self) -> bool:
        try:
            return os.read(self._pipe, 64).startswith(READY)
        except BlockingIOError:
            return False

    def _words(self) -> str:
        assert self._said is not None
        size = self._said.seek(0, os.SEEK_END)
        self._said.seek(max(0, size - _WORDS))
        text = self._said.read().decode(errors="replace").strip()
        if "Traceback (most recent" in text:
            text = text.rpartition("\n")[2]
        return f": {text}" if text else ""

    def _succeed(self) -> None:
        self._done = True
        self._balancer.hand_over()
        if self._remainder is not None:
            later = self._balancer.events.since(self._told)
            self._remainder.send([event.as_dict() for event in later], self._balancer.noted())
        self._clean()
        self._over(self._pid)
        report = UpgradeReport(self._pid)
        _log.info("upgrade: {summary}", summary=report.summary())
        self._balancer.events.add(EventKind.UPGRADE, "", report.summary(), pid=report.pid)
        self._reactor.callLater(_SAY_FIRST, self._reactor.stop)
        self._answer(report)

    def _fail(self, why: str) -> None:
        process = self._process
        if process is not None and process.poll() is None:
            # not SIGTERM: it must not clean up resources that still belong to this process
            process.kill()
            process.wait()
        self._clean()
        self._answer(self._refused(why))

    def _refused(self, why: str) -> UpgradeReport:
        report = UpgradeReport(error=why)
        text = f"upgrade: {report.summary()}"
        _log.error("{text}", text=text)
        self._balancer.events.add(EventKind.UPGRADE_FAILED, "", text, EventSeverity.ERROR)
        return report

    def _clean(self) -> None:
        self._balancer.noted()
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = None
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1
        if self._said is not None:
            self._said.close()
            self._said = None
        remainder, self._remainder = self._remainder, None
        if remainder is not None:
            remainder.close()

    def _answer(self, report: UpgradeReport) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(report)


def write_pid(path: str, pid: int) -> None:
    """Write another process id to the file, atomically if its folder is writable.

    Raises OSError.
    """
    part = Path(f"{path}.{pid}.new")
    try:
        part.write_text(f"{pid}")
        part.replace(path)
    except PermissionError:  # the file belongs to root, and this process is no longer root
        Path(path).write_text(f"{pid}")


def holds_pid(path: str, pid: int) -> bool:
    """Return whether the file contains the id ``pid``."""
    try:
        return Path(path).read_text().strip() == str(pid)
    except (OSError, ValueError):
        return False
