"""CONTROL. The ``exec`` check: a program of the operator, such as a monitoring plugin, decides
whether a server is healthy.

Found by :mod:`lbproxy.registry` under its name. The program runs as a separate process in its own
session. At the deadline lbproxy kills it together with everything it has started.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from typing import Any, ClassVar

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from lbproxy.config.model import option
from lbproxy.health.state import Result
from lbproxy.interfaces import Env
from lbproxy.net.timers import TimerWheel
from lbproxy.probes.base import Probe, ProbeTarget, hidden

__all__ = ["ExecOptions", "ExecProbe"]

OUTPUT_BYTES = 8 * 1024
"""Number of bytes of output kept; the rest is discarded."""

GRACE = 0.2
"""Seconds to wait for the rest of the output after the program has ended; its children may hold
the pipe open.
"""

KEPT = ("PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ")
"""Environment variables of lbproxy that are passed to the program."""


@frozen
class ExecOptions:
    """Options of ``check = exec``."""

    program: str = option(
        "program",
        doc="program to run, without a shell: a path, or a name to be found in PATH",
        positional=True,
        example="/usr/lib/nagios/plugins/check_ssh",
    )
    arguments: tuple[str, ...] = option(
        "string",
        (),
        doc=(
            "arguments of the program; ``{address}``, ``{port}``, ``{server}`` and ``{backend}`` "
            "are replaced"
        ),
        positional="rest",
        example="-p {port} {address}",
    )
    ok: tuple[int, ...] = option(
        "list:int", (0,), min=0, max=255, doc="exit statuses of a healthy server", example="0,1"
    )
    concurrent: int = option(
        "int", 16, min=1, max=1000, doc="maximum number of concurrent programs; further checks wait"
    )
    path: str = hidden()

    def __attrs_post_init__(self) -> None:
        found = shutil.which(self.program)
        if found is None:
            raise ValueError(f"there is no program {self.program[:200]!r} that can be run")
        if not self.ok:
            raise ValueError("ok: give at least one exit status")
        object.__setattr__(self, "path", found)


class ExecProbe(Probe):
    """Healthy if the program exits in time with a status in ``ok``.

    Its first line of output is the note.

    Its environment has ``LBPROXY_BACKEND``, ``LBPROXY_SERVER``, ``LBPROXY_ADDRESS``,
    ``LBPROXY_PORT`` and ``LBPROXY_TIMEOUT`` (seconds), and of lbproxy's own environment only PATH,
    HOME, USER, LANG, LC_ALL and TZ.
    """

    name: ClassVar[str] = "exec"
    Options: ClassVar[type[Any]] = ExecOptions

    def __init__(self, options: ExecOptions, env: Env) -> None:
        super().__init__(options, env)
        self.concurrent = options.concurrent
        self._setsid = shutil.which("setsid")

    async def check(self, target: ProbeTarget) -> Result:
        """See :class:`lbproxy.interfaces.IProbe`."""
        options: ExecOptions = self.options
        wheel = target.network.wheel
        begun = wheel.now()
        words = _words(target)
        command = [options.path, *(_fill(text, words) for text in options.arguments)]
        run = _Run(wheel, grouped=self._setsid is not None)
        if self._setsid is not None:
            command = [self._setsid, *command]
        try:
            self.env.reactor.spawnProcess(run, command[0], command, env=_environment(target, words))
        except OSError as error:
            return Result(False, f"cannot be run: {error.strerror}", wheel.now() - begun)
        status = await run.ended
        note = run.note()
        if status not in options.ok:
            note = f"{_status(status)}: {note}" if note else _status(status)
        return Result(status in options.ok, note, wheel.now() - begun)


class _Run(ProcessProtocol):
    """A run of a program. ``ended`` fires with its exit status, negative for a signal.

    Cancelling it kills the program.
    """

    def __init__(self, wheel: TimerWheel, grouped: bool) -> None:
        self.ended: Deferred[int] = Deferred(lambda _: self._kill())
        self._grouped = grouped
        self._out = b""
        self._err = b""
        self._pid = 0
        self._status: int | None = None
        self._late = wheel.timer(self._finish)

    def note(self) -> str:
        """Return the first line of its output, or else of its standard error."""
        for data in (self._out, self._err):
            lines = data.decode("utf-8", "replace").split("\n")
            found = next((line.strip() for line in lines if line.strip()), "")
            if found:
                return "".join(c if c.isprintable() else "?" for c in found[:200])
        return ""

    def _kill(self) -> None:
        """Kill the program and everything it has started."""
        transport: Any = self.transport
        if self._grouped and self._pid:
            # the process group keeps the program's number after the program has ended
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._pid, signal.SIGKILL)
        if self._status is None:
            with contextlib.suppress(ProcessExitedAlready):
                transport.signalProcess("KILL")
        transport.loseConnection()

    def _finish(self) -> None:
        if not self.ended.called:
            self._kill()  # children that it may have left behind
            assert self._status is not None
            self.ended.callback(self._status)

    # -- called by Twisted ----------------------------------------------------------------------

    def connectionMade(self) -> None:
        """See IProcessProtocol."""
        transport: Any = self.transport
        self._pid = transport.pid or 0
        transport.closeStdin()

    def outReceived(self, data: bytes) -> None:
        """See IProcessProtocol."""
        self._out += data[: OUTPUT_BYTES - len(self._out)]

    def errReceived(self, data: bytes) -> None:
        """See IProcessProtocol."""
        self._err += data[: OUTPUT_BYTES - len(self._err)]

    def processExited(self, reason: Failure) -> None:
        """See IProcessProtocol."""
        self._status = _exit_status(reason)
        if not self.ended.called:
            self._late.set(GRACE)

    def processEnded(self, reason: Failure) -> None:
        """See IProcessProtocol."""
        self._late.clear()
        if self._status is None:
            self._status = _exit_status(reason)
        self._finish()


def _exit_status(reason: Failure) -> int:
    value: Any = reason.value
    if isinstance(value, ProcessDone):
        return 0
    return -int(value.signal) if value.signal is not None else int(value.exitCode or 0)


def _status(status: int) -> str:
    return f"killed by signal {-status}" if status < 0 else f"status {status}"


def _words(target: ProbeTarget) -> dict[str, str]:
    address = target.address
    return {
        "address": address.path if address.kind == "unix" else address.host,
        "port": str(address.port) if address.kind == "tcp" else "",
        "server": target.server.name,
        "backend": target.server.backend,
    }


def _fill(text: str, words: dict[str, str]) -> str:
    for name, value in words.items():
        text = text.replace("{" + name + "}", value)
    return text


def _environment(target: ProbeTarget, words: dict[str, str]) -> dict[str, str]:
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    ours = {f"LBPROXY_{name.upper()}": value for name, value in words.items()}
    return {**kept, **ours, "LBPROXY_TIMEOUT": f"{target.timeout:g}"}
