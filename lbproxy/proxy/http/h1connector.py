"""DATA. The connector of servers that speak HTTP/1: one stream for each connection."""

from __future__ import annotations

from lbproxy.net.endpoints import Dial
from lbproxy.proxy.dial import dial_server
from lbproxy.proxy.http.connector import Connector, PendingDial
from lbproxy.proxy.http.server import H1ServerConnection
from lbproxy.proxy.outgoing import outgoing_header

__all__ = ["H1Connector"]


class H1Connector(Connector):
    """See the module."""

    __slots__ = ()

    def open(self, pending: PendingDial) -> Dial:
        """See :class:`Connector`."""
        server = self.server
        preamble = b""
        if server.spec.send_proxy:
            preamble = outgoing_header(server.spec.send_proxy, pending.waiters[0].info)
        protocol = H1ServerConnection(self, pending)
        return dial_server(self.terms, server, protocol, pending.failed, preamble)
