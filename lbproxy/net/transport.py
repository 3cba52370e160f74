"""DATA. A stream transport on the :class:`~lbproxy.net.poller.Poller`; ordinary Twisted protocols run
on it.

Made by :mod:`lbproxy.net.fast` for accepted and dialled sockets.  It behaves as Twisted's own TCP
transport does, except that it is faster and that nothing waits forever.  Rules:

1. ``write`` sends at once when nothing is buffered.  What the kernel does not take is buffered, and
   only then the descriptor is watched for writing.
2. No protocol method is called from within ``write``, ``loseConnection``, ``abortConnection`` or
   ``loseWriteConnection``: their consequences run at the end of the turn (``Poller.soon``).
3. After a failed ``write``, what the peer sent before it went is delivered, then ``connectionLost``.
4. Hang-ups arrive with data unread: data first.  While reading is paused a hang-up is left alone,
   unwatched, until reading is resumed or a write fails.
5. Changing one's mind is free: pausing only sets a flag, and the descriptor's mask is corrected when
   an event arrives that nobody wants; the same for a write buffer that became empty.
6. ``loseConnection`` writes what is buffered first, and resets the connection when the peer has taken
   nothing of it for :data:`CLOSE_GRACE_S` seconds.
7. A streaming producer is paused above :data:`HIGH_WATER_BYTES` and resumed when all is written; a
   pull producer is asked for more whenever all is written.
8. Bulk may be moved by the kernel, see :meth:`FastTransport.splice_to`; what is in the pipe meanwhile
   is the first chunk of the buffer.

An idle connection owns no buffer.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from collections import deque
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any, Final

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IConsumer,
    IHalfCloseableProtocol,
    IPushProducer,
    ISystemHandle,
    ITCPTransport,
)
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import classImplements

from lbproxy.net.poller import ERR, HUP, IN, OUT, RDHUP, Poller, failure_of
from lbproxy.net.relay import BULK_BYTES, LARGE_BYTES, Relay, start_relay

__all__ = ["CLOSE_GRACE_S", "HIGH_WATER_BYTES", "FastTransport", "lost", "twisted_address"]

HIGH_WATER_BYTES: Final = 64 * 1024
READ_BYTES: Final = 64 * 1024
READS_PER_EVENT: Final = 16  # while a hang-up is being drained
SENDS_PER_EVENT: Final = 4
CLOSE_GRACE_S: Final = 30.0
IOVECS: Final = 64
SMALL_BYTES: Final = 1024  # writes up to this size are gathered while the buffer is not empty
GATHER_BYTES: Final = 16 * 1024

READ_MASK: Final = IN | RDHUP
DONE: Final = failure_of(ConnectionDone())
_RESET: Final = struct.pack("ii", 1, 0)
_TRY_LATER: Final = frozenset((errno.EAGAIN, errno.EWOULDBLOCK, errno.ENOBUFS, errno.EINTR))

# how a transport is being closed
_OPEN: Final = 0
_FLUSH: Final = 1
_BROKEN: Final = 2
_ABORT: Final = 3
# bits of _half
_READ_END: Final = 1
_WRITE_ENDING: Final = 2
_WRITE_END: Final = 4

_log = Logger(__name__)


_with_half_close: Final[dict[type, bool]] = {}  # classes of protocols; those of tests come and go
_CLASSES: Final = 256


def half_closeable(protocol: Any) -> Any:
    """``protocol`` as IHalfCloseableProtocol, or None; the answer for a class that provides it is remembered."""
    kind = type(protocol)
    if kind in _with_half_close:
        return protocol
    found = IHalfCloseableProtocol(protocol, None)
    if found is protocol and IHalfCloseableProtocol.implementedBy(kind):
        if len(_with_half_close) >= _CLASSES:
            _with_half_close.clear()
        _with_half_close[kind] = True
    return found


def lost(error: OSError) -> Failure:
    """The reason given to a protocol when the system reports ``error``."""
    reason = ConnectionLost(f"[Errno {error.errno}] {os.strerror(error.errno or 0)}")
    reason.__cause__ = error
    return failure_of(reason)


def twisted_address(family: int, raw: Any) -> IPv4Address | IPv6Address | UNIXAddress:
    """A socket address as Twisted shows it; an IPv4 client of a dual-stack socket is shown as IPv4."""
    if family == socket.AF_UNIX:
        return UNIXAddress(raw or None)
    if family == socket.AF_INET6 and raw:
        host = raw[0]
        if host.startswith("::ffff:") and "." in host:
            return IPv4Address("TCP", host[7:], raw[1])
        return IPv6Address("TCP", host, raw[1], raw[2], raw[3])
    return IPv4Address("TCP", raw[0], raw[1]) if raw else IPv4Address("TCP", "0.0.0.0", 0)


class FastTransport:
    """One connected socket.

    ``sock``: non-blocking, connected; owned from now on.  ``peer``, ``host``: the raw addresses of its ends,
    None to ask the socket.  The maker sets ``protocol``, calls :meth:`start` and then ``makeConnection``.
    """

    __slots__ = (
        "_bulk",
        "_closing",
        "_fd",
        "_grace",
        "_half",
        "_host",
        "_mask",
        "_peer",
        "_pending",
        "_pending_bytes",
        "_poller",
        "_queued",
        "_reading",
        "_reason",
        "_recv",
        "_relay",
        "_send",
        "connected",
        "producer",
        "producerPaused",
        "protocol",
        "socket",
        "streamingProducer",
    )

    TLS = False

    def __init__(self, poller: Poller, sock: Any, peer: Any = None, host: Any = None) -> None:
        self._poller = poller
        self.socket: Any = sock
        self._fd = sock.fileno()
        self._recv: Callable[[int], bytes] = sock.recv
        self._send: Callable[[Any], int] = sock.send
        self._peer = peer
        self._host: Any = host
        self._mask = 0  # what the epoll watches; -1: not registered
        self._reading = True
        # None: nothing buffered and a write may go straight to the kernel
        self._pending: deque[Any] | None = None
        self._pending_bytes = 0
        self._bulk = 0  # bytes received in large reads
        self._relay: Relay | None = None  # moves what we receive
        self._half = 0
        self._closing = _OPEN
        self._queued = False
        self._reason: Failure | None = None
        self._grace: Any = None
        self.connected = 1
        self.producer: Any = None
        self.streamingProducer = False
        self.producerPaused = False
        self.protocol: Any = None

    def start(self) -> None:
        """Watch the socket; OSError if the kernel will not."""
        self._mask = READ_MASK
        self._poller.register(self._fd, READ_MASK, self)

    def begin(self, mask: int) -> None:
        """Instead of :meth:`start`, where the descriptor is watched for ``mask`` already."""
        self._mask = mask
        self._watch(READ_MASK)

    # -- reading -----------------------------------------------------------------------------

    def on_events(self, events: int) -> None:
        """The poller's call."""
        if events == IN and self._reading:
            try:
                data = self._recv(READ_BYTES)
            except OSError as error:
                if error.errno not in _TRY_LATER:
                    self._finish(lost(error))
                return
            if data:
                self.protocol.dataReceived(data)
                if len(data) >= LARGE_BYTES:
                    self._large_read(len(data))
            else:
                self._read_end()
            return
        if events & OUT:
            self._flush()
        if events & ~OUT and self.connected:
            if self._reading:
                self._drain(events)
            elif events & (HUP | ERR):
                self._hang_up()
            elif self._mask & IN:  # rule 5: somebody paused us meanwhile
                self._watch(self._mask & ~READ_MASK)

    def _drain(self, events: int) -> None:
        """Read what came before the hang-up, then the hang-up."""
        for _ in range(READS_PER_EVENT):
            try:
                data = self._recv(READ_BYTES)
            except OSError as error:
                if error.errno not in _TRY_LATER:
                    self._finish(lost(error))
                elif events & (ERR | HUP):
                    self._hang_up()
                return
            if not data:
                self._read_end()
                return
            self.protocol.dataReceived(data)
            if not self._reading or not events & ~(IN | OUT):
                return

    def _large_read(self, size: int) -> None:
        """Bulk: a protocol that has ``bulk_flow()`` is told; it may call :meth:`splice_to`."""
        self._bulk += size
        if self._bulk >= BULK_BYTES:
            self._bulk = 0
            bulk_flow = getattr(self.protocol, "bulk_flow", None)
            if bulk_flow is not None and self._relay is None and self._reading:
                bulk_flow()

    def splice_to(self, other: Any, moved: Callable[[int], None]) -> bool:
        """Let the kernel move what is received to ``other``, without a call of ``dataReceived``.

        For a protocol that only writes what it receives to ``other``, whose streaming producer this
        transport is.  ``moved(size)`` is told how much was received; ``moved(0)``, that the other side took
        something of what it was given before.  False, and nothing changes: TLS, not our transport, something
        buffered, no pipe to be had, no splice here.  It ends by itself (see
        :mod:`lbproxy.net.relay`): ``dataReceived`` may be called again at any time."""
        if self._relay is not None:
            return True
        if self.TLS or not isinstance(other, FastTransport) or other.TLS or not self._reading:
            return False
        return start_relay(self, other, moved, self._poller.pipes)

    def _read_failed(self, error: OSError) -> None:
        """A relay's reading failed."""
        self._finish(lost(error))

    def _read_end(self) -> None:
        """The peer sends no more."""
        self._reading = False
        if self._relay is not None:
            self._relay.over()
        self._half |= _READ_END
        if self._closing:
            self._finish(self._reason or DONE)
            return
        protocol = half_closeable(self.protocol)
        if protocol is None:
            self._finish(DONE)
            return
        protocol.readConnectionLost()
        if self.connected and not self._closing and self._mask > 0:  # else rule 5
            self._watch(self._mask & ~READ_MASK)

    def _hang_up(self) -> None:
        """The connection is dead and there is nothing to read, or reading is paused."""
        if self._pending:
            self._flush()
            if self._closing == _BROKEN or not self.connected:
                return
        if self._reading or self._closing or self._half & _READ_END:
            code = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                self._finish(lost(OSError(code, "")))
            elif self._half & _READ_END:  # a Unix socket whose peer has closed it in good order
                self._finish(self._reason or DONE)
            else:
                self._finish(failure_of(ConnectionLost("hung up")))
        else:
            self._watch(-1)

    def pauseProducing(self) -> None:
        """Deliver no more data until :meth:`resumeProducing`."""
        self._reading = False

    def resumeProducing(self) -> None:
        """Deliver data again."""
        if self.connected and not self._closing and not self._half & _READ_END:
            self._reading = True
            if not self._mask & IN or self._mask < 0:
                self._watch((self._mask if self._mask > 0 else 0) | READ_MASK)

    def stopProducing(self) -> None:
        """As :meth:`loseConnection`."""
        self.loseConnection()

    def _watch(self, mask: int) -> None:
        """Change what the epoll watches; -1 takes the descriptor out of it.

        A socket that is shut both ways is a permanent hang-up, so it is not watched at all."""
        if mask == 0 and self._half == _READ_END | _WRITE_ENDING | _WRITE_END:
            mask = -1
        if mask == self._mask:
            return
        if mask < 0:
            self._poller.silence(self._fd)
        elif self._mask < 0:
            self._poller.register(self._fd, mask, self)
        else:
            self._poller.modify(self._fd, mask)
        self._mask = mask

    # -- writing -----------------------------------------------------------------------------

    def write(self, data: Any) -> None:
        """Send ``data`` (bytes or the like) now, or as soon as the peer takes it; dropped if the connection is gone."""
        if self._pending is None:
            try:
                sent = self._send(data)
            except OSError as error:
                if error.errno not in _TRY_LATER:
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
        """:meth:`write` of all of them."""
        self.write(b"".join(iovec))

    def _append(self, data: Any) -> None:
        """Buffer ``data`` and see that it will be sent."""
        pending = self._pending
        if pending is None or not self._writable():
            return
        size = len(data)
        self._pending_bytes += size
        last = pending[-1] if pending else None
        if type(last) is bytearray and len(last) + size <= GATHER_BYTES:
            last += data
        elif size <= SMALL_BYTES:
            pending.append(bytearray(data))
        elif type(data) is bytes or (type(data) is memoryview and data.readonly):
            pending.append(data)
        else:
            pending.append(bytes(data))
        self._want_flush()
        if (
            self._pending_bytes > HIGH_WATER_BYTES
            and self.producer is not None
            and self.streamingProducer
            and not self.producerPaused
        ):
            self.producerPaused = True
            self.producer.pauseProducing()

    def _ending(self) -> bool:
        """Whether a close or half-close was asked for."""
        return bool(self._closing or self._half & (_WRITE_ENDING | _WRITE_END))

    def _hold(self, relay: Relay) -> None:
        """Buffer what ``relay`` has in its pipe; nothing else is buffered."""
        self._pending = deque((relay,))
        self._pending_bytes = relay.left
        self._want_flush()
        if self.producer is not None and self.streamingProducer and not self.producerPaused:
            self.producerPaused = True
            self.producer.pauseProducing()

    def _write_failed(self, error: OSError) -> None:
        """A relay's writing failed."""
        self._break(lost(error))

    def _writable(self) -> bool:
        return bool(self.connected) and self._closing < _BROKEN and not self._half & _WRITE_END

    def _want_flush(self) -> None:
        if not self._mask & OUT or self._mask < 0:
            self._watch((self._mask if self._mask > 0 else 0) | OUT)

    def _flush(self) -> None:
        """The kernel takes data again."""
        pending = self._pending
        if not pending:
            if self._mask & OUT and self._mask > 0:  # rule 5
                self._watch(self._mask & ~OUT)
            return
        try:
            if not self._send_pending(pending):
                return
        except OSError as error:
            if error.errno not in _TRY_LATER:
                self._break(lost(error))
            return
        self._pending_bytes = 0
        self._written()

    def _send_pending(self, pending: deque[Any]) -> bool:
        """Whether everything is sent."""
        for _ in range(SENDS_PER_EVENT):
            relay = pending[0]
            if type(relay) is Relay:
                if not self._flush_relay(pending, relay):
                    return False
                if not pending:
                    return True
            if len(pending) == 1:
                sent = self._send(pending[0])
            else:
                sent = self.socket.sendmsg(list(islice(pending, IOVECS)))
            self._taken(pending, sent)
            if not pending:
                return True
        return False

    def _flush_relay(self, pending: deque[Any], relay: Relay) -> bool:
        """Whether the pipe at the head of the buffer is empty and out of the way."""
        sent = relay.flush()
        self._pending_bytes -= sent
        if sent and self._closing == _FLUSH and self._grace is not None:
            self._grace.set(CLOSE_GRACE_S)
        if relay.left:
            return False
        if pending[0] is relay:
            pending.popleft()
        return True

    def _taken(self, pending: deque[Any], sent: int) -> None:
        """Remove the first ``sent`` bytes of the buffer."""
        self._pending_bytes -= sent
        while sent:
            chunk = pending[0]
            size = len(chunk)
            if size <= sent:
                pending.popleft()
                sent -= size
                continue
            if type(chunk) is bytearray:
                del chunk[:sent]
            else:
                pending[0] = memoryview(chunk)[sent:]
            break
        if self._closing == _FLUSH and self._grace is not None:
            self._grace.set(CLOSE_GRACE_S)

    def _written(self) -> None:
        """Nothing is buffered: what waited for that goes on."""
        producer = self.producer
        if self._half & _WRITE_END or (producer is not None and not self.streamingProducer):
            self._pending = deque() if self._pending is None else self._pending
        else:
            self._pending = None
        if producer is not None and (not self.streamingProducer or self.producerPaused):
            self.producerPaused = False
            producer.resumeProducing()
        elif self._closing == _FLUSH:
            self._end()
        elif self._half & (_WRITE_ENDING | _WRITE_END) == _WRITE_ENDING:
            self._half |= _WRITE_END
            self._pending = deque()
            self._end_write()

    # -- closing -----------------------------------------------------------------------------

    def loseConnection(self) -> None:
        """Close once everything is written (rule 6)."""
        if not self.connected or self._closing:
            return
        self._closing = _FLUSH
        self._reading = False
        self._later()
        if self._pending or self.producer is not None:
            self._set_grace(CLOSE_GRACE_S)

    def abortConnection(self) -> None:
        """Close now with a reset; what is buffered is lost."""
        if self.connected and self._closing != _ABORT:
            self._stop(_ABORT, failure_of(ConnectionAborted()))
            self._reading = False

    def loseWriteConnection(self) -> None:
        """Send everything, then end our direction; reading goes on."""
        if self.connected and not self._closing and not self._half & _WRITE_ENDING:
            self._half |= _WRITE_ENDING
            self._later()

    def _break(self, reason: Failure) -> None:
        """Writing failed: see rules 2 and 3."""
        if self.connected and self._closing < _BROKEN:
            self._stop(_BROKEN, reason)

    def _stop(self, how: int, reason: Failure) -> None:
        self._closing = how
        self._reason = reason
        self._drop_pending()
        self._later()

    def _drop_pending(self) -> None:
        """What is buffered is lost, and nothing is sent at once from now on."""
        pending = self._pending
        if pending and type(pending[0]) is Relay:
            pending[0].lose()
        self._pending = deque()
        self._pending_bytes = 0

    def _later(self) -> None:
        if not self._queued:
            self._queued = True
            self._poller.soon(self)

    def _set_grace(self, delay: float) -> None:
        if self._grace is None:
            self._grace = self._poller.wheel.timer(self.abortConnection)
        self._grace.set(delay)

    def on_soon(self) -> None:
        """The end of the turn in which one of the above was called."""
        self._queued = False
        if not self.connected:
            return
        if self._closing == _ABORT:
            self._finish(self._reason or DONE)
        elif self._closing == _BROKEN:
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
                data = self._recv(READ_BYTES)
            except OSError:
                return False
            if not data:
                return False
            self.protocol.dataReceived(data)
            if not self._reading:
                return False
        return True

    def _end(self) -> None:
        """Everything is written and the connection is to be closed."""
        self._finish(DONE)

    def _end_write(self) -> None:
        """Everything is written and our direction is to be ended."""
        self._send_fin()
        self._watch(self._mask & ~OUT if self._mask > 0 else self._mask)
        protocol = half_closeable(self.protocol)
        if protocol is not None:
            protocol.writeConnectionLost()

    def _send_fin(self) -> None:
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:  # the peer was faster
            return

    def _finish(self, reason: Failure) -> None:
        """Close the socket and tell the producer and the protocol, once."""
        if not self.connected:
            return
        self.connected = 0
        self._reading = False
        self._drop_pending()
        if self._relay is not None:
            self._relay.over()
        if self._grace is not None:
            self._grace.close()
        if self._mask < 0:
            self._poller.forget(self._fd)
        else:
            self._poller.unregister(self._fd)
            self._mask = -1
        self._close_socket()
        producer, self.producer = self.producer, None
        protocol, self.protocol = self.protocol, None
        if producer is not None:
            self._told(producer.stopProducing)
        if protocol is not None:
            self._told(protocol.connectionLost, reason)

    def _close_socket(self) -> None:
        sock = self.socket
        if self._closing == _ABORT:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        try:
            sock.close()
        except OSError:  # of a reset that nobody waits for
            return

    def _told(self, callback: Callable[..., Any], *args: Any) -> None:
        try:
            callback(*args)
        except Exception as error:
            if self._poller.may_log(f"told {type(error).__name__}"):
                _log.failure("a protocol failed while it was told that its connection is lost")

    def on_crash(self, reason: Failure) -> None:
        """The protocol raised, or the reactor stops."""
        self._finish(reason)

    def detach(self) -> Any:
        """Give the socket away without a word to the protocol; the descriptor stays registered if it
        was (see :attr:`watched`).  Whoever takes it calls ``Poller.replace``."""
        self.connected = 0
        self._reading = False
        self._drop_pending()
        if self._relay is not None:
            self._relay.over()
        self.protocol = None
        if self._grace is not None:
            self._grace.close()
        return self.socket

    @property
    def watched(self) -> bool:
        """Whether the poller watches the descriptor."""
        return self._mask >= 0

    # -- producers ---------------------------------------------------------------------------

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """See rule 7.  RuntimeError if there is one already."""
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
        """The producer is done; a close that waited for it goes on."""
        self.producer = None
        if not self.connected:
            return
        if self._closing or self._half & _WRITE_ENDING:
            self._later()
        elif self._pending is not None and not self._pending:
            self._pending = None

    # -- facts and options -------------------------------------------------------------------

    @property
    def disconnecting(self) -> bool:
        """loseConnection or abortConnection was called, or writing failed."""
        return self._closing != _OPEN

    @property
    def disconnected(self) -> bool:
        """It is over."""
        return not self.connected

    @property
    def reactor(self) -> Any:
        """The reactor that drives the poller."""
        return self._poller.reactor

    @property
    def buffered_bytes(self) -> int:
        """Bytes written but not yet taken by the kernel."""
        return self._pending_bytes

    def fileno(self) -> int:
        """The descriptor; -1 when it is closed."""
        return int(self.socket.fileno())

    def getHandle(self) -> Any:
        """The socket."""
        return self.socket

    def logPrefix(self) -> str:
        """For Twisted's log context."""
        return type(self.protocol).__name__

    def getPeer(self) -> Any:
        """IPv4Address, IPv6Address or UNIXAddress of the other end; remembered after the close."""
        peer = self._peer
        if peer is None or type(peer) in (tuple, str, bytes):
            family = self.socket.family
            if peer is None:
                with contextlib.suppress(OSError):
                    peer = self.socket.getpeername()
            peer = twisted_address(family, peer)
            if self.connected or self._peer is not None:
                self._peer = peer
        return peer

    def getHost(self) -> Any:
        """IPv4Address, IPv6Address or UNIXAddress of this end."""
        host = self._raw_host()
        if host is None or type(host) in (tuple, str, bytes):
            raw = host
            host = twisted_address(self.socket.family, raw)
            if raw is not None:
                self._host = host
        return host

    def _raw_host(self) -> Any:
        """The address of this end as the system has it, or as Twisted has it; None if the socket is closed."""
        if self._host is None:
            try:
                self._host = self.socket.getsockname()
            except OSError:
                return None
        return self._host

    def local(self) -> tuple[str, int]:
        """Address and port of this end; ("", 0) for a Unix socket."""
        raw = self._raw_host()
        if type(raw) is tuple:
            host: str = raw[0]
            port: int = raw[1]
            return (host[7:] if host.startswith("::ffff:") and "." in host else host), port
        return getattr(raw, "host", ""), getattr(raw, "port", 0)

    def getTcpNoDelay(self) -> bool:
        """Whether small segments are sent at once; False for a Unix socket."""
        return self._option(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    def setTcpNoDelay(self, enabled: bool) -> None:
        """No effect on a Unix socket."""
        self._set_option(socket.IPPROTO_TCP, socket.TCP_NODELAY, enabled)

    def getTcpKeepAlive(self) -> bool:
        """Whether the system probes an idle connection; False for a Unix socket."""
        return self._option(socket.SOL_SOCKET, socket.SO_KEEPALIVE)

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """No effect on a Unix socket."""
        self._set_option(socket.SOL_SOCKET, socket.SO_KEEPALIVE, enabled)

    def _option(self, level: int, option: int) -> bool:
        return self.socket.family != socket.AF_UNIX and bool(self.socket.getsockopt(level, option))

    def _set_option(self, level: int, option: int, enabled: bool) -> None:
        if self.socket.family != socket.AF_UNIX:
            self.socket.setsockopt(level, option, int(bool(enabled)))


classImplements(FastTransport, ITCPTransport, IConsumer, IPushProducer, ISystemHandle)
