"""DATA. Makes the protocols of TCP clients."""

from __future__ import annotations

from lbproxy.proxy.info import ConnectionInfo
from lbproxy.proxy.reception import Reception
from lbproxy.proxy.tcp.session import Session

__all__ = ["TCPReception"]


class TCPReception(Reception):
    """The reception of :class:`lbproxy.proxy.tcp.factory.TCPProxyFactory`."""

    __slots__ = ()

    def protocol_for(self, info: ConnectionInfo) -> Session:
        """See :class:`Reception`."""
        return Session(self.frontend.lineage.current, info)
