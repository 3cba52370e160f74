"""Start lbproxy by forks of a process that has imported it: a start takes a tenth of the processor
time.

A test that is about the start itself, the environment of the interpreter or its command line starts
a new interpreter instead.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from lbproxy.net.forks import FORKS
from tests.support.process import lives, until

__all__ = ["Forked", "serve"]

ROOT = Path(__file__).resolve().parents[2]
MOST = 1 << 17
"""Bytes of a request: the environment is the largest part."""

PRELOADED = ("lbproxy.service", "lbproxy.tap", "twisted.scripts.twistd")

CODE = """
from tests.support.forkserver import serve
serve({})
from twisted.scripts.twistd import run
run()
"""


class ForkServer:
    """One process that forks, for all tests of this one. It ends when this one ends."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-c", CODE.format(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self._socket = ours
        self._lock = threading.Lock()

    def ask(self, fds: Sequence[int] = (), **request: Any) -> Any:
        """Return the answer to one request."""
        with self._lock:
            socket.send_fds(self._socket, [json.dumps(request).encode()], fds)
            answer = self._socket.recv(MOST)
        assert answer, f"the fork server ended with {self.process.wait()}"
        return json.loads(answer)


@cache
def _server(pid: int) -> ForkServer:
    return ForkServer()


class Forked:
    """A fork that runs twistd with ``words``: the methods of Popen that Child needs.

    ``err``: a descriptor for standard error, if not ``out``.
    """

    def __init__(
        self,
        words: Sequence[str],
        out: int,
        cwd: Path,
        env: Mapping[str, str],
        err: int | None = None,
    ) -> None:
        self.returncode: int | None = None
        self._server = _server(os.getpid())
        self.pid: int = self._server.ask(
            [out, out if err is None else err],
            words=list(words),
            cwd=str(cwd),
            env=dict(env),
            cores=sorted(os.sched_getaffinity(0)),
        )

    def poll(self) -> int | None:
        """Return its exit status, None while it runs."""
        if self.returncode is None and not lives(self.pid):
            self.returncode = self._server.ask(reap=self.pid)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal to it."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it."""
        self.send_signal(signal.SIGKILL)

    def wait(self, timeout: float) -> int:
        """Wait for its end."""
        if not until(lambda: self.poll() is not None, timeout):
            raise subprocess.TimeoutExpired(str(self.pid), timeout)
        assert self.returncode is not None
        return self.returncode


def serve(number: int) -> None:
    """Answer requests on a socket. It returns in each fork, which goes on with twistd."""
    for name in PRELOADED:
        import_module(name)
    from twisted.application.service import IServiceMaker
    from twisted.plugin import getPlugins

    assert list(getPlugins(IServiceMaker))
    assert "twisted.internet.reactor" not in sys.modules  # its descriptors are not for forks
    control = socket.socket(fileno=number)
    while True:
        data, fds, _, _ = socket.recv_fds(control, MOST, 2)
        if not data:
            os._exit(0)
        request = json.loads(data)
        if "reap" in request:
            answer = os.waitstatus_to_exitcode(os.waitpid(request["reap"], 0)[1])
        else:
            answer = os.fork()
            if not answer:
                control.close()
                _become(*fds, **request)
                return
        for fd in fds:
            os.close(fd)
        control.send(json.dumps(answer).encode())


def _become(
    out: int, err: int, words: list[str], cwd: str, env: dict[str, str], cores: list[int]
) -> None:
    """Turn this fork into what a new interpreter would be."""
    os.sched_setaffinity(0, cores)
    os.setsid()
    os.dup2(out, 1)
    os.dup2(err, 2)
    os.close(out)
    os.close(err)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    FORKS.count = 0
    sys.argv = ["-c", *words]
