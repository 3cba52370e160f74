"""DATA. A stream transport on the :class:`~lbproxy.net.poller.Poller`; ordinary Twisted protocols
run on it.

:mod:`lbproxy.net.fast` uses it for accepted and dialled sockets. It behaves like Twisted's own TCP
transport, except that it is faster and that no wait is unlimited. This module is its reading half.
:mod:`~lbproxy.net.sender` is the sending half, :mod:`~lbproxy.net.watchedsocket` the socket with
its addresses and options, and :mod:`~lbproxy.net.halfclose` the table of its two directions. Rules:

1. ``write`` sends at once when nothing is buffered. Bytes that the kernel does not accept are
   buffered, and only then is the descriptor watched for writing.
2. No protocol method is called from within ``write``, ``loseConnection``, ``abortConnection`` or
   ``loseWriteConnection``. Their consequences run at the end of the turn (``Poller.soon``).
3. After a failed ``write``, the peer's earlier data is delivered first, then ``connectionLost`` is
   called.
4. A hang-up may arrive with unread data, which is delivered first. While reading is paused, a
   protocol that has ``peer_hung_up(reset)`` is notified at once of a FIN (``reset`` is False) and
   of a reset, once each. If it returns True, the connection ends and the unread data is lost.
   Without that method, or if it returns False, a hang-up is ignored until reading is resumed or a
   write fails.
5. Changes of interest are cheap: pausing only sets a flag, and the descriptor's mask is corrected
   when an unwanted event arrives. The same holds for a write buffer that became empty.
6. ``loseConnection`` writes buffered data first, and resets the connection if the peer has
   accepted none of it for :data:`~lbproxy.net.sender.CLOSE_GRACE_S` seconds.
7. A streaming producer is paused above :data:`~lbproxy.net.sender.HIGH_WATER_BYTES` and resumed
   when everything is written. A pull producer is asked for more whenever everything is written.
   ``offer`` buffers nothing, and pauses the producer if the kernel does not accept all of it.
8. The kernel may move bulk data, see :mod:`lbproxy.net.relay`. Data in its pipe is the first chunk
   of the buffer.

An idle connection owns no buffer.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IConsumer, IPushProducer, ISystemHandle, ITCPTransport
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import classImplements

from lbproxy.net import halfclose
from lbproxy.net.endstate import ABORT, BROKEN, DONE, TRY_LATER, half_closeable, lost
from lbproxy.net.outbuffer import PipeChunk
from lbproxy.net.poller import ERR, HUP, IN, OUT, RDHUP, Poller, failure_of
from lbproxy.net.sender import Sender
from lbproxy.net.stream import Stream
from lbproxy.net.watchedsocket import READ_MASK

__all__ = ["BULK_BYTES", "LARGE_BYTES", "FastTransport"]

READ_BYTES: Final = 64 * 1024
READS_PER_EVENT: Final = 16  # while draining after a hang-up

LARGE_BYTES: Final = 16 * 1024
"""A read of this size or more counts as bulk. Smaller ones cost the same either way."""

BULK_BYTES: Final = 256 * 1024
"""Number of bytes in large reads after which a relay is worth its setup."""

_read: Final[Callable[[int, int], bytes]] = os.read
_RESET: Final = struct.pack("ii", 1, 0)

_log = Logger(__name__)


class FastTransport(Sender, Stream):
    """One connected socket.

    See :class:`~lbproxy.net.watchedsocket.WatchedSocket` for the arguments. The creator sets
    ``protocol``, calls :meth:`start` and then ``makeConnection``.
    """

    __slots__ = ("_bulk", "_relay")

    TLS = False

    def __init__(
        self,
        poller: Poller,
        sock: Any,
        peer: Any = None,
        host: Any = None,
        fd: int = -1,
        family: int = -1,
    ) -> None:
        super().__init__(poller, sock, peer, host, fd, family)
        self._bulk = 0  # bytes received in large reads
        self._relay: PipeChunk | None = None  # the relay that moves our received data

    # -- reading -----------------------------------------------------------------------------

    def on_events(self, events: int) -> None:
        """Handle events of the poller."""
        if events == IN and self._reading:
            try:
                data = _read(self._fd, READ_BYTES)
            except OSError as error:
                if error.errno not in TRY_LATER:
                    self._finish(lost(error))
                return
            if data:
                self._deliver(data)
                if len(data) >= LARGE_BYTES:
                    self._large_read(len(data))
            else:
                self.read_end()
            return
        if events & OUT:
            self._flush()
        if events & ~OUT and self.connected:
            if self._reading:
                self._drain(events)
            else:
                self._paused_events(events)

    def _deliver(self, data: bytes) -> None:
        direct = self._direct
        if direct is not None:
            direct.dataReceived(data)
        else:
            self._protocol.dataReceived(data)

    def _drain(self, events: int) -> None:
        """Read the data that came before the hang-up, then handle the hang-up."""
        for _ in range(READS_PER_EVENT):
            try:
                data = _read(self._fd, READ_BYTES)
            except OSError as error:
                if error.errno not in TRY_LATER:
                    self._finish(lost(error))
                elif events & (ERR | HUP):
                    self._hang_up(events)
                return
            if not data:
                self.read_end()
                return
            self._deliver(data)
            if not self._reading or not events & ~(IN | OUT):
                return

    def _large_read(self, size: int) -> None:
        """Notify a protocol that has ``bulk_flow()`` of bulk data. It may call
        :func:`lbproxy.net.relay.splice_to`.
        """
        self._bulk += size
        if self._bulk >= BULK_BYTES:
            self._bulk = 0
            bulk_flow = getattr(self._protocol, "bulk_flow", None)
            if bulk_flow is not None and self._relay is None and self._reading:
                bulk_flow()

    def read_failed(self, error: OSError) -> None:
        """Handle a failed read."""
        self._finish(lost(error))

    def read_end(self) -> None:
        """Handle the peer's end of its direction."""
        self._reading = False
        if self._relay is not None:
            self._relay.over()
        self._half = halfclose.after(self._half, halfclose.PEER_END)
        if self._closing:
            self._finish(self._reason or DONE)
            return
        direct = self._direct
        if direct is not None:
            direct.readConnectionLost()
        else:
            protocol = half_closeable(self._protocol)
            if protocol is None:
                self._finish(DONE)
                return
            protocol.readConnectionLost()
        if self.connected and not self._closing and self._mask > 0:  # otherwise rule 5 applies
            self._watch(self._mask & ~READ_MASK)

    def _paused_events(self, events: int) -> None:
        """Handle events while reading is paused, or after the peer's end."""
        if events & (HUP | ERR):
            self._hang_up(events)
        elif self._closing or halfclose.peer_ended(self._half):
            self._watch_no_more(READ_MASK)
        elif not events & RDHUP:
            self._watch_no_more(IN)  # rule 5: reading was paused meanwhile
        elif self._leaves(False):
            self._finish(DONE)
        else:
            self._watch_no_more(READ_MASK)

    def _hang_up(self, events: int) -> None:
        """Handle a hang-up without data to read, or while reading is paused."""
        if self._pending:
            self._flush()
            if self._closing == BROKEN or not self.connected:
                return
        if self._reading or self._closing or halfclose.peer_ended(self._half):
            code = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                self._finish(lost(OSError(code, "")))
            elif halfclose.peer_ended(self._half):
                # a Unix socket whose peer has closed it cleanly
                self._finish(self._reason or DONE)
            else:
                self._finish(failure_of(ConnectionLost("hung up")))
        elif self._leaves(events & ERR != 0):
            self._finish(lost(OSError(errno.ECONNRESET, "")) if events & ERR else DONE)
        else:
            self._watch(-1)

    def _leaves(self, reset: bool) -> bool:
        """Ask the protocol whether to close a connection whose peer hung up while reading is
        paused.
        """
        hung_up = getattr(self._protocol, "peer_hung_up", None)
        return hung_up is not None and bool(hung_up(reset)) and bool(self.connected)

    def pauseProducing(self) -> None:
        """Deliver no more data until :meth:`resumeProducing`."""
        self._reading = False

    def resumeProducing(self) -> None:
        """Deliver data again."""
        if self.connected and not self._closing and not halfclose.peer_ended(self._half):
            self._reading = True
            if not self._mask & IN or self._mask < 0:
                self._watch_too(READ_MASK)

    def stopProducing(self) -> None:
        """Close, like :meth:`loseConnection`."""
        self.loseConnection()

    # -- closing -----------------------------------------------------------------------------

    def on_soon(self) -> None:
        """Close or flush at the end of the turn."""
        self._queued = False
        if not self.connected:
            return
        if self._closing == ABORT:
            self._finish(self._reason or DONE)
        elif self._closing == BROKEN:
            if self._reading and self._drain_broken():
                self._queued = True
                self._poller.again(self)
            else:
                self._finish(self._reason or DONE)
        elif not self._pending:
            self._written()

    def _drain_broken(self) -> bool:
        """Deliver the data that came before writing failed. Return whether more may follow."""
        for _ in range(READS_PER_EVENT):
            try:
                data = _read(self._fd, READ_BYTES)
            except OSError:
                return False
            if not data:
                return False
            self._deliver(data)
            if not self._reading:
                return False
        return True

    def _end(self) -> None:
        self._finish(DONE)

    def _finish(self, reason: Failure) -> None:
        """Close the socket and notify the producer and the protocol, once."""
        if not self.connected:
            return
        self._leave()
        if self._mask < 0:
            self._poller.forget(self._fd)
        else:
            self._poller.release(self._fd)
            self._mask = -1
        self._close_socket()
        producer, self.producer = self.producer, None
        direct, protocol = self._direct, self._protocol
        self._direct = self._protocol = None
        if producer is not None:
            self._told(producer.stopProducing)
        if direct is not None:
            try:
                direct.connectionLost(reason)
            except BaseException as error:
                self._failed_at_end(error)
        elif protocol is not None:
            self._told(protocol.connectionLost, reason)

    def _leave(self) -> None:
        """Mark the transport as disconnected: it neither reads, writes nor waits."""
        self.connected = 0
        self._reading = False
        self._drop_pending()
        if self._relay is not None:
            self._relay.over()
        if self._grace is not None:
            self._grace.close()

    def _close_socket(self) -> None:
        if self._closing == ABORT:
            with contextlib.suppress(OSError):
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        try:
            self._close_descriptor()
        except OSError:  # notified of a reset while not reading
            return

    def _told(self, callback: Callable[..., Any], *args: Any) -> None:
        try:
            callback(*args)
        except BaseException as error:
            self._failed_at_end(error)

    def _failed_at_end(self, error: BaseException) -> None:
        """Log the exception being handled."""
        if self._poller.may_log(f"told {type(error).__name__}"):
            _log.failure("a protocol raised an exception in connectionLost")

    def on_crash(self, reason: Failure) -> None:
        """Close, because the protocol raised or the reactor stops."""
        self._finish(reason)

    def detach(self) -> Any:
        """Return the socket and give up its ownership without notifying the protocol. The
        descriptor stays registered if it was (see :attr:`watched`). The new owner calls
        ``Poller.replace``.
        """
        self._leave()
        self.protocol = None
        return self.socket


classImplements(FastTransport, ITCPTransport, IConsumer, IPushProducer, ISystemHandle)
