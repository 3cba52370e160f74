"""DATA. The Network on our own transports: listening and dialling through one nested epoll.

Chosen by :func:`choose_network`; has the same contract as :class:`lbproxy.net.stock.StockNetwork`, which it
also uses for TLS that cannot run on the socket itself (see :class:`~lbproxy.net.endpoints.TLSParameters`).
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from twisted.internet.interfaces import IProtocol, IProtocolFactory, IReactorFDSet
from twisted.logger import Logger

from lbproxy.errors import ProxyError
from lbproxy.model import Address
from lbproxy.net.endpoints import Bound, Dial, Handshaking, Network
from lbproxy.net.fastdial import FastDial
from lbproxy.net.fastport import FastPort, bound_socket
from lbproxy.net.poller import Poller
from lbproxy.net.sockaddr import socket_address
from lbproxy.net.sslsocket import Handshake
from lbproxy.net.stock import StockNetwork, refusal
from lbproxy.net.stocktls import StockHandshake
from lbproxy.net.timers import TimerWheel
from lbproxy.net.transport import FastTransport
from lbproxy.tls.parameters import TLSInfo, TLSParameters

__all__ = ["FastNetwork", "choose_network"]

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
        given = self.inherited.take(address) if self.inherited is not None else None
        if given is not None:
            return self._take_over(given[0], address, factory, backlog, mode)
        try:
            family, raw = socket_address(address)
            sock = bound_socket(address, family, raw, mode, reuse_port)
        except OSError as error:
            raise refusal(address, error) from error
        try:
            sock.listen(backlog)
            if family != socket.AF_UNIX:
                address = Address("tcp", host=address.host, port=sock.getsockname()[1])
            return FastPort(self.poller, sock, factory, address)
        except OSError as error:
            sock.close()
            raise refusal(address, error) from error

    def _take_over(
        self,
        sock: socket.socket,
        address: Address,
        factory: IProtocolFactory,
        backlog: int,
        mode: int,
    ) -> Bound:
        """Listen on a socket that another process still has."""
        sock.setblocking(False)
        try:
            if address.kind == "tcp":
                address = Address("tcp", host=address.host, port=sock.getsockname()[1])
            sock.listen(backlog)
            if address.kind == "unix" and not address.path.startswith("\0"):
                Path(address.path).chmod(mode)
            return FastPort(self.poller, sock, factory, address, owner=False)
        except OSError as error:
            sock.close()
            raise refusal(address, error) from error

    def adopt(self, sock: socket.socket, address: Address, factory: IProtocolFactory) -> Bound:
        """See :meth:`lbproxy.net.endpoints.Network.adopt`."""
        sock.setblocking(False)
        try:
            return FastPort(self.poller, sock, factory, address, owner=False)
        except OSError as error:
            sock.close()
            raise refusal(address, error) from error

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
