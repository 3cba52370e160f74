"""DATA. Connections being made through the poller: connect, preamble, TLS, one outcome.

Made for :class:`lbproxy.net.fast.FastNetwork`.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import Any, Final

from twisted.python.failure import Failure

from lbproxy.compiled import native
from lbproxy.errors import Kind, ProxyError
from lbproxy.net.dialling import Dialling
from lbproxy.net.errorwords import error_words
from lbproxy.net.handshaking import Handshaking
from lbproxy.net.poller import OUT, Poller
from lbproxy.net.sockaddr import socket_address
from lbproxy.net.sslhandshake import Handshake
from lbproxy.net.stocktls import StockHandshake
from lbproxy.net.transport import FastTransport
from lbproxy.tls.parameters import TLSParameters

__all__ = ["FastDial", "handshaking"]

_IN_PROGRESS: Final = frozenset((errno.EINPROGRESS, errno.EALREADY, errno.EINTR))
# non-blocking at once: a system call less
_STREAM: Final = int(socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
_EPHEMERAL: Final = 32768  # ports from here on may be picked for an outgoing connection


def handshaking(transport: Any, tls: TLSParameters, received: bytes) -> type[Handshaking]:
    """TLS runs on the socket itself if ``tls.creator`` can do that, the connection is one of ours in use
    and nothing was read ahead; else through a memory BIO."""
    usable = type(transport) is FastTransport and not transport.disconnecting
    on_socket = hasattr(tls.creator, "connection_for_socket")
    if received or not (usable and on_socket and transport.connected):
        return StockHandshake
    return Handshake


@native(allow_interpreted_subclasses=True)  # else the __init__ it inherits runs twice
class FastDial(Dialling):
    """One connection being made."""

    __slots__ = ("_fd", "_poller", "_problem", "_raw", "_registered", "_socket")

    def begin(self) -> None:
        """See :meth:`Dialling.begin`."""
        loop: Any = self._loop
        self._poller: Poller = loop
        self._socket: Any = None
        self._fd = -1
        self._registered = False
        self._raw: Any = None
        self._problem: ProxyError | None = None
        try:
            self._connect()
        except OSError as error:
            self._fail_soon(error)

    def _connect(self) -> None:
        family, self._raw = socket_address(self._address)
        self._socket = sock = socket.SocketType(family, _STREAM)
        self._fd = sock.fileno()
        if family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        code = sock.connect_ex(self._raw)
        if code not in _IN_PROGRESS and code:
            raise OSError(code, os.strerror(code))
        if code == 0 or self._poller.in_turn:
            # a neighbour has answered by the end of the turn: saves an event and an epoll_ctl
            self._poller.soon(self)
        else:
            self._register()

    def _register(self) -> None:
        self._poller.register(self._fd, OUT, self)
        self._registered = True

    def _fail_soon(self, error: OSError) -> None:
        self._problem = self._error(Kind.CONNECT_FAILED, error_words(error))
        self._poller.soon(self)

    def on_soon(self) -> None:
        """The end of the turn in which it was dialled."""
        sock = self._socket
        if self._problem is not None:
            self._fail(self._problem)
        elif self._failed is not None and sock is not None and not self._registered:
            code = sock.connect_ex(self._raw)
            if code in (0, errno.EISCONN):
                self._connected()
            elif code in _IN_PROGRESS:
                self._register()
            else:
                self._refused(code)

    def on_events(self, events: int) -> None:
        """The poller's call: connected or refused."""
        sock = self._socket
        if self._failed is None or sock is None:
            return
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._refused(code)
        else:
            self._connected()

    def _refused(self, code: int) -> None:
        kind = Kind.CONNECT_TIMEOUT if code == errno.ETIMEDOUT else Kind.CONNECT_FAILED
        self._fail(self._error(kind, os.strerror(code)))

    def _connected(self) -> None:
        sock = self._socket
        if sock is None:
            return
        try:
            myself = self._address.port >= _EPHEMERAL and _joined_itself(sock, self._address.port)
        except OSError as error:  # the peer has reset it already
            self._refused(error.errno or errno.ENOTCONN)
            return
        if myself:
            self._refused(errno.ECONNREFUSED)  # TCP lets a port nobody listens on connect to itself
            return
        transport = FastTransport(self._poller, sock)
        if self._registered:
            self._poller.replace(self._fd, transport)
            transport.begin(OUT)
        else:
            transport.start()
        if self._preamble:
            transport.write(self._preamble)
        tls = self._tls
        if tls is not None:
            self._socket = None  # the handshake's from now on
            self._secure(handshaking(transport, tls, b""), transport, tls)
            return
        self._decided()
        transport.protocol = self._protocol
        try:
            self._protocol.makeConnection(transport)
        except BaseException:
            self._poller.crashed(transport)

    def _drop(self) -> None:
        sock, self._socket = self._socket, None
        if sock is not None:
            if self._registered:
                self._poller.unregister(self._fd)
            sock.close()
        handshake, self._handshake = self._handshake, None
        if handshake is not None:
            handshake.cancel()

    def on_crash(self, reason: Failure) -> None:
        """Something of ours raised, or the reactor stops."""
        self._fail(self._error(Kind.CONNECT_FAILED, reason.getErrorMessage()))


def _joined_itself(sock: Any, port: int) -> bool:
    name = sock.getsockname()
    return bool(name[1] == port and name == sock.getpeername())
