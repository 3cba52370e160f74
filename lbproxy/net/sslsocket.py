"""DATA. TLS on the socket itself, without a memory BIO; used by :mod:`lbproxy.net.fastdial`.

:class:`FastTLSTransport` is the transport after a handshake (:mod:`lbproxy.net.sslhandshake`).
Rules, in addition to those of :mod:`lbproxy.net.transport`:

1. OpenSSL reads one record at a time and never ahead (``SSL_CTX_set_read_ahead`` stays off), and a
   read asks for a whole record. Nothing therefore stays inside OpenSSL unknown to epoll, and a
   short record needs no second read.
2. Peers that send many tiny records get them read together: every 16th short read tries for another
   record, and continues as long as that succeeds.
3. Writes of a protocol during one turn become one record if they fit.
4. A read may need to write and a write to read; it is retried when the socket is ready for that.
5. A write is retried with the same first bytes, possibly at another address (partial writes and
   moving buffers are enabled, as pyOpenSSL does for every context).
6. Closing: everything written, close_notify, FIN, then up to :data:`CLOSE_WAIT_S` for the peer's
   FIN; unread data is discarded. The peer's close_notify is a clean end; a FIN without one is a
   truncation (ConnectionLost).
7. Half-close works: ``loseWriteConnection`` sends close_notify and reading continues. A protocol
   that provides IHalfCloseableProtocol may continue to write after the peer's close_notify.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Final

from OpenSSL import SSL
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import INegotiated, ISSLTransport
from twisted.python.failure import Failure
from zope.interface import classImplements

from lbproxy.net import halfclose
from lbproxy.net.endstate import BROKEN, DONE, LINGER, half_closeable, lost
from lbproxy.net.outbuffer import gather
from lbproxy.net.poller import IN, OUT, Poller, failure_of
from lbproxy.net.sender import CLOSE_GRACE_S
from lbproxy.net.sslrecords import RECORD_BYTES, record_calls
from lbproxy.net.transport import READ_BYTES, READS_PER_EVENT, FastTransport
from lbproxy.net.watchedsocket import READ_MASK
from lbproxy.tls.errorwords import tls_error_text
from lbproxy.tls.openssl import clear_errors

__all__ = ["CLOSE_WAIT_S", "FastTLSTransport"]

RECORDS_PER_EVENT: Final = 16
CLOSE_WAIT_S = 3.0
TRY_EVERY: Final = 15  # rule 2; a power of two less one

# bits of _cross
_READ_WANTS_WRITE: Final = 1
_WRITE_WANTS_READ: Final = 2
_ALERT_WAITS: Final = 4


def _tls_lost(error: SSL.Error) -> Failure:
    if isinstance(error, SSL.SysCallError):
        if isinstance(error.args[0], int) and error.args[0] > 0:
            return lost(OSError(error.args[0], ""))
        return failure_of(ConnectionLost("truncated: no close_notify"))
    reason = ConnectionLost(tls_error_text(error))
    reason.__cause__ = error
    return failure_of(reason)


def _gone(argument: Any) -> Any:
    raise OSError(errno.EBADF, "closed")


class FastTLSTransport(FastTransport):
    """An established TLS connection; ``connection`` is a pyOpenSSL Connection on ``sock``."""

    __slots__ = ("_cross", "_recv", "_send", "_short", "_ssl")

    TLS = True

    def __init__(
        self, poller: Poller, sock: Any, connection: Any, peer: Any, host: Any = None
    ) -> None:
        super().__init__(poller, sock, peer, host)
        self._ssl = connection
        self._recv: Callable[[int], bytes]
        self._send: Callable[[Any], int]
        self._recv, self._send = record_calls(connection)
        self._cross = 0
        self._short = 0

    # -- reading -----------------------------------------------------------------------------

    def on_events(self, events: int) -> None:
        """Handle events of the poller."""
        if events == IN and self._reading and not self._cross:
            self._read(False)
            return
        if events & OUT:
            if self._cross & _READ_WANTS_WRITE:
                self._cross &= ~_READ_WANTS_WRITE
                if self._reading:
                    self._read(False)
            self._flush()
        if not events & ~OUT or not self.connected:
            return
        if self._cross & _WRITE_WANTS_READ:
            self._cross &= ~_WRITE_WANTS_READ
            self._flush()
        if self._closing == LINGER:
            self._discard()
        elif self._reading:
            self._read(bool(events & ~(IN | OUT)))
        elif self.connected and not self._cross & _WRITE_WANTS_READ:
            super().on_events(events & ~OUT)

    def _read(self, hang_up: bool) -> None:
        """Deliver records. ``hang_up``: no more data arrives after that already received."""
        for _ in range(RECORDS_PER_EVENT):
            try:
                data = self._recv(RECORD_BYTES)
            except SSL.WantReadError:
                self._short = 0
                return
            except SSL.WantWriteError:
                self._cross |= _READ_WANTS_WRITE
                self._watch_too(OUT)
                return
            except SSL.ZeroReturnError:
                self.read_end()
                return
            except SSL.Error as error:
                self._finish(self._reason or _tls_lost(error))
                return
            self._deliver(data)
            if not self._reading:
                return
            if len(data) < RECORD_BYTES and not hang_up and self._short < TRY_EVERY:
                self._short += 1
                return

    def read_end(self) -> None:
        """Handle close_notify. Without half-close, written data is still sent before closing."""
        if self._closing or half_closeable(self._protocol) is not None:
            super().read_end()
            return
        self._half = halfclose.after(self._half, halfclose.PEER_END)
        self.loseConnection()

    def _drain_broken(self) -> bool:
        for _ in range(READS_PER_EVENT):
            try:
                data = self._recv(RECORD_BYTES)
            except SSL.Error:
                return False
            self._deliver(data)
            if not self._reading:
                return False
        return True

    # -- writing -----------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Send ``data`` at the end of this turn, together with other writes (rule 3)."""
        if data:
            if self._pending is None:
                self._pending = deque()
            self._append(data)

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        """:meth:`write` of all of them; see rule 3."""
        for part in iovec:
            self.write(part)

    def offer(self, data: Any) -> int:
        """As :meth:`write`: all of it is taken, because it has to be encrypted."""
        self.write(bytes(data))
        return len(data)

    def _want_flush(self) -> None:
        if not self._queued and not (self._mask > 0 and self._mask & OUT):
            self._queued = True
            self._poller.soon(self)

    def on_soon(self) -> None:
        """Run the end of a turn with writes, or with a close."""
        if self._pending and self.connected and self._closing < BROKEN:
            self._queued = False
            if not self._cross:
                self._flush()
            return
        super().on_soon()

    def _flush(self) -> None:
        if self._cross & _ALERT_WAITS:
            self._cross &= ~_ALERT_WAITS
            if self._closing:
                self._end()
            else:
                self._end_write()
        else:
            super()._flush()

    def _send_pending(self, pending: deque[Any]) -> bool:
        for _ in range(RECORDS_PER_EVENT):
            try:
                sent = self._send(
                    pending[0] if len(pending) == 1 else gather(pending, RECORD_BYTES)
                )
            except SSL.WantWriteError:
                break
            except SSL.WantReadError:
                self._cross |= _WRITE_WANTS_READ
                self._watch_too(READ_MASK)
                return False
            except SSL.Error as error:
                self._break(_tls_lost(error))
                return False
            self._taken(pending, sent)
            if not pending:
                return True
        self._watch_too(OUT)
        return False

    # -- closing -----------------------------------------------------------------------------

    def _close_notify(self) -> bool:
        """Send close_notify. Return whether it is sent or can never be sent."""
        try:
            self._ssl.shutdown()
        except SSL.WantWriteError:
            self._cross |= _ALERT_WAITS
            self._watch_too(OUT)
            return False
        except SSL.Error:
            clear_errors()
        return True

    def _end(self) -> None:
        if self._closing == LINGER:
            return
        if not self._close_notify():
            self._set_grace(CLOSE_GRACE_S)
            return
        if halfclose.peer_ended(self._half):
            self._finish(DONE)
            return
        self._send_fin()
        self._closing = LINGER
        self._pending = deque()
        self._half = halfclose.after(self._half, halfclose.END)
        self._half = halfclose.after(self._half, halfclose.FLUSHED)
        if self._grace is not None:
            self._grace.close()
        self._grace = self._poller.wheel.timer(self._waited)
        self._grace.set(CLOSE_WAIT_S)
        self._watch(READ_MASK)

    def _end_write(self) -> None:
        if self._close_notify():
            self._write_ended()

    def _waited(self) -> None:
        self._finish(DONE)

    def _discard(self) -> None:
        for _ in range(READS_PER_EVENT):
            try:
                data = self.socket.recv(READ_BYTES)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._finish(DONE)
                return

    def _close_socket(self) -> None:
        super()._close_socket()
        self._recv = self._send = _gone
        connection, self._ssl = self._ssl, None
        remember = connection.get_app_data()
        if remember is not None:
            remember(connection)

    # -- facts -------------------------------------------------------------------------------

    def getHandle(self) -> Any:
        """Return the pyOpenSSL Connection; None once closed."""
        return self._ssl

    def getPeerCertificate(self) -> Any:
        """Return the peer's X509 certificate, None if it sent none."""
        return self._ssl.get_peer_certificate() if self._ssl is not None else None

    @property
    def negotiatedProtocol(self) -> bytes | None:
        """The protocol negotiated by ALPN."""
        chosen = self._ssl.get_alpn_proto_negotiated() if self._ssl is not None else b""
        return chosen or None


classImplements(FastTLSTransport, ISSLTransport, INegotiated)
