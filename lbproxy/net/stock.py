"""DATA. The network on the reactor's own transports. It runs on every reactor, including in-memory
ones.

It is used where :class:`lbproxy.net.fast.FastNetwork` is not possible (no epoll, tests). The
reactor needs only IReactorTCP, IReactorUNIX and IReactorTime, and IReactorSocket if ``reuse_port``
is used.
"""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet import error, tcp, unix
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IReactorSocket

from lbproxy.errors import ListenError
from lbproxy.model import Address
from lbproxy.net.endpoints import Binder, Bound, ListenRequest, Network
from lbproxy.net.errorwords import refusal
from lbproxy.net.loop import Loop
from lbproxy.net.stockdial import StockDialler
from lbproxy.net.stockport import StockBound, set_options
from lbproxy.net.timers import TimerWheel
from lbproxy.net.unixpath import file_mode, remove_stale_socket

__all__ = ["StockBinder", "StockNetwork"]


class StockNetwork(Network):
    """Listens and dials with ``reactor.listenTCP`` and its siblings.

    ``wheel``: timer wheel shared with other users of this reactor; None creates one.
    """

    binder: StockBinder

    def __init__(self, reactor: Any, wheel: TimerWheel | None = None) -> None:
        loop = Loop(reactor, wheel)
        super().__init__(StockBinder(reactor), StockDialler(loop))
        self.reactor = reactor


class StockBinder(Binder):
    """Listens with ``reactor.listenTCP`` and its siblings."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    def _bind(self, request: ListenRequest) -> Bound:
        """See :class:`Binder`."""
        address = request.address
        try:
            if address.kind == "unix":
                remove_stale_socket(address.path)
                unix_port = self._reactor.listenUNIX(
                    address.path, request.factory, backlog=request.backlog, mode=request.mode
                )
                return StockBound(unix_port, address)
            port: Any = self._listen_tcp(request)
        except error.CannotListenError as problem:
            raise refusal(address, problem.socketError) from problem
        except (OSError, OverflowError) as problem:  # overflow: a port above 65535
            raise refusal(address, problem) from problem
        set_options(port)
        return StockBound(port, Address("tcp", address.host, port.getHost().port))

    def _listen_tcp(self, request: ListenRequest) -> IListeningPort:
        address = request.address
        own = request.reuse_port or address.host == "::"
        if own and IReactorSocket.providedBy(self._reactor):
            return self._listen_on_own(request)
        if request.reuse_port:
            raise ListenError(f"cannot listen on {address}: this reactor cannot share ports")
        port: IListeningPort = self._reactor.listenTCP(
            address.port, request.factory, backlog=request.backlog, interface=address.host
        )
        return port

    def _listen_on_own(self, request: ListenRequest) -> IListeningPort:
        """Listen on a socket created here, because listenTCP supports neither dual stack nor shared
        ports.
        """
        address = request.address
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if request.reuse_port:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                only = int(address.host != "::")
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
            sock.bind((address.host, address.port))
            sock.listen(request.backlog)
            port: IListeningPort = self._reactor.adoptStreamPort(
                sock.fileno(), family, request.factory
            )
            return port

    def _take_over(self, sockets: list[socket.socket], request: ListenRequest) -> Bound:
        """See :class:`Binder`."""
        sock, address = sockets[0], request.address
        sock.setblocking(False)
        with sock:  # the port creates its own descriptor
            try:
                # like adoptStreamPort, which however sets backlog and mode to Twisted's defaults
                port = self._port(sock, address, request.factory)
                if address.kind == "unix":
                    port.mode = request.mode
                else:
                    address = Address("tcp", address.host, sock.getsockname()[1])
                port.backlog = request.backlog
                port.startListening()
            except (OSError, error.CannotListenError) as problem:
                raise refusal(address, problem) from problem
        return _of_others(port, address)

    def adopt(self, sock: socket.socket, address: Address, factory: IProtocolFactory) -> Bound:
        """See :class:`Binder`."""
        sock.setblocking(False)
        port: Any
        with sock:  # the reactor creates its own descriptor
            try:
                if address.kind == "unix":
                    # like adoptStreamPort, which however opens the socket's file to everyone
                    port = self._port(sock, address, factory)
                    port.mode = file_mode(address.path)
                    port.startListening()
                else:
                    port = self._reactor.adoptStreamPort(sock.fileno(), sock.family, factory)
            except (OSError, error.CannotListenError) as problem:
                raise refusal(address, problem) from problem
        return _of_others(port, address)

    def _port(self, sock: socket.socket, address: Address, factory: IProtocolFactory) -> Any:
        """Return a port of Twisted on a bound socket, not listening yet."""
        make: Any
        if address.kind == "unix":
            make = unix.Port._fromListeningDescriptor
            return make(self._reactor, sock.fileno(), factory)
        make = tcp.Port._fromListeningDescriptor
        return make(self._reactor, sock.fileno(), sock.family, factory)


def _of_others(port: Any, address: Address) -> Bound:
    """Return a port on a socket that another process accepts from too."""
    bound = StockBound(port, address)
    bound.own(False)
    return bound
