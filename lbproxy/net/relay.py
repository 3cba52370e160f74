"""DATA. Relays bulk data from one socket to another inside the kernel.

A :class:`Relay` takes over one direction of a session that moves bulk data. It uses ``splice(2)``
from the socket to a pipe and on to the other socket, so that the bytes are never copied to and from
this process. Rules:

1. The pipe is filled only while it is empty and the sink has nothing else to send, and emptied at
   once.
2. Bytes that the sink does not accept stay in the pipe, and the relay becomes the first chunk of
   the sink's buffer. The rules of a buffer (back-pressure, half-close and close after it is
   written, loss on abort) then apply to the pipe, and a later ``write`` keeps its place behind it.
3. All other cases (hang-ups, a paused source, a sink that is closing or has something buffered)
   take the ordinary way through the source, which is correct at any moment because of rule 2.
4. At most one pipe full is moved per turn, like one ``recv`` otherwise.
5. The pipe is returned when the flow becomes small or stops, when either connection ends, and
   when the kernel cannot splice. The direction then continues the ordinary way.
6. Bytes count as moved when they have left the source's socket, as with ``recv``.

========  ========================  ======================  ==========================
state     the source has ended      the pipe becomes empty  lost, small, stopped,
                                                            the kernel cannot splice
========  ========================  ======================  ==========================
MOVING    DRAINING; RELEASED if     -                       RELEASED
          the pipe is empty
DRAINING  -                         RELEASED                RELEASED
RELEASED  -                         -                       -
========  ========================  ======================  ==========================

CPU seconds of the process per GiB on loopback, on a busy machine of two cores (Linux 6.18, Python
3.11), medians: 1.4 with ``recv`` and ``send`` of 64 KiB; spliced 0.8 with a pipe of 64 KiB, 0.6 of
256, 0.5 of 512, 0.4 of 1024. In the same run HAProxy 2.6: 1.3, with ``option splice-request`` 0.7.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from enum import Enum
from typing import Any, Final

from twisted.python.failure import Failure

from lbproxy.net.outbuffer import PipeChunk
from lbproxy.net.pipes import Pipe, PipePool, splice
from lbproxy.net.poller import IN
from lbproxy.net.transport import BULK_BYTES, LARGE_BYTES, FastTransport

__all__ = ["BULK_BYTES", "LARGE_BYTES", "SMALL_READS", "Relay", "RelayState", "splice_to"]

SMALL_READS: Final = 16  # this many small reads in a row mark the end of the bulk data

_FLAGS: int = getattr(os, "SPLICE_F_MOVE", 1) | getattr(os, "SPLICE_F_NONBLOCK", 2)
_TRY_LATER: Final = frozenset(
    (errno.EAGAIN, errno.EWOULDBLOCK, errno.EINTR, errno.ENOBUFS, errno.ENOMEM)
)
_UNABLE: Final = frozenset(
    (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.EACCES)
)


class RelayState(Enum):
    """See the module."""

    MOVING = 0
    DRAINING = 1
    RELEASED = 2


_MOVING: Final = RelayState.MOVING  # cached, because each enum member access costs a lookup
_DRAINING: Final = RelayState.DRAINING
_RELEASED: Final = RelayState.RELEASED


def splice_to(source: Any, sink: Any, moved: Callable[[int], None]) -> bool:
    """Let the kernel move the data from ``source`` to ``sink``, without calls of ``dataReceived``.

    For a protocol that only writes received data to ``sink``, and whose streaming producer is
    ``source``. ``moved(size)`` is called with the number of bytes received, and ``moved(0)`` when
    ``sink`` has sent some of its earlier data. Returns False and changes nothing if this is
    impossible: TLS, a transport that is not lbproxy's, buffered data, no pipe, or no splice on this
    system. The relay may end by itself: ``dataReceived`` may be called again at any time.
    """
    if not isinstance(source, FastTransport) or not isinstance(sink, FastTransport):
        return False
    if source._relay is not None:
        return True
    if source.TLS or sink.TLS or not source._reading or not sink.splice_sink(source):
        return False
    pool = source._poller.pipes
    relay = Relay(source, sink, moved, pool)
    pipe = pool.take(relay)
    if pipe is None:
        return False
    relay.begin(pipe)
    return True


class Relay(PipeChunk):
    """One relayed direction. While active it is the poller's handler of the source's socket."""

    __slots__ = (
        "_fd",
        "_moved",
        "_pipe",
        "_pool",
        "_sink",
        "_sink_fd",
        "_size",
        "_small",
        "_source",
        "_state",
        "_used",
        "_write_end",
    )

    def __init__(
        self,
        source: FastTransport,
        sink: FastTransport,
        moved: Callable[[int], None],
        pool: PipePool,
    ) -> None:
        super().__init__()
        self._source = source
        self._sink = sink
        self._moved = moved
        self._pool = pool
        self._fd = source._fd
        self._sink_fd = sink._fd
        self._pipe: Pipe | None = None
        self._write_end = self._size = 0
        self._small = 0  # small reads in a row
        self._used = True  # used since the last sweep
        self._state = _MOVING

    def begin(self, pipe: Pipe) -> None:
        """Take over."""
        self._pipe = pipe
        self._write_end = pipe.write_end
        self._size = pipe.size
        self._source._relay = self
        self._source._poller.replace(self._fd, self)

    # -- the poller's calls ------------------------------------------------------------------

    def on_events(self, events: int) -> None:
        """The source's socket is ready."""
        source, sink = self._source, self._sink
        if events != IN or not source._reading or not sink.takes_splice():
            source.on_events(events)  # rule 3
            return
        try:
            size = splice(self._fd, self._write_end, self._size, flags=_FLAGS)
        except OSError as error:
            self._read_failed(error)
            return
        if not size:
            source.read_end()
            return
        self.left = size
        if size >= LARGE_BYTES:
            self._small = 0
        else:
            self._small += 1
        self._push()
        self._moved(size)

    def on_soon(self) -> None:
        """See :class:`Handler`. It is never called, because the transport requests its own
        calls.
        """

    def on_crash(self, reason: Failure) -> None:
        """End the source's connection."""
        self._source.on_crash(reason)

    def _read_failed(self, error: OSError) -> None:
        if error.errno in _UNABLE:
            self._pool.refuse(error)
            self._release()
        elif error.errno not in _TRY_LATER:
            self._source.read_failed(error)

    # -- to the sink -------------------------------------------------------------------------

    def _push(self) -> None:
        """Send the pipe's content, right after it was filled."""
        sink = self._sink
        try:
            self._drain()
        except OSError as error:
            sink.write_failed(error)
            self.lose()
            return
        if self.left:
            sink.hold(self)
        elif self._small >= SMALL_READS:
            self._release()

    def flush(self) -> int:
        """See :meth:`PipeChunk.flush`."""
        sent = self._drain()
        if sent:
            if self._source.connected:
                self._moved(0)
            if self._state is _DRAINING and not self.left:
                self._release()
        return sent

    def _drain(self) -> int:
        """Send the pipe's content to the sink's socket, and return the number of bytes sent."""
        pipe = self._pipe
        assert pipe is not None
        try:
            sent: int = splice(pipe.read_end, self._sink_fd, self.left, flags=_FLAGS)
        except OSError as error:
            if error.errno in _UNABLE:
                self._spill(pipe, error)
            elif error.errno not in _TRY_LATER:
                raise
            return 0
        self.left -= sent
        self._used = True
        return sent

    def _spill(self, pipe: Pipe, error: OSError) -> None:
        """Write the pipe's content the ordinary way, because the sink does not support splice."""
        data = b""
        while len(data) < self.left:
            data += os.read(pipe.read_end, self.left - len(data))
        self.left = 0
        self._pool.refuse(error)
        self._release()
        if self._sink._pending:
            self._sink._pending[0] = data
        else:
            self._sink.write(data)

    # -- the end -----------------------------------------------------------------------------

    def over(self) -> None:
        """See :meth:`PipeChunk.over`."""
        if not self.left:
            self._release()
        elif self._state is _MOVING:
            self._state = _DRAINING

    def lose(self) -> None:
        """See :meth:`PipeChunk.lose`."""
        self._release()
        self.left = 0

    def sweep(self) -> None:
        """See :class:`lbproxy.net.pipes.Borrower`."""
        if self._used:
            self._used = False
        elif not self.left:
            self._release()

    def _release(self) -> None:
        """Return the pipe; the source continues with ordinary reads."""
        if self._state is _RELEASED:
            return
        self._state = _RELEASED
        self._pipe = None
        self._pool.give(self, not self.left)
        source = self._source
        source._relay = None
        if source.connected:
            source._poller.replace(self._fd, source)
