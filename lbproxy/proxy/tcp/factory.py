"""DATA. The protocol factory of a TCP frontend."""

from __future__ import annotations

from lbproxy.proxy.accept import ProxyFactory
from lbproxy.proxy.http.streams import ConnectionInfo
from lbproxy.proxy.tcp.reception import TCPReception
from lbproxy.proxy.tcp.session import Session

__all__ = ["TCPProxyFactory"]


class TCPProxyFactory(ProxyFactory):
    """Serves the clients of a TCP frontend; an ordinary Twisted factory for any endpoint."""

    reception = TCPReception

    def protocol_for(self, info: ConnectionInfo) -> Session:
        """Return the session of one accepted connection."""
        return Session(self.frontend.lineage.current, info)
