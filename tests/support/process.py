"""Child processes for tests and the bench: started, waited for, read about in /proc, ended
by pid.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.support.forkserver import Forked

__all__ = [
    "PATIENCE_S",
    "UNKNOWN_STATUS",
    "Child",
    "NotReady",
    "accepts",
    "catches",
    "descendants",
    "find_binary",
    "lives",
    "until",
]

PATIENCE_S = 60.0
"""Bound of a wait for something that has to happen.

It is far above what any machine needs: a longer bound costs nothing when the test passes.
"""

UNKNOWN_STATUS = 256
"""Exit status of a process that is not our child."""

TICKS = os.sysconf("SC_CLK_TCK")
SEARCH = ("/usr/sbin", "/usr/local/sbin", "/usr/lib/postgresql/15/bin", "/opt/homebrew/bin")


class NotReady(RuntimeError):
    """A child ended or did not become ready in time; the message has its output."""


def find_binary(name: str) -> str | None:
    """The path of a program, looking also where PATH often does not."""
    found = shutil.which(name)
    if found:
        return found
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for folder in [*map(str, versions), *SEARCH]:
        found = shutil.which(name, path=folder)
        if found:
            return found
    return None


def until(ready: Callable[[], bool], timeout: float = PATIENCE_S) -> bool:
    """Ask every few milliseconds, less often as time goes by; False after ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    pause = 0.002
    while not ready():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)
    return True


def accepts(port: int, host: str = "127.0.0.1") -> bool:
    """Somebody listens there."""
    with contextlib.suppress(OSError), socket.create_connection((host, port), 5.0):
        return True
    return False


def catches(pid: int, number: int) -> bool:
    """The process has a handler for this signal."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("SigCgt:"):
                return bool(int(line.split()[1], 16) >> (number - 1) & 1)
    return False


def lives(pid: int) -> bool:
    """It runs, and is no zombie."""
    try:
        return _stat(pid)[0] != "Z"
    except OSError:
        return False


class Successor:
    """A process that a child has started in its place, with the methods of Popen that Child
    needs.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode = UNKNOWN_STATUS

    def poll(self) -> int | None:
        """Its status, None while it runs."""
        return None if lives(self.pid) else self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal to it."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def wait(self, timeout: float) -> int:
        """Wait for its end."""
        if not until(lambda: not lives(self.pid), timeout):
            raise subprocess.TimeoutExpired(str(self.pid), timeout)
        return self.returncode


class Child:
    """One child process in a session of its own; its output goes to ``log``.

    ``demote``: run it as this user if we are root.  ``twistd``: fork one that has imported lbproxy,
    with the words of ``command`` after its code.
    """

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        cores: Sequence[int] = (),
        demote: str = "",
        twistd: bool = False,
    ) -> None:
        self.log = log
        self.command = list(command)
        line = [*_as_user(demote), *command]
        if cores:
            line = ["taskset", "-c", ",".join(map(str, cores)), *line]
        self.process: subprocess.Popen[bytes] | Forked | Successor
        variables = {**os.environ, **(env or {})}
        with log.open("wb") as out:
            if twistd:
                from tests.support.forkserver import Forked

                self.process = Forked(command[3:], out.fileno(), cwd or Path.cwd(), variables)
                self._session = self.process.pid
                return
            self.process = subprocess.Popen(
                line,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env=variables,
                start_new_session=True,
            )
        self._session = self.process.pid

    @property
    def pid(self) -> int:
        """Of the process we started."""
        return self.process.pid

    @property
    def pids(self) -> list[int]:
        """It and all its descendants that are alive."""
        return [self.pid, *descendants(self.pid)]

    @property
    def alive(self) -> bool:
        """Has not ended."""
        return self.process.poll() is None

    def output(self) -> str:
        """What it has written, at most the last 8 KiB."""
        return self.log.read_bytes()[-8192:].decode(errors="replace")

    def wait_ready(self, ready: Callable[[], bool], timeout: float = PATIENCE_S) -> None:
        """Until ``ready()``; NotReady if it ends before, or takes longer than ``timeout``
        seconds.
        """
        if until(lambda: not self.alive or ready(), timeout) and self.alive:
            return
        state = "not ready in time" if self.alive else f"ended with {self.process.returncode}"
        self.stop()
        raise NotReady(f"{' '.join(self.command)}: {state}\n{self.output()}")

    def send_signal(self, number: int) -> None:
        """Send a signal to the process we started."""
        if self.alive:
            self.process.send_signal(number)

    def stop(self, number: int = signal.SIGTERM, timeout: float = 30.0) -> int:
        """Signal it, wait, kill what is left of it and its descendants; its exit status."""
        family = self.pids
        self.send_signal(number)
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(PATIENCE_S)
        for pid in family[1:]:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                if _session(pid) == self._session:
                    os.kill(pid, signal.SIGKILL)
        return self.process.returncode

    def follow(self, pid: int, timeout: float) -> bool:
        """Go on with the process ``pid``, which takes this one's place; False unless this one ends
        within ``timeout`` seconds.
        """
        if not until(lambda: not self.alive, timeout):
            return False
        self.process = Successor(pid)
        return True

    def kill(self) -> None:
        """End it without a chance to say good-bye."""
        self.stop(signal.SIGKILL)

    # -- /proc

    def cpu_seconds(self) -> float:
        """User and system time of the whole family so far, ended and reaped children included."""
        return sum(_cpu(pid) for pid in self.pids)

    def rss_bytes(self, *, peak: bool = False) -> int:
        """Resident memory of the whole family, now or at its highest (per process, summed)."""
        key = "VmHWM:" if peak else "VmRSS:"
        return sum(_status(pid, key) for pid in self.pids) * 1024

    def descriptors(self) -> int:
        """Open file descriptors of the process we started."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))


def descendants(pid: int) -> list[int]:
    """Children of ``pid``, their children, and so on."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += [int(child), *descendants(int(child))]
    return found


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the name; index 0 is the state."""
    text = Path(f"/proc/{pid}/stat").read_text()
    return text.rpartition(")")[2].split()


def _cpu(pid: int) -> float:
    with contextlib.suppress(OSError):
        fields = _stat(pid)
        return sum(int(fields[i]) for i in (11, 12, 13, 14)) / TICKS
    return 0.0


def _session(pid: int) -> int:
    try:
        return int(_stat(pid)[3])
    except OSError:
        return -1


def _status(pid: int, key: str) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(key):
                return int(line.split()[1])
    return 0


def _as_user(user: str) -> list[str]:
    if not user or os.geteuid() != 0:
        return []
    return ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"]
