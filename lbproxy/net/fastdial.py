"""DATA. Connections being made through the poller: connect, preamble, TLS, one outcome.

Made by :class:`lbproxy.net.fast.FastNetwork`.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.interfaces import IProtocol
from twisted.python.failure import Failure

from lbproxy.errors import Kind, ProxyError
from lbproxy.model import Address
from lbproxy.net.poller import OUT
from lbproxy.net.sockaddr import socket_address
from lbproxy.net.stock import error_words
from lbproxy.net.transport import FastTransport

if TYPE_CHECKING:
    from lbproxy.net.fast import FastNetwork
    from lbproxy.net.sslsocket import Handshake
    from lbproxy.net.stocktls import StockHandshake

from lbproxy.tls.parameters import TLSInfo, TLSParameters

__all__ = ["FastDial"]

_IN_PROGRESS: Final = frozenset((errno.EINPROGRESS, errno.EALREADY, errno.EINTR))
# non-blocking at once: a system call less
_STREAM: Final = int(socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
_EPHEMERAL: Final = 32768  # ports from here on may be picked for an outgoing connection


def _joined_itself(sock: Any, port: int) -> bool:
    name = sock.getsockname()
    return bool(name[1] == port and name == sock.getpeername())


class FastDial:
    """One connection being made; see :meth:`lbproxy.net.endpoints.Network.dial`."""

    __slots__ = (
        "_address",
        "_deadline",
        "_error",
        "_failed",
        "_fd",
        "_handshake",
        "_network",
        "_poller",
        "_preamble",
        "_protocol",
        "_raw",
        "_registered",
        "_socket",
        "_timeout",
        "_timer",
        "_tls",
    )

    def __init__(
        self,
        network: FastNetwork,
        address: Address,
        protocol: IProtocol,
        failed: Callable[[ProxyError], None],
        timeout: float,
        tls: TLSParameters | None,
        preamble: bytes,
    ) -> None:
        self._network = network
        self._poller = poller = network.poller
        self._address = address
        self._protocol = protocol
        self._failed: Callable[[ProxyError], None] | None = failed
        self._timeout = timeout
        self._tls = tls
        self._preamble = preamble
        self._socket: Any = None
        self._fd = -1
        self._registered = False
        self._raw: Any = None
        self._error: ProxyError | None = None
        self._handshake: Handshake | StockHandshake | None = None
        self._timer = poller.wheel.timer(self._too_late)
        self._timer.set(timeout)
        self._deadline = poller.wheel.now() + timeout
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
        self._error = ProxyError(Kind.CONNECT_FAILED, f"{self._address}: {error_words(error)}")
        self._poller.soon(self)

    def on_soon(self) -> None:
        """The end of the turn in which it was dialled."""
        sock = self._socket
        if self._error is not None:
            self._fail(self._error)
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
        self._fail(ProxyError(kind, f"{self._address}: {os.strerror(code)}"))

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
        if self._tls is not None:
            self._start_tls(transport, self._tls)
            return
        self._decided()
        transport.protocol = self._protocol
        try:
            self._protocol.makeConnection(transport)
        except Exception:
            self._poller.crashed(transport)

    def _start_tls(self, transport: FastTransport, tls: TLSParameters) -> None:
        self._socket = None  # the handshake's from now on
        self._timer.clear()
        transport.protocol = None
        self._handshake = self._network.handshake(
            transport,
            tls,
            self._secured,
            self._insecure,
            timeout=max(0.0, self._deadline - self._poller.wheel.now()),
            late=ProxyError(Kind.CONNECT_TIMEOUT, f"no TLS within {self._timeout:g} s"),
        )

    def _secured(self, info: TLSInfo) -> IProtocol:
        self._decided()
        return self._protocol

    def _insecure(self, error: ProxyError) -> None:
        self._fail(ProxyError(error.kind, f"{self._address}: {error.detail}"))

    def _too_late(self) -> None:
        words = f"{self._address}: no connection within {self._timeout:g} s"
        self._fail(ProxyError(Kind.CONNECT_TIMEOUT, words))

    def _decided(self) -> None:
        self._failed = None
        self._timer.close()
        self._handshake = None

    def _fail(self, error: ProxyError) -> None:
        failed = self._failed
        if failed is not None:
            self._decided()
            self._close()
            failed(error)

    def _close(self) -> None:
        sock, self._socket = self._socket, None
        if sock is not None:
            if self._registered:
                self._poller.unregister(self._fd)
            sock.close()

    def on_crash(self, reason: Failure) -> None:
        """Something of ours raised, or the reactor stops."""
        self._fail(ProxyError(Kind.CONNECT_FAILED, f"{self._address}: {reason.getErrorMessage()}"))

    def cancel(self) -> None:
        """See :meth:`lbproxy.net.endpoints.Dial.cancel`."""
        if self._failed is None:
            return
        handshake = self._handshake
        self._decided()
        self._close()
        if handshake is not None:
            handshake.cancel()
