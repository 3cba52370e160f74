"""DATA. The two sides of a connection as compiled code calls them: its protocol, and its transport.

Both are traits, so that a call between a transport and a protocol of lbproxy is a C call. Any other
transport is wrapped (:mod:`lbproxy.net.wrapped`); any other protocol is called as Twisted does it.
"""

from __future__ import annotations

from typing import Any

from mypy_extensions import trait
from twisted.python.failure import Failure

__all__ = ["Stream", "StreamProtocol"]


@trait
class StreamProtocol:
    """A protocol that half-closes: IProtocol and IHalfCloseableProtocol."""

    __slots__ = ()

    def makeConnection(self, transport: Any) -> None:
        """See IProtocol."""
        raise NotImplementedError

    def connectionMade(self) -> None:
        """See IProtocol; makeConnection does everything."""

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
    """The methods of a connection that the proxy uses; the methods are those of ITCPTransport and
    of a push producer.
    """

    __slots__ = ()

    def write(self, data: Any) -> None:
        """Send ``data``, now or as soon as the peer takes it."""
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
        """As :meth:`loseConnection`."""
        raise NotImplementedError

    def loseConnection(self) -> None:
        """Close once everything is written."""
        raise NotImplementedError

    def loseWriteConnection(self) -> None:
        """Send no more after the written data; reading continues where that is possible."""
        raise NotImplementedError

    def abortConnection(self) -> None:
        """Close now with a reset; buffered data is lost."""
        raise NotImplementedError
