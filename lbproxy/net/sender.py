"""DATA. The sending half of a transport: write, buffer, flush, producers, and closing.

This is the middle layer of :class:`lbproxy.net.transport.FastTransport`, whose docstring numbers
the rules.
"""

from __future__ import annotations

import os
import socket
from collections import deque
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any, Final

from twisted.internet.error import ConnectionAborted
from twisted.python.failure import Failure

from lbproxy.net import halfclose
from lbproxy.net.endstate import ABORT, BROKEN, FLUSH, OPEN, TRY_LATER, half_closeable, lost
from lbproxy.net.outbuffer import PipeChunk, add, remove
from lbproxy.net.poller import OUT, Poller, failure_of
from lbproxy.net.watchedsocket import WatchedSocket

__all__ = [
    "CLOSE_GRACE_S",
    "HIGH_WATER_BYTES",
    "Sender",
]

HIGH_WATER_BYTES: Final = 64 * 1024
SENDS_PER_EVENT: Final = 4
CLOSE_GRACE_S: Final = 30.0
IOVECS: Final = 64

# calls on the descriptor instead of the socket take half the instructions
_write: Final[Callable[[int, Any], int]] = os.write
_writev: Final[Callable[[int, Any], int]] = os.writev

_SHUT: Final[deque[Any]] = deque()
"""The empty buffer of every direction that is over. Nothing is added to it (``_writable``)."""


class Sender(WatchedSocket):
    """The sending half of one connected socket.

    Independent of the open directions: whether the owner reads (``_reading``), whether the
    transport waits for its next turn (``_queued``), and the requests to the registered producer
    (``producerPaused``, ``streamingProducer``).
    """

    __slots__ = (
        "_closing",
        "_grace",
        "_pending",
        "_pending_bytes",
        "_reading",
        "_reason",
        "producer",
        "producerPaused",
        "streamingProducer",
    )

    def __init__(
        self, poller: Poller, sock: Any, peer: Any, host: Any, fd: int, family: int
    ) -> None:
        super().__init__(poller, sock, peer, host, fd, family)
        self._reading = True
        # None: nothing is buffered and a write may go straight to the kernel
        self._pending: deque[Any] | None = None
        self._pending_bytes = 0
        self._closing = OPEN
        self._reason: Failure | None = None
        self._grace: Any = None
        self.producer: Any = None
        self.streamingProducer = False
        self.producerPaused = False

    # -- writing -----------------------------------------------------------------------------

    def write(self, data: Any) -> None:
        """Send ``data`` (bytes or similar) now, or as soon as the peer accepts it. Dropped if the
        connection is closed.
        """
        if self._pending is None:
            try:
                sent = _write(self._fd, data)
            except OSError as error:
                if error.errno not in TRY_LATER:
                    self._break(lost(error))
                    return
                sent = 0
            if sent == len(data):
                return
            self._pending = deque()
            self._append(memoryview(bytes(data))[sent:] if sent else data)
        elif data:
            self._append(data)

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        """Write all items of ``iovec`` in one system call, without joining them."""
        parts = list(iovec)
        sent = 0
        if self._pending is None:
            try:
                sent = _writev(self._fd, parts[:IOVECS])
            except OSError as error:
                if error.errno not in TRY_LATER:
                    self._break(lost(error))
                    return
            if sent == sum(map(len, parts)):
                return
            self._pending = deque()
        for part in parts:
            size = len(part)
            if sent < size:
                self._append(memoryview(bytes(part))[sent:] if sent else part)
                sent = 0
            else:
                sent -= size

    def offer(self, data: Any) -> int:
        """Send what the peer takes of ``data`` now, buffer nothing, and return the number of bytes.

        If that is not all of it, the streaming producer is paused, and resumed when the peer takes
        more.
        """
        if self._pending is not None:
            self._pause_producer()
            return 0
        try:
            sent = _write(self._fd, data)
        except OSError as error:
            if error.errno not in TRY_LATER:
                self._break(lost(error))
                return 0
            sent = 0
        left = len(data) - sent
        if left:
            self._pending = deque()
            self._pending_bytes = left  # as if it were buffered: the peer is slow
            self._want_flush()
            self._pause_producer()
        return sent

    def _append(self, data: Any) -> None:
        """Buffer ``data`` and schedule its sending."""
        pending = self._pending
        if pending is None or not self._writable():
            return
        self._pending_bytes += len(data)
        add(pending, data)
        self._want_flush()
        if self._pending_bytes > HIGH_WATER_BYTES:
            self._pause_producer()

    def _pause_producer(self) -> None:
        if self.producer is not None and self.streamingProducer and not self.producerPaused:
            self.producerPaused = True
            self.producer.pauseProducing()

    def hold(self, chunk: PipeChunk) -> None:
        """Buffer the content of a pipe. Nothing else is buffered."""
        self._pending = deque((chunk,))
        self._pending_bytes = chunk.left
        self._want_flush()
        self._pause_producer()

    def write_failed(self, error: OSError) -> None:
        """Handle a failed write to the socket that did not go through :meth:`write`."""
        self._break(lost(error))

    def splice_sink(self, producer: Any) -> bool:
        """Return whether the kernel may write to the socket: ``producer`` is the streaming
        producer, and nothing is buffered.
        """
        return self._pending is None and self.producer is producer and self.streamingProducer

    def takes_splice(self) -> bool:
        """Return whether splicing may continue: nothing is buffered, and no close was requested."""
        return self._pending is None and not self._closing and self._half < halfclose.ENDING

    def _writable(self) -> bool:
        return bool(self.connected) and self._closing < BROKEN and halfclose.sends(self._half)

    def _want_flush(self) -> None:
        self._watch_too(OUT)

    def _flush(self) -> None:
        """Send buffered data, because the kernel accepts data again."""
        pending = self._pending
        if not pending:
            self._watch_no_more(OUT)  # rule 5
            if pending is not None and self.producerPaused and self._writable():
                self._written()  # of what was offered
            return
        try:
            if not self._send_pending(pending):
                return
        except OSError as error:
            if error.errno not in TRY_LATER:
                self._break(lost(error))
            return
        self._written()

    def _send_pending(self, pending: deque[Any]) -> bool:
        """Send buffered data. Return whether everything is sent."""
        for _ in range(SENDS_PER_EVENT):
            first = pending[0]
            if isinstance(first, PipeChunk):
                if not self._flush_pipe(pending, first):
                    return False
                if not pending:
                    return True
            if len(pending) == 1:
                sent = _write(self._fd, pending[0])
            else:
                sent = _writev(self._fd, list(islice(pending, IOVECS)))
            self._taken(pending, sent)
            if not pending:
                return True
        return False

    def _flush_pipe(self, pending: deque[Any], pipe: PipeChunk) -> bool:
        """Send from the pipe at the head of the buffer. Return whether it is empty and removed."""
        sent = pipe.flush()
        self._pending_bytes -= sent
        if sent:
            self._extend_grace()
        if pipe.left:
            return False
        if pending[0] is pipe:
            pending.popleft()
        return True

    def _taken(self, pending: deque[Any], sent: int) -> None:
        """Drop the first ``sent`` bytes of the buffer, which the kernel has accepted."""
        self._pending_bytes -= sent
        remove(pending, sent)
        self._extend_grace()

    def _written(self) -> None:
        """Continue the action that waited for an empty buffer: resume the producer, or close."""
        self._pending_bytes = 0
        producer = self.producer
        if not halfclose.sends(self._half):
            self._pending = _SHUT
        elif producer is None or self.streamingProducer:
            self._pending = None
        elif self._pending is None:
            self._pending = deque()
        if producer is not None and (not self.streamingProducer or self.producerPaused):
            self.producerPaused = False
            producer.resumeProducing()
        elif self._closing == FLUSH:
            self._end()
        elif halfclose.ending(self._half) and halfclose.sends(self._half):
            self._half = halfclose.after(self._half, halfclose.FLUSHED)
            self._pending = _SHUT
            self._end_write()

    # -- producers ---------------------------------------------------------------------------

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """See rule 7. Raises RuntimeError if a producer is registered already."""
        if self.producer is not None:
            raise RuntimeError(
                f"cannot register {producer!r}: {self.producer!r} was never unregistered"
            )
        if not self.connected:
            producer.stopProducing()
            return
        self.producer = producer
        self.streamingProducer = bool(streaming)
        self.producerPaused = False
        if not streaming:
            if self._pending is None:
                self._pending = deque()
            producer.resumeProducing()

    def unregisterProducer(self) -> None:
        """Remove the producer, which is done. A close that waited for it continues."""
        self.producer = None
        if not self.connected:
            return
        if self._closing or halfclose.ending(self._half):
            self._later()
        elif self._pending is not None and not self._pending:
            self._pending = None
            self._pending_bytes = 0

    # -- ending ------------------------------------------------------------------------------

    def loseConnection(self) -> None:
        """Close once everything is written (rule 6)."""
        if not self.connected or self._closing:
            return
        self._closing = FLUSH
        self._reading = False
        self._later()
        if self._pending or self.producer is not None:
            self._set_grace(CLOSE_GRACE_S)

    def abortConnection(self) -> None:
        """Close now with a reset. Buffered data is lost."""
        if self.connected and self._closing != ABORT:
            self._stop(ABORT, failure_of(ConnectionAborted()))
            self._reading = False

    def loseWriteConnection(self) -> None:
        """Send everything, then end this direction. Reading continues."""
        if self.connected and not self._closing and not halfclose.ending(self._half):
            self._half = halfclose.after(self._half, halfclose.END)
            self._later()

    def _break(self, reason: Failure) -> None:
        """Handle a failed write by rules 2 and 3."""
        if self.connected and self._closing < BROKEN:
            self._stop(BROKEN, reason)

    def _stop(self, how: int, reason: Failure) -> None:
        self._closing = how
        self._reason = reason
        self._drop_pending()
        self._later()

    def _drop_pending(self) -> None:
        """Discard the buffer. From now on no data is sent directly."""
        pending = self._pending
        if pending:
            first = pending[0]
            if isinstance(first, PipeChunk):
                first.lose()
        self._pending = _SHUT
        self._pending_bytes = 0

    def _set_grace(self, delay: float) -> None:
        if self._grace is None:
            self._grace = self._poller.wheel.timer(self.abortConnection)
        self._grace.set(delay)

    def _extend_grace(self) -> None:
        """Extend the deadline of a close, because the peer has accepted data."""
        if self._closing == FLUSH and self._grace is not None:
            self._grace.set(CLOSE_GRACE_S)

    def _end(self) -> None:
        """Close the connection, because everything is written."""
        raise NotImplementedError

    def _end_write(self) -> None:
        """End our direction, because everything is written."""
        self._send_fin()
        self._write_ended()

    def _write_ended(self) -> None:
        self._watch_no_more(OUT)
        direct = self._direct
        if direct is not None:
            direct.writeConnectionLost()
            return
        protocol = half_closeable(self._protocol)
        if protocol is not None:
            protocol.writeConnectionLost()

    def _send_fin(self) -> None:
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:  # the peer closed first
            return

    # -- facts -------------------------------------------------------------------------------

    @property
    def disconnecting(self) -> bool:
        """True after loseConnection or abortConnection, or after a failed write."""
        return self._closing != OPEN

    @property
    def disconnected(self) -> bool:
        """True if the connection is closed."""
        return not self.connected

    @property
    def buffered_bytes(self) -> int:
        """Bytes written or offered, but not yet taken by the kernel."""
        return self._pending_bytes
