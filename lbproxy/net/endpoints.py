"""DATA. How the proxy listens and dials: small interfaces over whatever moves the bytes.

A :class:`Network` is a :class:`Binder` and a :class:`Dialler` on one reactor.  Both implementations run
ordinary Twisted protocols: :class:`lbproxy.net.stock.StockNetwork` on any reactor's own transports (and
on the in-memory ones of :mod:`lbproxy.testing`), :class:`lbproxy.net.fast.FastNetwork` on our own epoll
transport.
"""

from __future__ import annotations

import socket
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Protocol

from attrs import frozen
from twisted.internet.interfaces import IProtocol, IProtocolFactory

from lbproxy.errors import ProxyError
from lbproxy.model import Address
from lbproxy.net.dialling import Dialling
from lbproxy.net.handshaking import Handshaking
from lbproxy.net.inherited import Inherited
from lbproxy.net.loop import Loop
from lbproxy.net.timers import TimerWheel
from lbproxy.tls.parameters import TLSInfo, TLSParameters

__all__ = [
    "Binder",
    "Bound",
    "Dial",
    "Dialler",
    "Handshaking",
    "ListenOptions",
    "Network",
    "TLSInfo",
    "TLSParameters",
]


# -- listening -------------------------------------------------------------------------------


@frozen
class ListenOptions:
    """``backlog``: connections that the kernel keeps until they are accepted.  ``mode``: permissions of a
    Unix socket's file.  ``reuse_port``: share the port with other processes (``SO_REUSEPORT``)."""

    backlog: int = 1024
    mode: int = 0o660
    reuse_port: bool = False


class Bound(ABC):
    """A listening socket."""

    @property
    @abstractmethod
    def address(self) -> Address:
        """Where it really listens (port 0 resolved)."""

    @abstractmethod
    def serve(
        self, factory: IProtocolFactory, *, backlog: int = 0, mode: int | None = None
    ) -> None:
        """Give what is accepted from now on to ``factory``; the socket and its queue stay.

        ``backlog`` (0: as it is) and ``mode`` (None: as it is) as in :class:`ListenOptions`."""

    def sockets(self) -> list[int]:
        """The descriptors that are listened on; several where worker processes have one each.

        Empty where there is none to give away (in-memory transports)."""
        return []

    def own(self, owner: bool) -> None:  # noqa: B027
        """Set whether nobody else listens on the same socket: only then :meth:`close` removes the file
        of a Unix socket.  A socket that :meth:`Binder.listen` has bound is owned, one that it has
        inherited is not."""

    @abstractmethod
    def close(self) -> Any:
        """Stop accepting; a Deferred or None.  Accepted connections live on."""


class Binder(ABC):
    """Listens."""

    inherited: Inherited | None = None
    """Sockets that :meth:`listen` takes before it binds any."""

    shares_ports = False
    """Two addresses of one port can be listened on while another process has them open."""

    sockets_per_address = 1
    """Sockets that one TCP address has; a Unix address always has one."""

    def listen(
        self,
        address: Address,
        factory: IProtocolFactory,
        *,
        backlog: int = 1024,
        mode: int = 0o660,
        reuse_port: bool = False,
    ) -> Bound:
        """Listen from now on.  ``address.host`` is an IP literal or "" (all IPv4; "::" is dual stack).

        The other arguments: see :class:`ListenOptions`.  Raises :class:`lbproxy.errors.ListenError`."""
        options = ListenOptions(backlog, mode, reuse_port)
        if self.inherited is not None:
            count = self.sockets_per_address if address.kind == "tcp" else 1
            given = self.inherited.take(address, count)
            if given is not None:
                return self._take_over(given, address, factory, options)
        return self._bind(address, factory, options)

    @abstractmethod
    def _bind(self, address: Address, factory: IProtocolFactory, options: ListenOptions) -> Bound:
        """Bind a socket of our own and listen on it."""

    @abstractmethod
    def _take_over(
        self,
        sockets: list[socket.socket],
        address: Address,
        factory: IProtocolFactory,
        options: ListenOptions,
    ) -> Bound:
        """Listen on sockets that another process still has."""

    @abstractmethod
    def adopt(self, sock: socket.socket, address: Address, factory: IProtocolFactory) -> Bound:
        """Accept on a socket that another process has bound to ``address`` and listens on.

        The socket is ours from now on.  If it is a Unix socket, its file stays when it is closed.
        Raises :class:`lbproxy.errors.ListenError`."""


# -- dialling --------------------------------------------------------------------------------


class Dial(Protocol):
    """A connection being made."""

    @abstractmethod
    def cancel(self) -> None:
        """Give up: neither the protocol nor ``failed`` is called any more; harmless once it is decided."""


class Dialler:
    """Dials and starts TLS.

    ``dialling``: makes a connection.  ``handshaking(transport, parameters, received)``: the kind of
    handshake that can run on a connection.
    """

    def __init__(
        self,
        loop: Loop,
        dialling: type[Dialling],
        handshaking: Callable[[Any, TLSParameters, bytes], type[Handshaking]],
    ) -> None:
        self.wheel: TimerWheel = loop.wheel
        self._loop = loop
        self._dialling = dialling
        self._handshaking = handshaking

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
        """Connect to an IP literal or Unix path.

        Later, never before it returns, exactly one of these is called:
        ``protocol.makeConnection(transport)``, with ``preamble`` already written in the clear and TLS
        established and verified; or ``failed(error)`` with kind CONNECT_FAILED, CONNECT_TIMEOUT or
        SERVER_TLS.  ``timeout`` covers all of it, in seconds."""
        dial = self._dialling(self._loop, address, protocol, failed, timeout, tls, preamble)
        dial.begin()
        return dial

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
        """Handshake on a connection in use; ``received``: bytes of it that were read already.

        Ends with exactly one of these: the object that ``protocol(info)`` returns gets
        ``makeConnection(tls_transport)`` and all data from then on; or ``failed(error)`` (CLIENT_TLS or
        SERVER_TLS), the connection being closed.  A peer that leaves during the handshake is a failure
        too.  ``protocol`` may raise a :class:`ProxyError` to refuse, which ``failed`` then gets."""
        kind = self._handshaking(transport, parameters, received)
        handshake = kind(self._loop, parameters, protocol, failed, timeout)
        handshake.begin(transport, received)
        return handshake


class Network:
    """Listens with ``binder`` and dials with ``dialler`` on one reactor."""

    def __init__(self, binder: Binder, dialler: Dialler) -> None:
        self.binder = binder
        self.dialler = dialler
        self.wheel: TimerWheel = dialler.wheel
