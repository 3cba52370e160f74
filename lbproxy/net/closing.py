"""DATA. Closing one direction of a transport."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import ISSLTransport

from lbproxy.net.transport import FastTransport

__all__ = ["half_close"]


def half_close(transport: Any) -> None:
    """Send no more after the written data; reading continues where that is possible.

    A FIN, or a close_notify on our own TLS (RFC 8446 §6.1 lets the other direction live on).
    Twisted's TLS has no half-close: there the whole connection is closed, once everything is
    written.
    """
    if isinstance(transport, FastTransport) or not ISSLTransport.providedBy(transport):
        transport.loseWriteConnection()
        return
    transport.unregisterProducer()  # type: ignore[attr-defined]
    transport.loseConnection()
