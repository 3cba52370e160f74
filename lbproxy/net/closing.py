"""DATA. Closing one direction of a transport."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import ISSLTransport

__all__ = ["half_close"]


def half_close(transport: Any) -> None:
    """Send a FIN after what is written.  TLS has no half-close: there the whole connection is closed."""
    if not ISSLTransport.providedBy(transport):
        transport.loseWriteConnection()
        return
    transport.unregisterProducer()  # type: ignore[attr-defined]
    transport.loseConnection()
