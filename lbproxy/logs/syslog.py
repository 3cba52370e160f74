"""CONTROL. An access log that is sent to a syslog server.

The messages follow RFC 5424 and are sent over UDP, TCP or a Unix socket.

It is a :class:`~lbproxy.logs.sink.LogSink` with another output. Sockets are non-blocking and
checked only when data is to be sent. A server that is down or too slow causes dropped lines once
the buffer is full, but never delays traffic.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Callable
from select import POLLOUT, poll
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.python.failure import Failure

from lbproxy.config.lines import syslog_address
from lbproxy.config.model import LogSpec
from lbproxy.logs.sink import BATCH_BYTES, LogSink
from lbproxy.net.lookup import literal_addresses, look_up
from lbproxy.observe.syslog import Framer

__all__ = ["CONNECT_TIMEOUT", "SyslogSink"]

CONNECT_TIMEOUT = 10.0
"""Deadline of a TCP connection to the server, in seconds."""


class SyslogSink(LogSink):
    """Sends lines to a syslog server. ``spec.path`` is ``syslog:udp:HOST:PORT``,
    ``syslog:tcp:HOST:PORT`` or ``syslog:unix:PATH``.
    """

    def __init__(self, spec: LogSpec, reactor: Any, wall: Callable[[], float] = time.time) -> None:
        super().__init__(spec, reactor, wall)
        self._transport, self._address = syslog_address(spec.path)
        self._socket: socket.socket | None = None
        self._framer: Framer | None = None
        self._connecting_until = 0.0  # deadline in the reactor's time; 0: connected
        self._partial = b""  # the remainder of a message sent in part (TCP)
        self._hosts: list[str] = []  # addresses of the server's name
        self._asking: Deferred[Any] | None = None

    def stop(self) -> None:
        """See LogSink."""
        super().stop()
        if self._asking is not None:
            self._asking.cancel()

    # -- connecting -----------------------------------------------------------------------------

    def _open(self) -> bool:
        host = self._address.host
        if literal_addresses(self._address) is None:
            if not self._hosts:
                self._ask()
                return False
            host = self._hosts.pop(0)
        try:
            self._connect(host)
        except OSError as error:
            self._failed(error)
            return False
        return True

    def _connect(self, host: str) -> None:
        unix = self._transport == "unix"
        family = socket.AF_UNIX if unix else socket.AF_INET6 if ":" in host else socket.AF_INET
        stream = self._transport == "tcp"
        made = socket.socket(family, socket.SOCK_STREAM if stream else socket.SOCK_DGRAM)
        try:
            made.setblocking(False)
            if stream:
                made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            result = made.connect_ex(self._address.path if unix else (host, self._address.port))
            if result not in (0, errno.EINPROGRESS):
                raise OSError(result, os.strerror(result))
        except OSError:
            made.close()
            raise
        self._socket = made
        self._fd = made.fileno()
        self._plain = False
        self._connecting_until = self._reactor.seconds() + CONNECT_TIMEOUT if stream else 0.0
        spec = self.spec
        self._framer = Framer(
            spec.facility, socket.gethostname(), spec.tag, os.getpid(), counted=stream
        )

    def _close(self) -> None:
        made, self._socket = self._socket, None
        self._fd = -1
        if self._partial:
            self._partial, self._unfinished = b"", False
            self.dropped += 1
        if made is not None:
            made.close()

    def _ask(self) -> None:
        """Look up the server's name. Lines wait in the buffer meanwhile."""
        if self._asking is not None:
            return

        def answered(found: Any) -> None:
            self._asking = None
            if not self._started:
                return
            if isinstance(found, Failure) or not found:
                self._failed(OSError(f"{self._address.host} cannot be resolved"))
                return
            self._hosts = list(found)
            self.flush()

        self._asking = ensureDeferred(look_up(self._reactor, self._address.host))
        self._asking.addBoth(answered)

    def _established(self) -> bool:
        """Return whether the connection is established. Raises OSError if that failed or took too
        long.
        """
        if not self._connecting_until:
            return True
        assert self._socket is not None
        ready = poll()
        ready.register(self._fd, POLLOUT)
        if not ready.poll(0):
            if self._reactor.seconds() >= self._connecting_until:
                raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
            return False
        problem = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if problem:
            raise OSError(problem, os.strerror(problem))
        self._connecting_until = 0.0
        return True

    # -- sending --------------------------------------------------------------------------------

    def _send(self, data: bytes) -> int:
        self._done = 0
        if not self._established():
            return 0
        return self._send_stream(data) if self._transport == "tcp" else self._send_each(data)

    def _send_each(self, data: bytes) -> int:
        assert self._socket is not None and self._framer is not None
        header = self._framer.header(self._wall())
        while self._done < len(data):
            end = data.index(b"\n", self._done)
            try:
                self._socket.send(self._framer.frame(header, data[self._done : end]))
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.EMSGSIZE:
                    raise
                self.dropped += 1
            self._done = end + 1
        return self._done

    def _send_stream(self, data: bytes) -> int:
        """Send on a stream. A message counts as sent once its first byte is sent; its remainder is
        sent first next time.
        """
        self._hung_up()
        if self._partial:
            self._partial = self._partial[self._write(self._partial) :]
            self._unfinished = bool(self._partial)
        while self._done < len(data) and not self._partial:
            frames, ends = self._batch(data)
            sent = self._write(b"".join(frames))
            for frame, end in zip(frames, ends, strict=True):
                if sent <= 0:
                    return self._done
                if sent < len(frame):
                    self._partial, self._unfinished = frame[sent:], True
                sent -= len(frame)
                self._done = end
        return self._done

    def _batch(self, data: bytes) -> tuple[list[bytes], list[int]]:
        """Return the next messages, and the end of each line in ``data``."""
        assert self._framer is not None
        header = self._framer.header(self._wall())
        frames: list[bytes] = []
        ends: list[int] = []
        at, size = self._done, 0
        while at < len(data) and size < BATCH_BYTES:
            end = data.index(b"\n", at)
            frames.append(self._framer.frame(header, data[at:end]))
            size += len(frames[-1])
            at = end + 1
            ends.append(at)
        return frames, ends

    def _hung_up(self) -> None:
        """Check for the end of the connection. A syslog server sends nothing, so readable data
        means a close, and messages sent later would be lost.
        """
        assert self._socket is not None
        try:
            while self._socket.recv(4096):
                pass
        except BlockingIOError:
            return
        raise ConnectionResetError(errno.ECONNRESET, "the server closed the connection")

    def _write(self, data: bytes) -> int:
        assert self._socket is not None
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0
