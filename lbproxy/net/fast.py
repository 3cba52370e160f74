"""DATA. The network on lbproxy's own transports: listening and dialling through a nested epoll.

:func:`choose_network` selects it. The contract is that of :class:`lbproxy.net.stock.StockNetwork`.
"""

from __future__ import annotations

import select
import socket
from pathlib import Path
from typing import Any, Literal

from twisted.internet.interfaces import IProtocolFactory, IReactorFDSet
from twisted.logger import Logger

from lbproxy.model import Address
from lbproxy.net.endpoints import Binder, Bound, ListenRequest, Network
from lbproxy.net.errorwords import refusal
from lbproxy.net.fastdial import FastDialler
from lbproxy.net.fastport import FastPort, bound_socket
from lbproxy.net.poller import Poller
from lbproxy.net.sockaddr import bound_address, socket_address
from lbproxy.net.stock import StockNetwork
from lbproxy.net.timers import TimerWheel

__all__ = ["FastBinder", "FastNetwork", "choose_network"]

_log = Logger()


def choose_network(kind: Literal["auto", "epoll", "twisted"], reactor: Any) -> Network:
    """Return the network for ``reactor``. ``auto`` selects epoll if the system and the reactor
    support it.

    If ``epoll`` is not possible, return the network on Twisted's transports and log a warning.
    """
    if kind != "twisted":
        if hasattr(select, "epoll") and IReactorFDSet.providedBy(reactor):
            try:
                return FastNetwork(reactor)
            except OSError as error:
                _log.warn("no epoll, using Twisted's transports: {error}", error=error)
        elif kind == "epoll":
            _log.warn("epoll is not available, using Twisted's transports")
    return StockNetwork(reactor)


class FastNetwork(Network):
    """Listens and dials on its own nested epoll.

    ``reactor``: IReactorFDSet and IReactorTime. Raises OSError if no descriptor is left for the
    epoll.
    """

    def __init__(self, reactor: Any, wheel: TimerWheel | None = None) -> None:
        self.poller = poller = Poller(reactor, wheel)
        super().__init__(FastBinder(poller), FastDialler(poller))
        self.reactor = reactor

    def close(self) -> None:
        """Close every connection and every port."""
        self.poller.close()


class FastBinder(Binder):
    """Listens through a poller."""

    def __init__(self, poller: Poller) -> None:
        self._poller = poller

    def _bind(self, request: ListenRequest) -> Bound:
        """See :class:`Binder`."""
        address = request.address
        try:
            family, raw = socket_address(address)
            sock = bound_socket(address, family, raw, request.mode, request.reuse_port)
        except OSError as error:
            raise refusal(address, error) from error
        try:
            sock.listen(request.backlog)
            return FastPort(self._poller, sock, request.factory, bound_address(address, sock))
        except OSError as error:
            sock.close()
            raise refusal(address, error) from error

    def _take_over(self, sockets: list[socket.socket], request: ListenRequest) -> Bound:
        """See :class:`Binder`."""
        sock, address = sockets[0], request.address
        try:
            sock.listen(request.backlog)
            if address.kind == "unix" and not address.path.startswith("\0"):
                Path(address.path).chmod(request.mode)
        except OSError as error:
            sock.close()
            raise refusal(address, error) from error
        return self.adopt(sock, bound_address(address, sock), request.factory)

    def adopt(self, sock: socket.socket, address: Address, factory: IProtocolFactory) -> Bound:
        """See :class:`Binder`."""
        sock.setblocking(False)
        try:
            return FastPort(self._poller, sock, factory, address, owner=False)
        except OSError as error:
            sock.close()
            raise refusal(address, error) from error
