"""DATA. The socket of an in-memory transport: a bounded window of bytes instead of a descriptor.

The directions are those of :mod:`lbproxy.net.halfclose`. Resets have a separate state:

=========  ======================  ===================
"""

# mypy: disable-error-code=no-untyped-call

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import Any, Protocol

from twisted.internet import main
from twisted.internet.abstract import FileDescriptor
from twisted.python.failure import Failure

from lbproxy.net import halfclose

__all__ = ["Carrier", "Mark", "MemorySocket", "ResetState"]


class Carrier(Protocol):
    """The methods of the reactor that a transport uses to carry its bytes."""

    def soon(self, work: Callable[..., Any], *args: Any, **kw: Any) -> None:
        """Run ``work`` after the work that is already waiting."""

    def carry(self, transport: MemorySocket) -> None:
        """Deliver the data sent to ``transport``: call its :meth:`~MemorySocket.land` when it is
        due.
        """

    def forget(self, transport: MemorySocket) -> None:
        """Remove a connection that has ended."""

    def failed(self, failure: Failure) -> None:
        """Record an exception raised by a protocol."""


class ResetState(Enum):
    """See the module."""

    WHOLE = "whole"
    ABORTING = "aborting"
    BROKEN = "broken"


class Mark(Enum):
    """Events that arrive like bytes."""

    FIN = "fin"
    RST = "rst"


class MemorySocket(FileDescriptor):
    """The socket of a transport: reading, writing, and the data in transit.

    ``window``: limit of the bytes in transit to this end or not yet read by it; when it is reached,
    the peer's writes stay in the peer's buffer. ``read_size``: maximum number of bytes of one
    ``dataReceived``.
    """

    window = 64 * 1024
    read_size = 64 * 1024
    reactor: Any

    def __init__(self, reactor: Carrier, host: Any, peer: Any) -> None:
        super().__init__(reactor)  # type: ignore[arg-type]
        self.other: MemorySocket = self
        self.protocol: Any = None
        self._host = host
        self._peer = peer
        self._reading = False
        self._writing = False
        self._queued = False
        self._half = halfclose.OPEN
        self._reset = ResetState.WHOLE
        self._inbox: deque[bytes | Mark] = deque()
        self._inbox_bytes = 0
        self._flight: deque[bytes | Mark] = deque()
        self._flight_bytes = 0

    def join(self, other: MemorySocket) -> None:
        """Make ``self`` and ``other`` the two ends of one connection."""
        self.other = other
        other.other = self

    def getHost(self) -> Any:
        """Return the local address."""
        return self._host

    def getPeer(self) -> Any:
        """Return the address of the other end."""
        return self._peer

    def _do(self, work: Any, *, reading: bool) -> None:
        """Run doRead or doWrite and treat its result as a real reactor does."""
        raise NotImplementedError

    def _hung_up(self, mark: Mark) -> None:
        """Handle the end of the peer while reading is paused."""
        raise NotImplementedError

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
        """Receive the oldest item in transit."""
        if not self._flight:
            return
        item = self._flight.popleft()
        if isinstance(item, bytes):
            self._flight_bytes -= len(item)
        if self.disconnected:
            if isinstance(item, bytes):
                self.other._receive(Mark.RST)
            return
        if isinstance(item, bytes):
            self._inbox_bytes += len(item)
        elif item is Mark.RST:
            self._reset = ResetState.BROKEN
        self._inbox.append(item)
        if self._reading or self._writing:
            self._wake()
        if not self._reading and isinstance(item, Mark):
            self._hung_up(item)

    def land_all(self) -> None:
        """Receive everything in transit at once, because a partition has healed."""
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
        if item is Mark.FIN:
            self._half = halfclose.after(self._half, halfclose.PEER_END)
            return main.CONNECTION_DONE
        if item is Mark.RST:
            return main.CONNECTION_LOST
        assert isinstance(item, bytes)
        data = self._take(item)
        if self.other._writing:
            self.other._wake()
        self.protocol.dataReceived(data)
        return None

    def startReading(self) -> None:
        """See :class:`FileDescriptor`.

        If the peer has ended its side, the end is read again, as from a real socket.
        """
        self._reading = True
        if halfclose.peer_ended(self._half) and not self._inbox:
            self._inbox.append(Mark.FIN)
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

    # -- inside

    def _receive(self, item: bytes | Mark) -> None:
        """Add an item to the data in transit to this end."""
        self._flight.append(item)
        if isinstance(item, bytes):
            self._flight_bytes += len(item)
        self.reactor.carry(self)

    def _take(self, first: bytes) -> bytes:
        """Return up to ``read_size`` bytes from the inbox, as one recv would."""
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
        """Return the number of bytes for which the peer's window has room."""
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
            self.other._receive(Mark.FIN)

    def _wake(self) -> None:
        if not self._queued:
            self._queued = True
            self.reactor.soon(self.turn)
