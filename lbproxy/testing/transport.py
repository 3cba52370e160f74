"""DATA. One end of a connection on a :class:`lbproxy.testing.memory.MemoryReactor`.

Buffering, producers and closing are Twisted's own
(:class:`twisted.internet.abstract.FileDescriptor`); only the socket is replaced
(:mod:`lbproxy.testing.memorysocket`). So back-pressure, half-close and aborts behave
as they do on a real connection, with two simplifications: a reset never overtakes data that was
sent before it, and nothing is lost on the way.
"""

# mypy: disable-error-code=no-untyped-call

from __future__ import annotations

import sys
from typing import Any

from twisted.internet import error, interfaces, main
from twisted.python.failure import Failure
from zope.interface import classImplements, implementer

from lbproxy.net import halfclose
from lbproxy.testing.memorysocket import Carrier, Mark, MemorySocket, ResetState

__all__ = ["MemoryTransport", "MemoryUNIXTransport"]


class MemoryTransport(MemorySocket):
    """An ordinary stream transport whose other end lives in the same process."""

    def __init__(
        self, reactor: Carrier, host: Any, peer: Any, connector: Any | None = None
    ) -> None:
        super().__init__(reactor, host, peer)
        self._connector = connector
        self._no_delay = False
        self._keep_alive = False

    def start(self, protocol: Any) -> None:
        """Connect ``protocol`` and start reading."""
        self.protocol = protocol
        self.connected = 1
        self.startReading()
        protocol.makeConnection(self)

    def _hung_up(self, mark: Mark) -> None:
        """Ask the protocol what to do when the peer ends while reading is paused, as the fast
        transport does.
        """
        hook = getattr(self.protocol, "peer_hung_up", None)
        if hook is None or self.disconnecting or halfclose.peer_ended(self._half):
            return
        try:
            leaves = hook(mark is Mark.RST)
        except Exception:
            self.reactor.failed(Failure())
            leaves = True
        if leaves:
            reason = main.CONNECTION_LOST if mark is Mark.RST else main.CONNECTION_DONE
            self.reactor.soon(self.connectionLost, Failure(reason))

    def readConnectionLost(self, reason: Failure) -> None:
        """Handle the peer's FIN."""
        half = interfaces.IHalfCloseableProtocol(self.protocol, None)
        if half is None:
            self.connectionLost(reason)
            return
        try:
            half.readConnectionLost()
        except Exception:
            self.reactor.failed(Failure())
            self.connectionLost(Failure())

    def _closeWriteConnection(self) -> None:
        self._send_fin()
        half = interfaces.IHalfCloseableProtocol(self.protocol, None)
        if half is not None:
            half.writeConnectionLost()

    def connectionLost(self, reason: Failure) -> None:
        """End the connection, and notify protocol and connector."""
        if self.disconnected:
            return
        super().connectionLost(reason)
        if not self._is_broken():
            if self._inbox_bytes or reason.check(error.ConnectionAborted):
                self.other._receive(Mark.RST)  # as a kernel does if bytes were not read
            else:
                self._send_fin()
        self._inbox.clear()
        self._inbox_bytes = 0
        self.reactor.forget(self)
        protocol, self.protocol = self.protocol, None
        if protocol is not None:
            try:
                protocol.connectionLost(reason)
            except Exception:
                self.reactor.failed(Failure())
        if self._connector is not None:
            self._connector.connectionLost(reason)

    # -- ITCPTransport

    def abortConnection(self) -> None:
        """Close at once and let the peer see a reset."""
        if self.disconnected or self._reset is ResetState.ABORTING:
            return
        self._reset = ResetState.ABORTING
        self.stopReading()
        self.stopWriting()
        self.reactor.soon(self.connectionLost, Failure(error.ConnectionAborted()))

    def failIfNotConnected(self, reason: Exception) -> None:
        """Do nothing: a connector may call this on a connected transport."""

    def getTcpNoDelay(self) -> bool:
        """Return the value that was set."""
        return self._no_delay

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Store the value, without further effect."""
        self._no_delay = bool(enabled)

    def getTcpKeepAlive(self) -> bool:
        """Return the value that was set."""
        return self._keep_alive

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Store the value, without further effect."""
        self._keep_alive = bool(enabled)

    def logPrefix(self) -> str:
        """Return the prefix for Twisted's log."""
        return f"memory {self._host} {self._peer}"

    def __repr__(self) -> str:
        state = "open" if self.connected else "closed" if self.disconnected else "new"
        return f"<MemoryTransport {self._host} <-> {self._peer} {state}>"

    # -- the turns of the reactor

    def _do(self, work: Any, *, reading: bool) -> None:
        """Run doRead or doWrite and treat its result as a real reactor does."""
        if self.disconnected or self._reset is ResetState.ABORTING:
            return
        try:
            why = work()
        except Exception:
            why = sys.exc_info()[1]
            self.reactor.failed(Failure())
        if why is None:
            return
        self.stopReading()
        if reading and isinstance(why, error.ConnectionDone):
            self.readConnectionLost(Failure(why))
        else:
            self.stopWriting()
            self.connectionLost(Failure(why))


classImplements(MemoryTransport, interfaces.ITCPTransport)


@implementer(interfaces.IUNIXTransport)
class MemoryUNIXTransport(MemoryTransport):
    """A transport for Unix sockets. It cannot pass descriptors."""

    def sendFileDescriptor(self, descriptor: int) -> None:
        """Raise an exception: descriptors cannot be passed in memory."""
        raise NotImplementedError("in-memory transports cannot pass descriptors")
