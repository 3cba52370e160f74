"""DATA. Any Twisted transport as a :class:`~lbproxy.net.stream.Stream`."""

from __future__ import annotations

from typing import Any

from lbproxy.net.closing import half_close
from lbproxy.net.stream import Stream
from lbproxy.net.transport import FastTransport

__all__ = ["WrappedTransport", "stream_of"]


def stream_of(transport: Any) -> Stream:
    """Return ``transport`` itself if it is one of lbproxy's, else a wrapper."""
    return transport if isinstance(transport, FastTransport) else WrappedTransport(transport)


class WrappedTransport(Stream):
    """Passes every call on to ``transport``."""

    __slots__ = ("_transport",)

    def __init__(self, transport: Any) -> None:
        self._transport = transport

    def write(self, data: Any) -> None:
        """See :class:`Stream`."""
        self._transport.write(data)

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """See :class:`Stream`."""
        self._transport.registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        """See :class:`Stream`."""
        self._transport.unregisterProducer()

    def pauseProducing(self) -> None:
        """See :class:`Stream`."""
        self._transport.pauseProducing()

    def resumeProducing(self) -> None:
        """See :class:`Stream`."""
        self._transport.resumeProducing()

    def stopProducing(self) -> None:
        """See :class:`Stream`."""
        self._transport.stopProducing()

    def loseConnection(self) -> None:
        """See :class:`Stream`."""
        self._transport.loseConnection()

    def loseWriteConnection(self) -> None:
        """See :class:`Stream`; Twisted's TLS closes the whole connection."""
        half_close(self._transport)

    def abortConnection(self) -> None:
        """See :class:`Stream`."""
        self._transport.abortConnection()
