"""CONTROL. Messages between master and worker.

The messages are JSON lines on a socket pair, with descriptors where needed.

Both ends trust each other. A line has at most :data:`LINE_MAX` bytes. Unread messages are buffered
up to a limit: while the other end is :attr:`Channel.behind`, messages that can be sent later are
not sent, and a channel with more unread bytes than a line of full length is closed.
"""

from __future__ import annotations

import array
import json
import os
import socket
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.interfaces import IReadWriteDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

__all__ = ["FDS", "LINE_MAX", "Channel"]

_log = Logger()

LINE_MAX = 64 * 1024 * 1024
"""Maximum length of a line in bytes, enough for a configuration with a hundred thousand servers."""

_READ = 256 * 1024
FDS = 16
"""Maximum number of descriptors in one message."""


@implementer(IReadWriteDescriptor)
class Channel:
    """One end of a channel.

    ``received(message, descriptors)`` is called for each message; ``lost()`` once, when the other
    end is closed. The receiver closes received descriptors. The sender keeps sent ones, and may
    close them at once. ``behind``: number of bytes that the other end has not read yet, at most
    twice :data:`LINE_MAX`.
    """

    def __init__(
        self,
        reactor: Any,
        sock: socket.socket,
        received: Callable[[dict[str, Any], list[int]], None],
        lost: Callable[[], None],
    ) -> None:
        self._reactor = reactor
        self._socket = sock
        self._received = received
        self._lost: Callable[[], None] | None = lost
        self._buffer = bytearray()
        self._came: deque[int] = deque()
        self._out: deque[tuple[memoryview, list[int]]] = deque()
        self.behind = 0
        sock.setblocking(False)
        reactor.addReader(self)

    def send(self, message: dict[str, Any], descriptors: Iterable[int] = ()) -> None:
        """Send a message. Does nothing if the other end is closed."""
        if self._lost is None:
            return
        if self.behind > LINE_MAX:
            waited = self.behind
            self._end()
            _log.error(
                "closing the channel: the other end has not read {waited} bytes", waited=waited
            )
            return
        fds: list[int] = []
        try:
            for fd in descriptors:
                fds.append(os.dup(fd))  # the rest may have to wait
        except OSError:
            _close(fds)
            self._end()
            return
        assert len(fds) <= FDS
        line = json.dumps({**message, "fds": len(fds)}, separators=(",", ":")).encode() + b"\n"
        self._out.append((memoryview(line), fds))
        self.behind += len(line)
        self.doWrite()

    # -- for the reactor ------------------------------------------------------------------------

    def fileno(self) -> int:
        """See IFileDescriptor."""
        return self._socket.fileno()

    def logPrefix(self) -> str:
        """See ILoggingContext."""
        return "workers"

    def doWrite(self) -> None:
        """Send as much as possible."""
        while self._out:
            line, fds = self._out[0]
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
            try:
                sent = self._socket.sendmsg([line], rights)
            except BlockingIOError:
                self._reactor.addWriter(self)
                return
            except (BrokenPipeError, ConnectionResetError):
                self._forget()  # messages may still be readable: reading detects the end
                return
            except OSError:
                self._end()
                return
            _close(fds)
            self.behind -= sent
            if sent < len(line):
                self._out[0] = (line[sent:], [])
                self._reactor.addWriter(self)
                return
            self._out.popleft()
        self._reactor.removeWriter(self)

    def doRead(self) -> None:
        """Read the available data."""
        try:
            data, rights, _, _ = self._socket.recvmsg(
                _READ, socket.CMSG_SPACE(FDS * 4), socket.MSG_CMSG_CLOEXEC
            )
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
            if self._lost is not None:
                self._message(bytes(line))

    def _message(self, line: bytes) -> None:
        try:
            message = json.loads(line)
            fds = [self._came.popleft() for _ in range(message.pop("fds"))]
        except (ValueError, LookupError):  # descriptors that did not fit are lost
            _log.failure("a message between master and worker cannot be parsed")
            self._end()
            return
        try:
            self._received(message, fds)
        except BaseException:
            _log.failure("a message between master and worker")

    def connectionLost(self, reason: Failure) -> None:
        """Handle the loss of the connection, for the reactor."""
        self._end()

    readConnectionLost = writeConnectionLost = connectionLost

    def close(self) -> None:
        """Stop sending and receiving. ``lost`` is not called."""
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
            self._forget()
            self._socket.close()
        _close(self._came)
        self._came.clear()

    def _forget(self) -> None:
        """Discard unsent data."""
        self._reactor.removeWriter(self)
        for _, fds in self._out:
            _close(fds)
        self._out.clear()
        self.behind = 0


def _close(fds: Iterable[int]) -> None:
    for fd in fds:
        os.close(fd)
