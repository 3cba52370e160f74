"""DATA. One process of a firewall, seen from lbproxy: its start, its questions and its end.

States of a :class:`JudgeProcess`:

=========== =====================================================================================
``LOADING`` started; it loads the rules
``IDLE``    ready for a question
``BUSY``    a question is with it; it takes no other
``OVER``    its socket is closed; :meth:`JudgeProcess.reap` sees the process end
=========== =====================================================================================
"""

from __future__ import annotations

import json
import socket
import subprocess
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from enum import Enum
from typing import Any, Final, Protocol

from attrs import asdict
from twisted.internet.interfaces import IReadWriteDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from lbproxy.proxy.features.waf.modsecurity.judge import RulePart
from lbproxy.proxy.features.waf.modsecurity.messages import (
    LENGTH,
    MOST_BYTES,
    RuleAnswer,
    framed,
    read_answer,
)
from lbproxy.proxy.features.waf.modsecurity.start import command, environment

__all__ = ["JudgeOwner", "JudgeProcess", "JudgeState"]

_READ: Final = 64 * 1024
_REAP: Final = 0.02  # seconds between checks whether the process has ended
_LOOKS: Final = 100  # number of checks before it is killed


class JudgeState(Enum):
    """See the module."""

    LOADING = "loading"
    IDLE = "idle"
    BUSY = "busy"
    OVER = "over"


class JudgeOwner(Protocol):
    """The pool of a process. Each question gets one of ``answered`` and ``ended``."""

    def loaded(self, child: JudgeProcess, problem: str) -> None:
        """The rules are loaded, or cannot be loaded because of ``problem``."""

    def answered(self, child: JudgeProcess, answer: RuleAnswer) -> None:
        """The process has answered its question, and is idle again."""

    def ended(self, child: JudgeProcess) -> None:
        """The process has ended, or is about to."""


@implementer(IReadWriteDescriptor)
class JudgeProcess:
    """See the module. Raises OSError if the process cannot be started."""

    def __init__(
        self, reactor: Any, owner: JudgeOwner, parts: Sequence[RulePart], limit: int
    ) -> None:
        self.state = JudgeState.LOADING
        self._reactor = reactor
        self._owner = owner
        self._buffer = bytearray()
        self._out: deque[memoryview] = deque()
        self._looks = 0
        self._socket, theirs = socket.socketpair()
        with theirs, ExitStack() as failed:
            failed.callback(self._socket.close)
            self.process = subprocess.Popen(
                command(str(theirs.fileno())),
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                env=environment(),
            )
            failed.pop_all()
        self._socket.setblocking(False)
        reactor.addReader(self)
        settings = {"parts": [asdict(part) for part in parts], "limit": limit}
        self._send([json.dumps(settings).encode()])

    @property
    def pid(self) -> int:
        """Process id."""
        return self.process.pid

    def ask(self, fields: Sequence[bytes]) -> None:
        """Send a question. The process must be idle."""
        assert self.state is JudgeState.IDLE
        self.state = JudgeState.BUSY
        self._send(fields)

    def kill(self) -> None:
        """Kill the process; ``ended`` follows."""
        if self.process.poll() is None:
            self.process.kill()
        self._end()

    def close(self) -> None:
        """Let the process exit, or kill it if it is busy or loading. ``ended`` is not called."""
        if self.state is JudgeState.OVER:
            return
        if self.state is not JudgeState.IDLE and self.process.poll() is None:
            self.process.kill()
        self._close()
        self.reap()

    def reap(self) -> None:
        """Check periodically until the process has ended, so that it does not stay a zombie."""
        if self.process.poll() is not None:
            return
        self._looks += 1
        if self._looks == _LOOKS:
            self.process.kill()
        self._reactor.callLater(_REAP, self.reap)

    def _send(self, fields: Sequence[bytes]) -> None:
        self._out.extend(map(memoryview, framed(fields)))
        self.doWrite()

    def _end(self) -> None:
        if self.state is JudgeState.OVER:
            return
        self._close()
        self.reap()
        self._owner.ended(self)

    def _close(self) -> None:
        self.state = JudgeState.OVER
        self._reactor.removeReader(self)
        self._reactor.removeWriter(self)
        self._socket.close()
        self._out.clear()
        self._buffer.clear()

    def _received(self, message: bytes) -> None:
        answer = read_answer(message)
        if self.state is JudgeState.LOADING:
            self.state = JudgeState.IDLE
            self._owner.loaded(self, answer.problem)
        elif self.state is JudgeState.BUSY:
            self.state = JudgeState.IDLE
            self._owner.answered(self, answer)

    # -- for the reactor ------------------------------------------------------------------------

    def fileno(self) -> int:
        """See IFileDescriptor."""
        return self._socket.fileno()

    def logPrefix(self) -> str:
        """See ILoggingContext."""
        return "waf"

    def doWrite(self) -> None:
        """Send as much as the socket accepts."""
        while self._out:
            try:
                sent = self._socket.sendmsg(self._out)
            except BlockingIOError:
                self._reactor.addWriter(self)
                return
            except OSError:  # the process has died; the pool must not be called during its own call
                self._out.clear()
                self._reactor.removeWriter(self)
                self._reactor.callLater(0, self._end)
                return
            while self._out and sent >= len(self._out[0]):
                sent -= len(self._out.popleft())
            if sent:
                self._out[0] = self._out[0][sent:]
        self._reactor.removeWriter(self)

    def doRead(self) -> None:
        """Process received data."""
        try:
            data = self._socket.recv(_READ)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._end()
            return
        self._buffer += data
        while self.state is not JudgeState.OVER and len(self._buffer) >= LENGTH.size:
            size = LENGTH.unpack_from(self._buffer)[0]
            if size > MOST_BYTES:
                self.kill()
                return
            if len(self._buffer) < LENGTH.size + size:
                return
            message = bytes(self._buffer[LENGTH.size : LENGTH.size + size])
            del self._buffer[: LENGTH.size + size]
            self._received(message)

    def connectionLost(self, reason: Failure) -> None:
        """See IReadDescriptor."""
        self._end()

    readConnectionLost = writeConnectionLost = connectionLost
