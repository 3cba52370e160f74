"""DATA. Closing one direction of a transport."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import ISSLTransport

from lbproxy.net.transport import FastTransport

__all__ = ["half_close"]


def half_close(transport: Any) -> None:
    """End the sending direction after the written data. Reading continues if the transport supports
    that.

    Sends a FIN, or a close_notify on lbproxy's own TLS (RFC 8446 §6.1 allows the other direction to
    continue). Twisted's TLS has no half-close: the whole connection is closed once everything is
    written.
    """
    if isinstance(transport, FastTransport) or not ISSLTransport.providedBy(transport):
        transport.loseWriteConnection()
        return
    transport.unregisterProducer()  # type: ignore[attr-defined]
    transport.loseConnection()
