"""DATA. Closing one direction of a transport."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import ISSLTransport

__all__ = ["half_close"]


def half_close(transport: Any) -> None:
    """Send a FIN after what is written.  TLS has no half-close: there the whole connection is closed."""
    if ISSLTransport.providedBy(transport):
        transport.unregisterProducer()
        transport.loseConnection()
    else:
        transport.loseWriteConnection()
