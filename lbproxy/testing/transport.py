"""DATA. One end of an in-memory connection; made by :class:`lbproxy.testing.memory.MemoryReactor`.

Buffering, producers and closing are Twisted's own
(:class:`twisted.internet.abstract.FileDescriptor`); only the socket is replaced, by a bounded
window of bytes that the other end has not read yet. So back-pressure, half-close and aborts behave
as they do on a real connection, with two simplifications: a reset never overtakes data that was
sent before it, and nothing is lost on the way.

The directions are those of :mod:`lbproxy.net.halfclose`. Resets have a state of their own:

=========  ======================  ===================
"""

# mypy: disable-error-code=no-untyped-call

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import Any, Protocol

from twisted.internet import error, interfaces, main
from twisted.internet.abstract import FileDescriptor
from twisted.python.failure import Failure
from zope.interface import classImplements, implementer

from lbproxy.net import halfclose

__all__ = ["Carrier", "MemoryTransport", "MemoryUNIXTransport", "ResetState"]


class Carrier(Protocol):
    """The methods of the reactor that a transport uses to carry its bytes."""

    def soon(self, work: Callable[..., Any], *args: Any, **kw: Any) -> None:
        """Run ``work`` after what is already waiting."""

    def carry(self, transport: MemoryTransport) -> None:
        """Deliver what was sent to ``transport``: call its :meth:`~MemoryTransport.land`
        in time.
        """

    def forget(self, transport: MemoryTransport) -> None:
        """A connection has ended."""

    def failed(self, failure: Failure) -> None:
        """A protocol raised an exception."""


class ResetState(Enum):
    """See the module."""

    WHOLE = "whole"
    ABORTING = "aborting"
    BROKEN = "broken"


class _Mark(Enum):
    """Events that arrive like bytes."""

    FIN = "fin"
    RST = "rst"


class MemoryTransport(FileDescriptor):
    """An ordinary stream transport whose other end lives in the same process.

    ``window``: bytes on their way to us or not yet read by us, after which the peer's writes stay
    in its own buffer. ``read_size``: most bytes one ``dataReceived`` gets.
    """

    window = 64 * 1024
    read_size = 64 * 1024
    reactor: Any

    def __init__(
        self, reactor: Carrier, host: Any, peer: Any, connector: Any | None = None
    ) -> None:
        super().__init__(reactor)  # type: ignore[arg-type]
        self.other: MemoryTransport = self
        self.protocol: Any = None
        self._host = host
        self._peer = peer
        self._connector = connector
        self._reading = False
        self._writing = False
        self._queued = False
        self._half = halfclose.OPEN
        self._reset = ResetState.WHOLE
        self._inbox: deque[bytes | _Mark] = deque()
        self._inbox_bytes = 0
        self._flight: deque[bytes | _Mark] = deque()
        self._flight_bytes = 0
        self._no_delay = False
        self._keep_alive = False

    def join(self, other: MemoryTransport) -> None:
        """Make ``self`` and ``other`` the two ends of one connection."""
        self.other = other
        other.other = self

    def start(self, protocol: Any) -> None:
        """Hand the connection to ``protocol`` and begin to read."""
        self.protocol = protocol
        self.connected = 1
        self.startReading()
        protocol.makeConnection(self)

    # -- what the reactor calls

    def turn(self) -> None:
        """Do what a real reactor does when it finds a descriptor ready: one write, one read."""
        self._queued = False
        if self._writing and (self._is_broken() or self._room() or not self._unsent()):
            self._do(self.doWrite, reading=False)
        if self._reading and self._inbox:
            self._do(self.doRead, reading=True)
        if (self._reading and self._inbox) or (self._writing and self._room()):
            self._wake()

    def land(self) -> None:
        """The oldest thing on its way to us arrives."""
        if not self._flight:
            return
        item = self._flight.popleft()
        if isinstance(item, bytes):
            self._flight_bytes -= len(item)
        if self.disconnected:
            if isinstance(item, bytes):
                self.other._receive(_Mark.RST)
            return
        if isinstance(item, bytes):
            self._inbox_bytes += len(item)
        elif item is _Mark.RST:
            self._reset = ResetState.BROKEN
        self._inbox.append(item)
        if self._reading or self._writing:
            self._wake()
        if not self._reading and isinstance(item, _Mark):
            self._hung_up(item)

    def _hung_up(self, mark: _Mark) -> None:
        """The peer has gone while reading is paused: as the fast transport does, ask the
        protocol.
        """
        hook = getattr(self.protocol, "peer_hung_up", None)
        if hook is None or self.disconnecting or halfclose.peer_ended(self._half):
            return
        try:
            leaves = hook(mark is _Mark.RST)
        except Exception:
            self.reactor.failed(Failure())
            leaves = True
        if leaves:
            reason = main.CONNECTION_LOST if mark is _Mark.RST else main.CONNECTION_DONE
            self.reactor.soon(self.connectionLost, Failure(reason))

    def land_all(self) -> None:
        """Everything on its way arrives at once: a partition has healed."""
        while self._flight:
            self.land()

    # -- FileDescriptor: the socket's part

    def writeSomeData(self, data: bytes) -> int | BaseException:
        """See :meth:`FileDescriptor.writeSomeData`."""
        if self._is_broken():
            return main.CONNECTION_LOST
        sent = min(len(data), self._room())
        if sent:
            self.other._receive(bytes(data[:sent]))
        return sent

    def doRead(self) -> BaseException | None:
        """See :meth:`twisted.internet.interfaces.IReadDescriptor.doRead`."""
        item = self._inbox.popleft()
        if item is _Mark.FIN:
            self._half = halfclose.after(self._half, halfclose.PEER_END)
            return main.CONNECTION_DONE
        if item is _Mark.RST:
            return main.CONNECTION_LOST
        assert isinstance(item, bytes)
        data = self._take(item)
        if self.other._writing:
            self.other._wake()
        self.protocol.dataReceived(data)
        return None

    def startReading(self) -> None:
        """See :class:`FileDescriptor`.

        After the peer's end the end is read again, as from a real socket.
        """
        self._reading = True
        if halfclose.peer_ended(self._half) and not self._inbox:
            self._inbox.append(_Mark.FIN)
        if self._inbox:
            self._wake()

    def stopReading(self) -> None:
        """See :class:`FileDescriptor`."""
        self._reading = False

    def startWriting(self) -> None:
        """See :class:`FileDescriptor`."""
        self._writing = True
        self._wake()

    def stopWriting(self) -> None:
        """See :class:`FileDescriptor`."""
        self._writing = False

    def readConnectionLost(self, reason: Failure) -> None:
        """The peer will send no more."""
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
        """Everything is over, for the reason given; tells protocol and connector."""
        if self.disconnected:
            return
        super().connectionLost(reason)
        if not self._is_broken():
            if self._inbox_bytes or reason.check(error.ConnectionAborted):
                self.other._receive(_Mark.RST)  # what a kernel does with bytes nobody read
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
        """Nothing: it is connected (a connector may call this on whatever it holds)."""

    def getHost(self) -> Any:
        """Return the local address."""
        return self._host

    def getPeer(self) -> Any:
        """The other end's address."""
        return self._peer

    def getTcpNoDelay(self) -> bool:
        """Return the value that was set."""
        return self._no_delay

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Remembered, without effect."""
        self._no_delay = bool(enabled)

    def getTcpKeepAlive(self) -> bool:
        """Return the value that was set."""
        return self._keep_alive

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Remembered, without effect."""
        self._keep_alive = bool(enabled)

    def logPrefix(self) -> str:
        """For Twisted's log."""
        return f"memory {self._host} {self._peer}"

    def __repr__(self) -> str:
        state = "open" if self.connected else "closed" if self.disconnected else "new"
        return f"<MemoryTransport {self._host} <-> {self._peer} {state}>"

    # -- inside

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

    def _receive(self, item: bytes | _Mark) -> None:
        """Put something on its way to us."""
        self._flight.append(item)
        if isinstance(item, bytes):
            self._flight_bytes += len(item)
        self.reactor.carry(self)

    def _take(self, first: bytes) -> bytes:
        """Up to ``read_size`` bytes from the inbox, as one recv would give them."""
        parts = [first]
        total = len(first)
        inbox = self._inbox
        while total < self.read_size and inbox and isinstance(inbox[0], bytes):
            part = inbox.popleft()
            assert isinstance(part, bytes)
            parts.append(part)
            total += len(part)
        data = b"".join(parts) if len(parts) > 1 else first
        if total > self.read_size:
            inbox.appendleft(data[self.read_size :])
            data = data[: self.read_size]
        self._inbox_bytes -= len(data)
        return data

    def _room(self) -> int:
        """How many bytes the peer's window still takes."""
        other = self.other
        return max(0, other.window - other._inbox_bytes - other._flight_bytes)

    def _unsent(self) -> bool:
        return bool(self._tempDataLen or len(self.dataBuffer) > self.offset)

    def _is_broken(self) -> bool:
        """Return whether the peer has reset the connection."""
        return self._reset is ResetState.BROKEN

    def _send_fin(self) -> None:
        if halfclose.sends(self._half):
            self._half = halfclose.after(self._half, halfclose.END)
            self._half = halfclose.after(self._half, halfclose.FLUSHED)
            self.other._receive(_Mark.FIN)

    def _wake(self) -> None:
        if not self._queued:
            self._queued = True
            self.reactor.soon(self.turn)


classImplements(MemoryTransport, interfaces.ITCPTransport)


@implementer(interfaces.IUNIXTransport)
class MemoryUNIXTransport(MemoryTransport):
    """The same for Unix sockets; passing descriptors is refused."""

    def sendFileDescriptor(self, descriptor: int) -> None:
        """Not possible in memory."""
        raise NotImplementedError("in-memory transports cannot pass descriptors")
