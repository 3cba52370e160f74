"""DATA. Makes the protocols of HTTP clients."""

from __future__ import annotations

from lbproxy.proxy.http.client import H1ClientConnection
from lbproxy.proxy.info import ConnectionInfo
from lbproxy.proxy.reception import Reception

__all__ = ["HTTPReception"]


class HTTPReception(Reception):
    """The reception of :class:`lbproxy.proxy.http.factory.HTTPProxyFactory`."""

    __slots__ = ()

    def protocol_for(self, info: ConnectionInfo) -> H1ClientConnection:
        """See :class:`Reception`."""
        return H1ClientConnection(self.frontend.lineage.current, info)
