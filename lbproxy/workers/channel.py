"""CONTROL. What master and worker say to each other: JSON lines on a socket pair, with descriptors where needed.

Both ends trust each other; a line has at most :data:`LINE_MAX` bytes.
"""

from __future__ import annotations

import array
import json
import socket
from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReadWriteDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

__all__ = ["LINE_MAX", "Channel"]

_log = Logger()

LINE_MAX = 64 * 1024 * 1024
"""A configuration with a hundred thousand servers fits."""

_READ = 256 * 1024
_FDS = 16  # most descriptors in one message


@implementer(IReadWriteDescriptor)
class Channel:
    """One end.  ``told(message, descriptors)`` gets each message; ``lost()`` is called once, when nobody is
    at the other end any more.

    Descriptors that come are the receiver's to close; those that go are the sender's until they are sent.
    """

    def __init__(
        self,
        reactor: Any,
        sock: socket.socket,
        told: Callable[[dict[str, Any], list[int]], None],
        lost: Callable[[], None],
    ) -> None:
        self._reactor = reactor
        self._socket = sock
        self._told = told
        self._lost: Callable[[], None] | None = lost
        self._buffer = bytearray()
        self._came: deque[int] = deque()
        self._out: deque[tuple[bytes, list[int]]] = deque()
        sock.setblocking(False)
        reactor.addReader(self)

    def send(self, message: dict[str, Any], descriptors: list[int] | None = None) -> None:
        """Say something; nothing happens when the other end is gone."""
        if self._lost is None:
            return
        fds = list(descriptors or ())
        assert len(fds) <= _FDS
        line = json.dumps({**message, "fds": len(fds)}, separators=(",", ":")).encode() + b"\n"
        self._out.append((line, fds))
        self.doWrite()

    # -- for the reactor ------------------------------------------------------------------------

    def fileno(self) -> int:
        """See IFileDescriptor."""
        return self._socket.fileno()

    def logPrefix(self) -> str:
        """See ILoggingContext."""
        return "workers"

    def doWrite(self) -> None:
        """Send as much as goes."""
        while self._out:
            line, fds = self._out[0]
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
            try:
                sent = self._socket.sendmsg([line], rights)
            except BlockingIOError:
                self._reactor.addWriter(self)
                return
            except OSError:
                self._end()
                return
            if sent < len(line):
                self._out[0] = (line[sent:], [])
                self._reactor.addWriter(self)
                return
            self._out.popleft()
        self._reactor.removeWriter(self)

    def doRead(self) -> None:
        """Take what came."""
        try:
            data, rights, _, _ = self._socket.recvmsg(_READ, socket.CMSG_SPACE(_FDS * 4))
        except BlockingIOError:
            return
        except OSError:
            data, rights = b"", []
        for level, kind, value in rights:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                found = array.array("i")
                found.frombytes(value[: len(value) - len(value) % found.itemsize])
                self._came.extend(found)
        if not data:
            self._end()
            return
        self._buffer += data
        if b"\n" not in data:
            if len(self._buffer) > LINE_MAX:
                self._end()
            return
        *lines, rest = self._buffer.split(b"\n")
        self._buffer = bytearray(rest)
        for line in lines:
            self._message(bytes(line))

    def _message(self, line: bytes) -> None:
        try:
            message = json.loads(line)
            fds = [self._came.popleft() for _ in range(message.pop("fds", 0))]
            self._told(message, fds)
        except Exception:
            _log.failure("a message between master and worker")

    def connectionLost(self, reason: Failure) -> None:
        """The reactor's call."""
        self._end()

    readConnectionLost = writeConnectionLost = connectionLost

    def close(self) -> None:
        """Say no more, hear no more; ``lost`` is not called."""
        self._lost = None
        self._close()

    def _end(self) -> None:
        lost, self._lost = self._lost, None
        self._close()
        if lost is not None:
            lost()

    def _close(self) -> None:
        if self._socket.fileno() >= 0:
            self._reactor.removeReader(self)
            self._reactor.removeWriter(self)
            self._socket.close()
        self._out.clear()
