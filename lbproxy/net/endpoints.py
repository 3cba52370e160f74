"""DATA. Interfaces to listen and dial, which hide the transport.

A :class:`Network` is a :class:`Binder` and a :class:`Dialler` on one reactor. Both implementations
run ordinary Twisted protocols: :class:`lbproxy.net.stock.StockNetwork` on any reactor's own
transports (and on the in-memory ones of :mod:`lbproxy.testing`),
:class:`lbproxy.net.fast.FastNetwork` on lbproxy's epoll transport.
"""

from __future__ import annotations

import socket
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any

from attrs import frozen
from twisted.internet.interfaces import IProtocolFactory

from lbproxy.model import Address
from lbproxy.net.dial import Dial
from lbproxy.net.dialler import Dialler
from lbproxy.net.handshaking import Handshaking
from lbproxy.net.inherited import Inherited
from lbproxy.net.timers import TimerWheel
from lbproxy.tls.parameters import TLSInfo, TLSParameters

__all__ = [
    "Binder",
    "Bound",
    "Dial",
    "Dialler",
    "Handshaking",
    "ListenRequest",
    "Network",
    "TLSInfo",
    "TLSParameters",
]


@frozen
class ListenRequest:
    """The parameters of a listening socket to create.

    - ``address``: its host is an IP literal or "" (all IPv4; "::" is dual stack).
    - ``backlog``: maximum number of connections that the kernel queues until they are accepted.
    - ``mode``: permissions of a Unix socket's file.
    - ``reuse_port``: share the port with other processes (``SO_REUSEPORT``).
    """

    address: Address
    factory: IProtocolFactory
    backlog: int = 1024
    mode: int = 0o660
    reuse_port: bool = False


class Bound(ABC):
    """A listening socket."""

    @property
    @abstractmethod
    def address(self) -> Address:
        """The actual address. Port 0 is replaced by the assigned port."""

    @abstractmethod
    def serve(
        self, factory: IProtocolFactory, *, backlog: int = 0, mode: int | None = None
    ) -> None:
        """Pass connections accepted from now on to ``factory``. The socket and its queue stay.

        ``backlog`` (0: unchanged) and ``mode`` (None: unchanged) as in :class:`ListenRequest`.
        """

    def sockets(self) -> list[int]:
        """Return the listening descriptors: several if worker processes have one each, none if they
        cannot be handed over (in-memory transports).
        """
        return []

    def own(self, owner: bool) -> None:  # noqa: B027
        """Set whether no other process listens on the same socket. Only then does :meth:`close`
        remove the file of a Unix socket. A socket that :meth:`Binder.listen` has bound is owned, an
        inherited one is not.
        """

    @abstractmethod
    def close(self) -> Any:
        """Stop accepting; return a Deferred or None. Accepted connections continue."""


class Binder(ABC):
    """Binds listening sockets."""

    inherited: Inherited | None = None
    """Inherited sockets, which :meth:`listen` uses before it binds new ones."""

    shares_ports = False
    """Whether a process can bind two addresses of one port while another process has them open."""

    sockets_per_address = 1
    """Number of sockets of one TCP address; a Unix address always has one."""

    def listen(
        self,
        address: Address,
        factory: IProtocolFactory,
        *,
        backlog: int = 1024,
        mode: int = 0o660,
        reuse_port: bool = False,
    ) -> Bound:
        """Start to listen. The arguments are those of :class:`ListenRequest`.

        Raises :class:`lbproxy.errors.ListenError`.
        """
        request = ListenRequest(address, factory, backlog, mode, reuse_port)
        if self.inherited is not None:
            count = self.sockets_per_address if address.kind == "tcp" else 1
            given = self.inherited.take(address, count)
            if given is not None:
                return self._take_over(given, request)
        return self._bind(request)

    @abstractmethod
    def _bind(self, request: ListenRequest) -> Bound:
        """Bind a new socket and listen on it."""

    @abstractmethod
    def _take_over(self, sockets: list[socket.socket], request: ListenRequest) -> Bound:
        """Listen on sockets that another process also has open."""

    @abstractmethod
    def adopt(self, sock: socket.socket, address: Address, factory: IProtocolFactory) -> Bound:
        """Accept on a socket that another process has bound to ``address`` and listens on.

        The socket belongs to the binder from now on. The file of a Unix socket stays when the
        socket is closed. Raises :class:`lbproxy.errors.ListenError`.
        """


class Network:
    """Listens with ``binder`` and dials with ``dialler`` on one reactor.

    ``listening()`` returns the addresses where lbproxy listens now, with actual ports. The owner of
    the network sets it.
    """

    def __init__(self, binder: Binder, dialler: Dialler) -> None:
        self.listening: Callable[[], Iterable[Address]] = tuple
        self.binder = binder
        self.dialler = dialler
        self.wheel: TimerWheel = dialler.wheel
