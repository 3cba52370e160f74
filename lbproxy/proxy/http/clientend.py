"""DATA. The end of a client connection: delivers written data, within bounds."""

from __future__ import annotations

from typing import Any, Final

from twisted.internet.interfaces import ISSLTransport

from lbproxy.net.timers import Timer
from lbproxy.proxy.unsent import taken_since, unsent_bytes

__all__ = ["LINGER_BYTES", "ClientEnd"]

LINGER_SECONDS: Final = 2.0  # a client may continue to send after the last response
LINGER_BYTES: Final = 1024 * 1024


class ClientEnd:
    """Closes a connection gracefully; the protocol of ``transport`` has no more to write.

    A client that still sends when it gets its last answer could lose it to a reset. :meth:`linger`
    gives it 2 seconds and 1 MiB to read the answer and to close. :meth:`close` closes after the
    written data. A client that reads none of it for ``patience`` seconds is disconnected.
    """

    __slots__ = ("_left", "_patience", "_timer", "_transport", "_unsent")

    def __init__(self, transport: Any, timer: Timer, patience: float) -> None:
        self._transport = transport
        self._timer = timer
        self._patience = patience
        self._left = LINGER_BYTES
        self._unsent = 0  # time of the last check
        transport.unregisterProducer()

    def linger(self) -> None:
        """Continue to read and discard the client's data."""
        self._timer.set(LINGER_SECONDS)
        if not ISSLTransport.providedBy(self._transport):
            self._transport.loseWriteConnection()

    def takes(self, size: int) -> bool:
        """Discard ``size`` bytes of the client. Return whether to read on."""
        self._left -= size
        return self._left >= 0

    def close(self) -> None:
        """Close after the written data."""
        self._unsent = unsent_bytes(self._transport)
        self._timer.set(self._patience)
        self._transport.loseConnection()

    def reads_on(self) -> bool:
        """Return whether the client has read something since the last check; it then gets the same
        time again.
        """
        self._unsent = taken_since(self._transport, self._unsent)
        if self._unsent:
            self._timer.set(self._patience)
        return self._unsent > 0
