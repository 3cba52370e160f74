"""DATA. The Network on our own transports: listening and dialling through one nested epoll.

Chosen by :func:`choose_network`; has the same contract as :class:`lbproxy.net.stock.StockNetwork`, which it
also uses for TLS that cannot run on the socket itself (see :class:`~lbproxy.net.endpoints.TLSParameters`).
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from twisted.internet.interfaces import IProtocol, IProtocolFactory, IReactorFDSet
from twisted.logger import Logger
from twisted.python.failure import Failure

from lbproxy.config.model import Address
from lbproxy.errors import Kind, ProxyError
from lbproxy.net.endpoints import Bound, Dial, Handshaking, Network, TLSInfo, TLSParameters
from lbproxy.net.poller import IN, OUT, Poller
from lbproxy.net.sslsocket import Handshake
from lbproxy.net.stock import StockNetwork, _refusal, _words, remove_stale_socket
from lbproxy.net.stocktls import StockHandshake
from lbproxy.net.timers import TimerWheel
from lbproxy.net.transport import FastTransport, twisted_address

__all__ = ["FastNetwork", "choose_network"]

ACCEPTS_PER_EVENT = 64
ACCEPT_PAUSE_S = 0.25  # when descriptors or memory are short
_SHORTAGE = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
_IN_PROGRESS = frozenset((errno.EINPROGRESS, errno.EALREADY, errno.EINTR))
_EPHEMERAL = 32768  # ports from here on may be picked for an outgoing connection

_log = Logger()


def choose_network(kind: Literal["auto", "epoll", "twisted"], reactor: Any) -> Network:
    """The network for ``reactor``: ``auto`` takes epoll where the system and the reactor have it.

    ``epoll`` where that is impossible gets Twisted's transports too, with a warning."""
    if kind != "twisted":
        if hasattr(select, "epoll") and IReactorFDSet.providedBy(reactor):
            try:
                return FastNetwork(reactor)
            except OSError as error:
                _log.warn("no epoll, using Twisted's transports: {error}", error=error)
        elif kind == "epoll":
            _log.warn("no epoll here, using Twisted's transports")
    return StockNetwork(reactor)


@lru_cache(4096)
def _resolve(address: Address) -> tuple[int, Any]:
    """(family, socket address) of an IP literal or Unix path; OSError if it is neither."""
    if address.kind == "unix":
        return socket.AF_UNIX, address.path
    host = address.host or "0.0.0.0"
    if not 0 <= address.port <= 65535:
        raise OSError(errno.EINVAL, f"port {address.port} is not between 0 and 65535")
    try:
        found = socket.getaddrinfo(
            host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
        )
    except socket.gaierror as error:
        raise OSError(errno.EINVAL, f"{host!r} is not an IP address") from error
    return int(found[0][0]), found[0][4]


# -- listening -------------------------------------------------------------------------------


def _bound_socket(
    address: Address, family: int, raw: Any, mode: int, reuse_port: bool
) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        if family == socket.AF_UNIX:
            _bind_unix(sock, address.path, mode)
            return sock
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        # accepted sockets inherit these two
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(
                socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if address.host == "::" else 1
            )
        sock.bind(raw)
    except BaseException:
        sock.close()
        raise
    return sock


def _bind_unix(sock: socket.socket, path: str, mode: int) -> None:
    """Bind, replacing a socket file that nobody listens on; nobody can connect before listen()."""
    remove_stale_socket(path)
    sock.bind(path)
    if not path.startswith("\0"):
        Path(path).chmod(mode)


class FastPort(Bound):
    """A listening socket in the poller."""

    def __init__(
        self, poller: Poller, sock: socket.socket, factory: IProtocolFactory, address: Address
    ) -> None:
        self._poller = poller
        self._socket = sock
        self._fd = sock.fileno()
        self._family = int(sock.family)
        self._factory = factory
        self._address = address
        self._open = True
        self._budget = 1  # accepts per event; grows while a queue is found, to save the EAGAIN
        self._timer = poller.wheel.timer(self._resume)
        self._inode = _inode(address.path) if address.kind == "unix" else None
        factory.doStart()
        try:
            poller.register(self._fd, IN, self)
        except BaseException:
            factory.doStop()
            raise

    @property
    def address(self) -> Address:
        """Where it really listens."""
        return self._address

    def fileno(self) -> int:
        """The listening descriptor."""
        return self._socket.fileno()

    def on_events(self, events: int) -> None:
        """The poller's call: accept, at most ACCEPTS_PER_EVENT."""
        budget = self._budget
        accept = self._socket.accept
        for _ in range(budget):
            try:
                sock, peer = accept()
            except BlockingIOError:
                self._budget = max(1, budget // 2)
                return
            except OSError as error:
                if not self._failed(error):
                    return
                continue
            self._accepted(sock, peer)
            if not self._open:
                return
        self._budget = min(ACCEPTS_PER_EVENT, budget * 2)

    def _failed(self, error: OSError) -> bool:
        """Whether to go on accepting: a connection that died in the queue is not our problem."""
        if error.errno not in _SHORTAGE:
            if self._poller.may_log(f"accept {error.errno}"):
                _log.warn("accepting on {address} failed: {why}", address=self, why=_words(error))
            return True
        if self._poller.may_log("accept paused"):
            _log.error(
                "not accepting on {address} for a moment: {why}",
                address=str(self._address),
                why=_words(error),
            )
        self._poller.silence(self._fd)
        self._timer.set(ACCEPT_PAUSE_S)
        return False

    def _resume(self) -> None:
        if self._open:
            try:
                self._poller.register(self._fd, IN, self)
            except OSError:
                self._timer.set(ACCEPT_PAUSE_S)

    def _accepted(self, sock: socket.socket, peer: Any) -> None:
        transport = None
        try:
            sock.setblocking(False)
            address = twisted_address(self._family, peer)
            protocol = self._factory.buildProtocol(address)
            if protocol is None:
                sock.close()
                return
            transport = FastTransport(self._poller, sock, address)
            transport.start()
            transport.protocol = protocol
            protocol.makeConnection(transport)
        except Exception:
            self._poller.crashed(_Rejected(sock) if transport is None else transport)

    def on_soon(self) -> None:
        """Never asked for."""

    def on_crash(self, reason: Failure) -> None:
        """The reactor stops."""
        self.close()

    def close(self) -> None:
        """Stop accepting; what is queued in the kernel is reset."""
        if not self._open:
            return
        self._open = False
        self._timer.clear()
        self._poller.unregister(self._fd)
        self._socket.close()
        if self._inode is not None and _inode(self._address.path) == self._inode:
            with contextlib.suppress(OSError):
                Path(self._address.path).unlink()
        self._factory.doStop()

    def __str__(self) -> str:
        return str(self._address)


def _inode(path: str) -> tuple[int, int] | None:
    try:
        found = Path(path).stat()
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


class _Rejected:
    """An accepted socket that never got a protocol."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    def on_events(self, events: int) -> None:
        """Never registered."""

    def on_soon(self) -> None:
        """Never asked for."""

    def on_crash(self, reason: Failure) -> None:
        """Close it."""
        self._socket.close()


# -- dialling --------------------------------------------------------------------------------


class FastDial(Dial):
    """One connection being made; see :meth:`lbproxy.net.endpoints.Network.dial`."""

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
        self._socket: socket.socket | None = None
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
        family, self._raw = _resolve(self._address)
        self._socket = sock = socket.socket(family, socket.SOCK_STREAM)
        self._fd = sock.fileno()
        sock.setblocking(False)
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
        self._error = ProxyError(Kind.CONNECT_FAILED, f"{self._address}: {_words(error)}")
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
            myself = self._address.port >= _EPHEMERAL and sock.getsockname() == sock.getpeername()
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


# -- the network -----------------------------------------------------------------------------


class FastNetwork(Network):
    """Listens and dials on a nested epoll of its own.

    ``reactor``: IReactorFDSet and IReactorTime.  OSError when there is no descriptor for the epoll.
    """

    def __init__(self, reactor: Any, wheel: TimerWheel | None = None) -> None:
        self.reactor = reactor
        self.wheel = TimerWheel(reactor) if wheel is None else wheel
        self.poller = Poller(reactor, self.wheel)
        self._stock = StockNetwork(reactor, self.wheel)

    def listen(
        self,
        address: Address,
        factory: IProtocolFactory,
        *,
        backlog: int = 1024,
        mode: int = 0o660,
        reuse_port: bool = False,
    ) -> Bound:
        """See :meth:`lbproxy.net.endpoints.Network.listen`."""
        try:
            family, raw = _resolve(address)
            sock = _bound_socket(address, family, raw, mode, reuse_port)
        except OSError as error:
            raise _refusal(address, error) from error
        try:
            sock.listen(backlog)
            if family != socket.AF_UNIX:
                address = Address("tcp", host=address.host, port=sock.getsockname()[1])
            return FastPort(self.poller, sock, factory, address)
        except OSError as error:
            sock.close()
            raise _refusal(address, error) from error

    def dial(
        self,
        address: Address,
        protocol: IProtocol,
        failed: Callable[[ProxyError], None],
        *,
        timeout: float,
        tls: TLSParameters | None = None,
        preamble: bytes = b"",
    ) -> Dial:
        """See :meth:`lbproxy.net.endpoints.Network.dial`."""
        return FastDial(self, address, protocol, failed, timeout, tls, preamble)

    def start_tls(
        self,
        transport: Any,
        parameters: TLSParameters,
        protocol: Callable[[TLSInfo], IProtocol],
        failed: Callable[[ProxyError], None],
        *,
        timeout: float,
        received: bytes = b"",
    ) -> Handshaking:
        """See :meth:`lbproxy.net.endpoints.Network.start_tls`; on the socket itself where the creator
        can and nothing was read ahead, else through Twisted's memory BIO."""
        return self.handshake(
            transport, parameters, protocol, failed, timeout=timeout, received=received
        )

    def handshake(
        self,
        transport: Any,
        parameters: TLSParameters,
        protocol: Callable[[TLSInfo], IProtocol],
        failed: Callable[[ProxyError], None],
        *,
        timeout: float,
        received: bytes = b"",
        late: ProxyError | None = None,
    ) -> Handshake | StockHandshake:
        """:meth:`start_tls` that can be cancelled; ``late``: the error at the deadline."""
        usable = type(transport) is FastTransport and not transport.disconnecting
        on_socket = hasattr(parameters.creator, "connection_for_socket")
        if received or not (usable and on_socket and transport.connected):
            return self._stock.handshake(
                transport,
                parameters,
                protocol,
                failed,
                timeout=timeout,
                received=received,
                late=late,
            )
        return Handshake(
            self.poller,
            transport,
            parameters,
            protocol,
            failed,
            timeout=timeout,
            late=late,
        )

    def close(self) -> None:
        """Lose every connection and close every port."""
        self.poller.close()
