"""DATA. From an accepted socket to the protocol that serves it: admission, PROXY header, TLS, a look at the ClientHello."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IAddress, IProtocol
from twisted.internet.protocol import Factory

from lbproxy.config.model import ListenSpec
from lbproxy.errors import ProxyError
from lbproxy.guard.addresses import AddressSet
from lbproxy.net.endpoints import TLSParameters
from lbproxy.proxy.preamble import Preamble
from lbproxy.proxy.streams import ConnectionInfo

if TYPE_CHECKING:
    from lbproxy.proxy.frontend import Frontend

__all__ = ["ProxyFactory", "note_local"]


def note_local(info: ConnectionInfo, transport: Any) -> None:
    """Fill in the address the client aimed at, unless a PROXY header told it."""
    if not info.local_port:
        host = transport.getHost()
        info.local_ip = getattr(host, "host", "")
        info.local_port = getattr(host, "port", 0)


class ProxyFactory(Factory):
    """The protocol factory of one listener of a frontend.

    Any Twisted endpoint can listen with it.  ``listen`` and ``tls`` add what a listener of ours does before the
    protocol proper: PROXY headers from trusted peers, TLS termination.
    """

    noisy = False

    def __init__(
        self,
        frontend: Frontend,
        listen: ListenSpec | None = None,
        tls: TLSParameters | None = None,
    ) -> None:
        self.frontend = frontend
        self.listener = listen.endpoint if listen is not None else ""
        self._tls = tls
        self._look = frontend.mode == "tcp" and tls is None and frontend.looks_at_hello
        self._trusted = AddressSet(listen.accept_proxy) if listen and listen.accept_proxy else None

    def protocol_for(self, info: ConnectionInfo) -> IProtocol:
        """The protocol proper; subclasses say which."""
        raise NotImplementedError

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """See :class:`twisted.internet.interfaces.IProtocolFactory`; None refuses the connection."""
        frontend = self.frontend
        frontend.counters.connections += 1
        ip: str = getattr(addr, "host", "")
        if ip.startswith("::ffff:") and "." in ip:
            ip = ip[7:]  # an IPv4 client of a dual-stack listener
        info = ConnectionInfo(
            ip, getattr(addr, "port", 0), ip, getattr(addr, "port", 0), listener=self.listener
        )
        info.connected = frontend.now()
        trusted = self._trusted
        announced = trusted is not None and (not ip or ip in trusted)
        error = frontend.admit(info, "" if announced else ip, judge=not announced)
        if error is not None:
            frontend.refused(info, error)
            return None
        if not (announced or self._tls is not None or self._look):
            return self.protocol_for(info)
        return Preamble(
            frontend.network,
            info,
            accept_proxy=announced,
            tls=self._tls,
            look=self._look,
            timeout=frontend.spec.timeout_handshake,
            ready=self._ready,
            failed=self._failed,
        )

    def _ready(self, info: ConnectionInfo, data: bytes) -> IProtocol:
        """The preamble is over; ``data`` follows by dataReceived.  ProxyError refuses."""
        if self._trusted is not None and info.counted_as == "":
            error = self.frontend.readmit(info)
            if error is not None:
                raise error
        return self.protocol_for(info)

    def _failed(self, info: ConnectionInfo, error: ProxyError) -> None:
        self.frontend.depart(info)
        self.frontend.refused(info, error)
