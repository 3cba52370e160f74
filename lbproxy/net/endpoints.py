"""DATA. How the proxy listens and dials: one small interface over whatever moves the bytes.

:class:`Network` is what :mod:`lbproxy.proxy` uses.  Both implementations run ordinary Twisted
protocols:
:class:`lbproxy.net.stock.StockNetwork` on any reactor's own transports (and on the in-memory ones
of
:mod:`lbproxy.testing`), :class:`lbproxy.net.fast.FastNetwork` on our own epoll transport.
"""

from __future__ import annotations

import socket
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.interfaces import IProtocol, IProtocolFactory

from lbproxy.errors import ProxyError
from lbproxy.model import Address
from lbproxy.net.inherited import Inherited
from lbproxy.net.timers import TimerWheel
from lbproxy.tls.parameters import TLSInfo, TLSParameters

__all__ = ["Bound", "Dial", "Handshaking", "Network", "TLSInfo", "TLSParameters"]


class Dial(Protocol):
    """A connection being made."""

    @abstractmethod
    def cancel(self) -> None:
        """Give up: neither the protocol nor ``failed`` will hear of it; harmless once it is
        decided."""


class Handshaking(Protocol):
    """TLS being started on a connection."""

    def cancel(self) -> None:
        """Close the connection and tell nobody; harmless once it is decided."""


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

        ``backlog`` (0: as it is) and ``mode`` (of a Unix socket; None: as it is) as in :meth:`Network.listen`."""

    def sockets(self) -> list[int]:
        """The descriptors that are listened on; several where worker processes have one each.

        Empty where there is none to give away (in-memory transports)."""
        return []

    def own(self, owner: bool) -> None:  # noqa: B027
        """Whether nobody else listens on the same socket: only then :meth:`close` removes the file of a Unix
        socket.  What :meth:`Network.listen` has bound is owned, what it has inherited is not."""

    @abstractmethod
    def close(self) -> Any:
        """Stop accepting; a Deferred or None.  Accepted connections live on."""


class Network(ABC):
    """Listens, dials and starts TLS on one reactor."""

    wheel: TimerWheel
    inherited: Inherited | None = None  # sockets that :meth:`listen` takes before it binds any
    shares_ports = (
        False  # two addresses of one port can be listened on while another process has them open
    )

    @abstractmethod
    def listen(
        self,
        address: Address,
        factory: IProtocolFactory,
        *,
        backlog: int = 1024,
        mode: int = 0o660,
        reuse_port: bool = False,
    ) -> Bound:
        """Bind now.  ``address.host`` is an IP literal or "" (all IPv4; "::" is dual stack).

        Raises :class:`lbproxy.errors.ListenError`."""

    @abstractmethod
    def adopt(self, sock: socket.socket, address: Address, factory: IProtocolFactory) -> Bound:
        """Accept on a socket that somebody else has bound to ``address`` and listens on; it is ours from now on.

        Its file, if it is a Unix socket, stays when it is closed.  Raises
        :class:`lbproxy.errors.ListenError`."""

    @abstractmethod
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

        Later, never before it returns, exactly one of:
        ``protocol.makeConnection(transport)``, with ``preamble`` already written in
        the clear and TLS already established and verified; or ``failed(error)`` with kind
        CONNECT_FAILED,
        CONNECT_TIMEOUT or SERVER_TLS.  ``timeout`` covers all of it, in seconds."""

    @abstractmethod
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
        """Handshake on a connection in use; ``received`` are bytes of it already read.

        Ends with exactly one of: the object ``protocol(info)`` returns gets
        ``makeConnection(tls_transport)`` and all data
        from then on; or ``failed(error)`` (CLIENT_TLS or SERVER_TLS), the connection being
        closed.  A peer that leaves during the
        handshake is a failure too."""
