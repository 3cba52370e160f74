"""DATA. The protocol factory of HTTP frontends."""

from __future__ import annotations

from lbproxy.proxy.accept import ProxyFactory
from lbproxy.proxy.http.client import H1ClientConnection
from lbproxy.proxy.http.reception import HTTPReception
from lbproxy.proxy.info import ConnectionInfo

__all__ = ["HTTPProxyFactory"]


class HTTPProxyFactory(ProxyFactory):
    """Serves the clients of an HTTP frontend; an ordinary Twisted factory for any endpoint."""

    reception = HTTPReception

    def protocol_for(self, info: ConnectionInfo) -> H1ClientConnection:
        """Return the protocol for one accepted connection."""
        return H1ClientConnection(self.frontend.lineage.current, info)
