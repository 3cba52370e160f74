"""DATA. Connection attempts through the poller: connect, preamble, TLS, and a single outcome.

:class:`lbproxy.net.fast.FastNetwork` uses it.

A nearby server has usually answered by the end of the turn in which it was dialled. A check at that
time saves an event, an ``epoll_ctl`` and a timer. Only a connection that takes longer is watched
and timed.

========  ================  ===============  ===========  ==========  ===============
state     waits for         connected        in progress  refused     cancel, too late
========  ================  ===============  ===========  ==========  ===============
SOON      end of the turn   OVER (SECURING)  WATCHED      OVER        OVER
WATCHED   the poller        OVER (SECURING)  -            OVER        OVER
SECURING  a TLS handshake   OVER             -            OVER        OVER
OVER      -                 -                -            -           -
========  ================  ===============  ===========  ==========  ===============
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from enum import Enum
from typing import Any, Final

from twisted.internet.interfaces import IProtocol
from twisted.python.failure import Failure

from lbproxy.compiled import native
from lbproxy.errors import Kind
from lbproxy.model import Address
from lbproxy.net.dialler import Dialler
from lbproxy.net.dialling import Dialling
from lbproxy.net.errorwords import error_words
from lbproxy.net.handshaking import Handshaking
from lbproxy.net.poller import OUT, Poller
from lbproxy.net.sockaddr import socket_address
from lbproxy.net.sslhandshake import Handshake
from lbproxy.net.stocktls import StockHandshake
from lbproxy.net.stream import StreamProtocol
from lbproxy.net.transport import FastTransport
from lbproxy.tls.parameters import TLSInfo, TLSParameters

__all__ = ["DialState", "FastDial", "FastDialler"]

_DONE: Final = frozenset((0, errno.EISCONN))
_IN_PROGRESS: Final = frozenset((errno.EINPROGRESS, errno.EALREADY, errno.EINTR))
# non-blocking from the start saves a system call
_STREAM: Final = int(socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
_EPHEMERAL: Final = 32768  # the system may pick outgoing ports from this one on
_UNIX: Final = int(socket.AF_UNIX)
_TCP: Final = int(socket.IPPROTO_TCP)
_NODELAY: Final = int(socket.TCP_NODELAY)
_SOCKET: Final = int(socket.SOL_SOCKET)
_KEEPALIVE: Final = int(socket.SO_KEEPALIVE)
_new_socket: Final[Any] = socket.SocketType


_KNOWN: Final = 4096  # number of cached raw addresses


class DialState(Enum):
    """See the module."""

    SOON = 0
    WATCHED = 1
    SECURING = 2
    OVER = 3


_SOON: Final = DialState.SOON  # cached, because each enum member access costs a lookup
_WATCHED: Final = DialState.WATCHED
_SECURING: Final = DialState.SECURING
_OVER: Final = DialState.OVER


@native(allow_interpreted_subclasses=True)  # otherwise the inherited __init__ runs twice
class FastDialler(Dialler):
    """Dials through ``poller``."""

    def __init__(self, poller: Poller) -> None:
        super().__init__(poller)
        self._poller = poller
        # by identity: hashing an Address takes longer than the connect
        self._known: dict[int, _Known] = {}

    def _new_dial(self, address: Address) -> Dialling:
        """See :meth:`Dialler._new_dial`."""
        dial = FastDial(self._poller, address)
        dial.prepare = self.prepare
        dial.known = self._known.get(id(address))
        if dial.known is None:
            try:
                dial.known = self._learn(address)
            except OSError as error:
                dial.problem = error
        return dial

    def _learn(self, address: Address) -> _Known:
        family, raw = socket_address(address)
        if len(self._known) >= _KNOWN:
            self._known.clear()
        known = self._known[id(address)] = _Known(address, family, raw)
        return known

    def prepared_by(self, prepare: Callable[[Any], None]) -> Dialler:
        """See :meth:`Dialler.prepared_by`."""
        twin = FastDialler(self._poller)
        twin.prepare = prepare
        return twin

    def handshaking(
        self, transport: Any, parameters: TLSParameters, received: bytes
    ) -> type[Handshaking]:
        """See :meth:`Dialler.handshaking`."""
        return _handshaking(transport, parameters, received)


def _handshaking(transport: Any, tls: TLSParameters, received: bytes) -> type[Handshaking]:
    """Return the class for TLS on the socket itself, or for TLS through a memory BIO.

    The former requires that the creator supports it, that the connection is a connected one of
    lbproxy's transports, and that nothing has been read ahead.
    """
    usable = type(transport) is FastTransport and not transport.disconnecting
    on_socket = hasattr(tls.creator, "connection_for_socket")
    if received or not (usable and on_socket and transport.connected):
        return StockHandshake
    return Handshake


class _Known:
    """The raw form of an address. It keeps the address alive, so that its id stays valid."""

    __slots__ = ("address", "family", "may_be_ours", "raw")

    def __init__(self, address: Address, family: int, raw: Any) -> None:
        self.address = address
        self.family = family
        self.raw = raw
        # TCP can connect a port without a listener to itself
        self.may_be_ours = address.port >= _EPHEMERAL


@native(allow_interpreted_subclasses=True)  # otherwise the inherited __init__ runs twice
class FastDial(Dialling):
    """One connection attempt. The dialler sets ``known`` or ``problem`` before it starts."""

    __slots__ = ("_fd", "_poller", "_socket", "known", "prepare", "problem", "state")

    def __init__(self, poller: Poller, address: Address) -> None:
        super().__init__(poller, address)
        self._poller: Poller = poller
        self._socket: Any = None
        self._fd = -1
        self.state = _SOON
        self.known: _Known | None = None
        self.problem: OSError | None = None
        self.prepare: Callable[[Any], None] | None = None

    def _start(self) -> None:
        if self.known is not None:
            try:
                self._connect(self.known)
            except OSError as error:
                self.problem = error
        if self.problem is not None:
            self._poller.soon(self)

    def _connect(self, known: _Known) -> None:
        family = known.family
        self._socket = sock = _new_socket(family, _STREAM)
        self._fd = sock.fileno()
        if family != _UNIX:
            sock.setsockopt(_TCP, _NODELAY, 1)
            sock.setsockopt(_SOCKET, _KEEPALIVE, 1)
        if self.prepare is not None:
            self.prepare(sock)
        code: int = sock.connect_ex(known.raw)
        if code and code not in _IN_PROGRESS:
            raise OSError(code, os.strerror(code))
        if code == 0 or self._poller.in_turn:
            self._poller.soon(self)
        else:
            self._watch()

    def _watch(self) -> None:
        self._poller.register(self._fd, OUT, self)
        self.state = _WATCHED
        self._arm()

    def on_soon(self) -> None:
        """Check the connection at the end of the turn in which it was dialled."""
        if self.state is not _SOON:
            return
        if self.problem is not None:
            self._fail(self._error(Kind.CONNECT_FAILED, error_words(self.problem)))
            return
        known = self.known
        assert known is not None
        code: int = self._socket.connect_ex(known.raw)
        if code in _DONE:
            self._connected(known)
        elif code in _IN_PROGRESS:
            self._watch()
        else:
            self._refused(code)

    def on_events(self, events: int) -> None:
        """Handle an event of the poller: connected or refused."""
        known = self.known
        if self.state is not _WATCHED or known is None:
            return
        code: int = self._socket.getsockopt(_SOCKET, socket.SO_ERROR)
        if code:
            self._refused(code)
        else:
            self._connected(known)

    def _refused(self, code: int) -> None:
        kind = Kind.CONNECT_TIMEOUT if code == errno.ETIMEDOUT else Kind.CONNECT_FAILED
        self._fail(self._error(kind, os.strerror(code)))

    def _connected(self, known: _Known) -> None:
        sock = self._socket
        try:
            myself = known.may_be_ours and _joined_itself(sock, known.address.port)
        except OSError as error:  # the peer has already reset it
            self._refused(error.errno or errno.ENOTCONN)
            return
        if myself:
            self._refused(errno.ECONNREFUSED)
            return
        transport = FastTransport(self._poller, sock)
        if self.state is _WATCHED:
            self._poller.replace(self._fd, transport)
            transport.begin(OUT)
        else:
            transport.start()
        if self._preamble:
            transport.write(self._preamble)
        tls = self._tls
        if tls is not None:
            self.state = _SECURING  # the socket belongs to the handshake from now on
            self._secure(_handshaking(transport, tls, b""), transport, tls)
            return
        self._decided()
        self.state = _OVER
        transport.protocol = self._protocol
        protocol: Any = self._protocol
        try:
            if isinstance(protocol, StreamProtocol):
                protocol.makeConnection(transport)
            else:
                protocol.makeConnection(transport)
        except BaseException:
            self._poller.crashed(transport)

    def _secured(self, info: TLSInfo) -> IProtocol:
        self.state = _OVER
        return super()._secured(info)

    def _drop(self) -> None:
        state, self.state = self.state, _OVER
        if state is _SECURING:
            super()._drop()
            return
        if state is _WATCHED:
            self._poller.release(self._fd)
        if self._socket is not None:
            self._socket.close()

    def on_crash(self, reason: Failure) -> None:
        """Fail the dial, because lbproxy raised an exception or the reactor stops."""
        self._fail(self._error(Kind.CONNECT_FAILED, reason.getErrorMessage()))


def _joined_itself(sock: Any, port: int) -> bool:
    name = sock.getsockname()
    return bool(name[1] == port and name == sock.getpeername())
