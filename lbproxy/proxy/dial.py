"""DATA. Dials one server: its only address, or its addresses in turn."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IProtocol

from lbproxy.balance.server import ServerState
from lbproxy.errors import ProxyError
from lbproxy.net.endpoints import Dial
from lbproxy.proxy.severaldial import SeveralDial
from lbproxy.proxy.terms import Terms

__all__ = ["dial_server"]


def dial_server(
    terms: Terms,
    server: ServerState,
    protocol: IProtocol,
    failed: Callable[[ProxyError], None],
    preamble: bytes = b"",
) -> Dial:
    """Connect to ``server``, trying its usable addresses in turn within ``timeout_connect``.

    The contract is that of :meth:`lbproxy.net.endpoints.Dialler.dial`.
    """
    server.counters.connects += 1
    addresses = server.usable if server.unusable else server.addresses
    if len(addresses) == 1:
        return terms.dialler.dial(
            addresses[0],
            protocol,
            failed,
            timeout=terms.timeout_connect,
            tls=server.tls,
            preamble=preamble,
        )
    return SeveralDial(terms, server, addresses, protocol, failed, preamble)
