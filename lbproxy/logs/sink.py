"""CONTROL. Access log outputs: lines are collected in memory and written a few times a second.

:mod:`lbproxy.service` creates one :class:`LogSink` per path and shares it among frontends. The data
path never waits: a regular file is written at once, other targets (a pipe, a terminal, a socket)
only while they accept data. Lines that do not fit into the bounded buffer are dropped and counted.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable
from select import POLLOUT, poll
from typing import Any

from twisted.logger import Logger

from lbproxy.compiled import native
from lbproxy.config.model import LogSpec
from lbproxy.logs.rotation import Rotation

__all__ = ["BATCH_BYTES", "BUFFER_BYTES", "INTERVAL", "LogSink", "LogWriter"]

_log = Logger(__name__)

INTERVAL = 0.2
"""Maximum time that a line waits in memory, in seconds, while the target accepts data."""

BATCH_BYTES = 64 * 1024
"""Number of buffered bytes that are written at once, without waiting for the interval."""

BUFFER_BYTES = 1024 * 1024
"""Maximum number of bytes buffered for a target that does not accept them. Further lines are
dropped.
"""

_RETRY = 1.0  # pause after an error
_ROTATE_RETRY = 60.0  # pause after a file could not be rotated
_REPORT = 1.0  # minimum time between two messages in the process log
_STDOUT = 1
_ATOMIC = 4096  # POSIX PIPE_BUF on Linux: a writable pipe accepts this much without blocking


@native(allow_interpreted_subclasses=True)
class LogSink:
    """One output of access log lines.

    ``spec.path``: a file, ``stdout``, or ``off`` (or "") for none. ``reactor``: IReactorTime.
    ``wall``: Unix time. ``dropped`` (lines), ``errors`` and ``written`` (bytes) are totals.
    """

    def __init__(self, spec: LogSpec, reactor: Any, wall: Callable[[], float] = time.time) -> None:
        self.spec = spec
        self.path = spec.path
        self.enabled = spec.path not in ("", "off")
        self.dropped = 0
        self.errors = 0
        self.written = 0
        self._reactor = reactor
        self._lines: list[bytes] = []
        self._rest = b""  # remainder of an earlier write
        self._size = 0  # bytes in both buffers
        self._mark = BATCH_BYTES  # size at which write() checks the buffer
        self._call: Any = None
        self._fd = -1
        self._plain = True  # a regular file, whose writes do not block
        self._started = False
        self._reported = (0, 0)
        self._last_report = float("-inf")
        self._last_error = ""
        self._wall = wall
        self._rotation: Rotation | None = None
        if self.is_file and (spec.rotate_size or spec.rotate_every):
            self._rotation = Rotation(spec.path, spec.rotate_size, spec.rotate_every, spec.keep)
        self._rotate_at = float("-inf")  # time before which nothing is tried after a failure
        self._unfinished = False  # a message was sent in part
        self._done = 0  # bytes of the batch that were sent before a write failed

    @property
    def is_file(self) -> bool:
        """True if the output is a regular file."""
        return self.enabled and self.path != "stdout" and not self.path.startswith("syslog:")

    def set_remote_dropped(self, dropped: int) -> None:
        """Set the number of lines dropped by the worker processes, which have logged them
        themselves.
        """
        self.dropped = dropped
        self._reported = (dropped, self.errors)

    # -- the hot path ---------------------------------------------------------------------------

    def write(self, line: bytes) -> None:
        """Accept one line, with its line feed. Never raises, never blocks."""
        size = self._size + len(line)
        if size >= self._mark:
            self._crowded(line)
            return
        self._lines.append(line)
        self._size = size
        if self._call is None:
            self._arm(INTERVAL)

    def _crowded(self, line: bytes) -> None:
        if not self.enabled:
            return
        if self._size + len(line) > BUFFER_BYTES:
            self.dropped += 1
        else:
            self._lines.append(line)
            self._size += len(line)
            if self._mark == BATCH_BYTES:
                self.flush()
        if self._call is None:
            self._arm(INTERVAL)

    # -- life -----------------------------------------------------------------------------------

    def start(self) -> None:
        """Open the target. A failure is counted, logged and retried; it is not raised."""
        if not self.enabled:
            self._mark = 0  # every line is refused at once
            return
        self._started = True
        if self._fd < 0:
            self._open()
        if self._size:
            self.flush()

    def stop(self) -> None:
        """Write what can be written now, and close. The rest is dropped."""
        if self.enabled and self._started:
            self.flush()
        self._started = False
        if self._call is not None:
            self._call.cancel()
            self._call = None
        if self._size:
            self.dropped += b"".join([self._rest, *self._lines]).count(b"\n")
        self._lines.clear()
        self._rest, self._size = b"", 0
        self._report(force=True)
        self._close()

    def reopen(self) -> None:
        """Reopen the file after a rotation: buffered lines go to the old file, later ones to the
        new file.

        If the new file cannot be opened, the old one stays in use.
        """
        if not self._started or not self.is_file:
            return
        self.flush()
        self._open_anew()

    def _open_anew(self) -> None:
        old, self._fd = self._fd, -1
        if self._open():
            if old >= 0:
                os.close(old)
        else:
            self._fd = old

    def _open(self) -> bool:
        try:
            if self.path == "stdout":
                fd = _STDOUT
            else:
                flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
                fd = os.open(self.path, flags, 0o640)
            self._plain = stat.S_ISREG(os.fstat(fd).st_mode)
            if self._rotation is not None:
                self._rotation.opened(fd, self._wall())
        except (OSError, ValueError) as error:
            self._failed(error)
            return False
        self._fd = fd
        return True

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0 and self.path != "stdout":
            os.close(fd)

    # -- writing --------------------------------------------------------------------------------

    def _arm(self, delay: float) -> None:
        if self.enabled and self._call is None:
            self._call = self._reactor.callLater(delay, self._tick)

    def _tick(self) -> None:
        self._call = None
        self.flush()
        self._report()
        if self._size or self._unfinished or self._reported != (self.dropped, self.errors):
            self._arm(INTERVAL if self._mark == BATCH_BYTES else _RETRY)

    def flush(self) -> None:
        """Write the buffer, as far as the target accepts it. Never raises."""
        if not (self._size or self._unfinished) or not self._started:
            return
        if self._fd < 0 and not self._open():
            return
        if self._rotation is not None and self._plain and not self._rest:
            self._rotate(self._rotation)
        data = b"".join([self._rest, *self._lines]) if self._rest else b"".join(self._lines)
        self._lines.clear()
        self._rest = b""
        try:
            done = self._send(data)
        except OSError as error:
            self._keep(data, self._done)
            self._failed(error)
            self._close()
            return
        self._keep(data, done)
        self._mark = BATCH_BYTES if done == len(data) else BUFFER_BYTES

    def _keep(self, data: bytes, done: int) -> None:
        self.written += done
        self._rest = data[done:] if done < len(data) else b""
        self._size = len(self._rest)

    def _rotate(self, rotation: Rotation) -> None:
        """Start a new file if it is due. An error is logged, and the old file stays in use."""
        now = self._wall()
        if now < self._rotate_at:
            return
        try:
            if not rotation.due(self._fd, now):
                return
            rotation.rotate(self._fd)
        except OSError as error:
            self._rotate_at = now + _ROTATE_RETRY
            self._failed(error, "cannot start a new file")
            return
        self._open_anew()

    def _send(self, data: bytes) -> int:
        """Write as much as possible. If it raises OSError, ``_done`` has the number of bytes
        written before.
        """
        return self._write_plain(data) if self._plain else self._write_careful(data)

    def _write_plain(self, data: bytes) -> int:
        """Write to a regular file, which accepts everything or raises."""
        done = self._done = 0
        view = memoryview(data)
        while done < len(data):
            done += os.write(self._fd, view[done:])
            self._done = done
        return done

    def _write_careful(self, data: bytes) -> int:
        """Write as much as possible without blocking."""
        done = self._done = 0
        view = memoryview(data)
        ready = poll()
        ready.register(self._fd, POLLOUT)
        while done < len(data) and ready.poll(0):
            try:
                done += os.write(self._fd, view[done : done + _ATOMIC])
            except BlockingIOError:
                break
            self._done = done
        return done

    # -- trouble --------------------------------------------------------------------------------

    def _failed(self, error: Exception, what: str = "cannot be written") -> None:
        self.errors += 1
        self._mark = BUFFER_BYTES
        self._last_error = f"{what} ({getattr(error, 'strerror', None) or error})"
        self._report()
        if self._started:
            self._arm(_RETRY)

    def _report(self, *, force: bool = False) -> None:
        """Log one line about the problems since the last report."""
        dropped, errors = self._reported
        if (self.dropped, self.errors) == self._reported:
            return
        now = self._reactor.seconds()
        if now - self._last_report < _REPORT and not force:
            return
        self._last_report = now
        self._reported = (self.dropped, self.errors)
        failed = self.errors - errors
        _log.warn(
            "access log {path} {trouble}; {dropped} lines dropped",
            path=self.path,
            trouble=self._last_error if failed else "is too slow",
            errors=failed,
            dropped=self.dropped - dropped,
        )


class LogWriter:
    """Writes the access log of one frontend.

    ``line`` converts each finished exchange or session to a line for ``sink``.
    """

    __slots__ = ("_line", "_sink")

    def __init__(self, line: Callable[[Any], bytes], sink: LogSink) -> None:
        self._line = line
        self._sink = sink

    def write(self, record: Any) -> None:
        """Write one record."""
        self._sink.write(self._line(record))
