"""DATA. The protocol and the transport of a connection, as interfaces for compiled code.

Both are traits, so that a call between a transport and a protocol of lbproxy is a C call. Any other
transport is wrapped (:mod:`lbproxy.net.wrapped`); any other protocol is called as by Twisted.
"""

from __future__ import annotations

from typing import Any

from mypy_extensions import trait
from twisted.python.failure import Failure

__all__ = ["Stream", "StreamProtocol"]


@trait
class StreamProtocol:
    """A protocol that supports half-close: IProtocol and IHalfCloseableProtocol."""

    __slots__ = ()

    def makeConnection(self, transport: Any) -> None:
        """See IProtocol."""
        raise NotImplementedError

    def connectionMade(self) -> None:
        """See IProtocol. Does nothing, because makeConnection does everything."""

    def dataReceived(self, data: bytes) -> None:
        """See IProtocol."""
        raise NotImplementedError

    def readConnectionLost(self) -> None:
        """See IHalfCloseableProtocol."""
        raise NotImplementedError

    def writeConnectionLost(self) -> None:
        """See IHalfCloseableProtocol."""
        raise NotImplementedError

    def connectionLost(self, reason: Failure) -> None:
        """See IProtocol."""
        raise NotImplementedError


@trait
class Stream:
    """The methods of a connection that the proxy uses, from ITCPTransport and IPushProducer."""

    __slots__ = ()

    def write(self, data: Any) -> None:
        """Send ``data`` now, or as soon as the peer accepts it."""
        raise NotImplementedError

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """See IConsumer."""
        raise NotImplementedError

    def unregisterProducer(self) -> None:
        """See IConsumer."""
        raise NotImplementedError

    def pauseProducing(self) -> None:
        """Deliver no more data until :meth:`resumeProducing`."""
        raise NotImplementedError

    def resumeProducing(self) -> None:
        """Deliver data again."""
        raise NotImplementedError

    def stopProducing(self) -> None:
        """Close, like :meth:`loseConnection`."""
        raise NotImplementedError

    def loseConnection(self) -> None:
        """Close once everything is written."""
        raise NotImplementedError

    def loseWriteConnection(self) -> None:
        """End the sending direction after the written data. Reading continues if the transport
        supports that.
        """
        raise NotImplementedError

    def abortConnection(self) -> None:
        """Close now with a reset. Buffered data is lost."""
        raise NotImplementedError
