"""DATA. A stream transport on the :class:`~lbproxy.net.poller.Poller`; ordinary Twisted protocols
run on it.

Made for accepted and dialled sockets (:mod:`lbproxy.net.fast`). It behaves as Twisted's own TCP
transport does, except that it is faster and that nothing waits forever. This module is its reading
half; :mod:`~lbproxy.net.sender` is the sending half, :mod:`~lbproxy.net.watchedsocket` the socket
with its addresses and options, :mod:`~lbproxy.net.halfclose` the table of its two directions.
Rules:

1. ``write`` sends at once when nothing is buffered. Bytes that the kernel does not accept are
   buffered, and only then is the descriptor watched for writing.
2. No protocol method is called from within ``write``, ``loseConnection``, ``abortConnection`` or
   ``loseWriteConnection``: their consequences run at the end of the turn (``Poller.soon``).
3. After a failed ``write``, what the peer sent before it went is delivered, then
   ``connectionLost``.
4. Hang-ups arrive with data unread: data first. While reading is paused a protocol that has
   ``peer_hung_up(reset)`` is notified at once of a FIN (``reset`` is False) and of a reset,
   once each. If it returns True, the connection ends and the unread data is lost. Without that
   method, or if it returns False, a hang-up is left alone until reading is resumed or a write
   fails.
5. Changing one's mind is free: pausing only sets a flag, and the descriptor's mask is corrected
   when an unwanted event arrives; the same for a write buffer that became empty.
6. ``loseConnection`` writes buffered data first, and resets the connection when the peer has
   taken nothing of it for :data:`~lbproxy.net.sender.CLOSE_GRACE_S` seconds.
7. A streaming producer is paused above :data:`~lbproxy.net.sender.HIGH_WATER_BYTES` and resumed
   when all is written; a pull producer is asked for more whenever all is written.
8. Bulk may be moved by the kernel, see :mod:`lbproxy.net.relay`; what is in the pipe meanwhile is
   the first chunk of the buffer.

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
READS_PER_EVENT: Final = 16  # while a hang-up is being drained

LARGE_BYTES: Final = 16 * 1024
"""A read of this size or more is bulk; smaller ones cost the same either way."""

BULK_BYTES: Final = 256 * 1024
"""So much in large reads makes it worth while to set up a relay."""

_read: Final[Callable[[int, int], bytes]] = os.read
_RESET: Final = struct.pack("ii", 1, 0)

_log = Logger(__name__)


class FastTransport(Sender, Stream):
    """One connected socket.

    See :class:`~lbproxy.net.watchedsocket.WatchedSocket` for the arguments.  The maker sets
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
        self._relay: PipeChunk | None = None  # moves what we receive

    # -- reading -----------------------------------------------------------------------------

    def on_events(self, events: int) -> None:
        """The poller's call."""
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
        """Read what came before the hang-up, then the hang-up."""
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
        """Bulk: a protocol that has ``bulk_flow()`` is told; it may call
        :func:`lbproxy.net.relay.splice_to`.
        """
        self._bulk += size
        if self._bulk >= BULK_BYTES:
            self._bulk = 0
            bulk_flow = getattr(self._protocol, "bulk_flow", None)
            if bulk_flow is not None and self._relay is None and self._reading:
                bulk_flow()

    def read_failed(self, error: OSError) -> None:
        """Reading from the socket failed."""
        self._finish(lost(error))

    def read_end(self) -> None:
        """The peer sends no more."""
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
        if self.connected and not self._closing and self._mask > 0:  # else rule 5
            self._watch(self._mask & ~READ_MASK)

    def _paused_events(self, events: int) -> None:
        """Handle events while reading is paused, or after the peer's end."""
        if events & (HUP | ERR):
            self._hang_up(events)
        elif self._closing or halfclose.peer_ended(self._half):
            self._watch_no_more(READ_MASK)
        elif not events & RDHUP:
            self._watch_no_more(IN)  # rule 5: somebody paused us meanwhile
        elif self._leaves(False):
            self._finish(DONE)
        else:
            self._watch_no_more(READ_MASK)

    def _hang_up(self, events: int) -> None:
        """The connection is dead and there is nothing to read, or reading is paused."""
        if self._pending:
            self._flush()
            if self._closing == BROKEN or not self.connected:
                return
        if self._reading or self._closing or halfclose.peer_ended(self._half):
            code = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                self._finish(lost(OSError(code, "")))
            elif halfclose.peer_ended(self._half):
                # a Unix socket whose peer has closed it in good order
                self._finish(self._reason or DONE)
            else:
                self._finish(failure_of(ConnectionLost("hung up")))
        elif self._leaves(events & ERR != 0):
            self._finish(lost(OSError(errno.ECONNRESET, "")) if events & ERR else DONE)
        else:
            self._watch(-1)

    def _leaves(self, reset: bool) -> bool:
        """Ask the protocol whether to give up a connection whose peer hung up while reading is
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
        """As :meth:`loseConnection`."""
        self.loseConnection()

    # -- closing -----------------------------------------------------------------------------

    def on_soon(self) -> None:
        """The end of the turn in which something was to be closed or flushed."""
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
        """Deliver what came before writing failed; whether there may be more."""
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
        """Not connected any more: neither reading nor writing nor waiting."""
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
        except OSError:  # of a reset without a reader
            return

    def _told(self, callback: Callable[..., Any], *args: Any) -> None:
        try:
            callback(*args)
        except BaseException as error:
            self._failed_at_end(error)

    def _failed_at_end(self, error: BaseException) -> None:
        """Log, in an except clause."""
        if self._poller.may_log(f"told {type(error).__name__}"):
            _log.failure("a protocol failed while it was told that its connection is lost")

    def on_crash(self, reason: Failure) -> None:
        """The protocol raised, or the reactor stops."""
        self._finish(reason)

    def detach(self) -> Any:
        """Give the socket away without a word to the protocol; the descriptor stays registered if
        it was (see :attr:`watched`). The new owner calls ``Poller.replace``.
        """
        self._leave()
        self.protocol = None
        return self.socket


classImplements(FastTransport, ITCPTransport, IConsumer, IPushProducer, ISystemHandle)
