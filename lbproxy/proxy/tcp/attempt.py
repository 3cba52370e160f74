"""DATA. One attempt of a TCP session at one server: a lease, a dial, then the server's connection.

After its end it does not refer to its session, which avoids a cycle for the garbage collector.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocol
from twisted.python.failure import Failure
from zope.interface import classImplements

from lbproxy.balance.lease import Lease
from lbproxy.errors import Outcome, ProxyError
from lbproxy.net.relay import splice_to
from lbproxy.net.stream import Stream, StreamProtocol
from lbproxy.net.wrapped import stream_of
from lbproxy.proxy import leasing
from lbproxy.proxy.outgoing import outgoing_header
from lbproxy.proxy.tcp.traffic import TCPTraffic

if TYPE_CHECKING:
    from lbproxy.net.dial import Dial
    from lbproxy.proxy.backend import Backend

__all__ = ["TCPAttempt"]


class TCPAttempt(StreamProtocol):
    """An attempt, and the protocol of the server's connection.

    ``to_client``: destination of its bytes; None: ``tap``, which another object reads. ``dialled``,
    ``t_connect``: time of the dial and its duration in seconds; negative before.
    """

    __slots__ = (
        "_dial",
        "_session",
        "backend",
        "dialled",
        "factory",
        "lease",
        "server",
        "stream",
        "t_connect",
        "tap",
        "to_client",
        "transport",
    )

    def __init__(self, session: TCPTraffic, backend: Backend, lease: Lease) -> None:
        self._session: TCPTraffic | None = session
        self.backend = backend
        self.lease: Lease | None = lease
        self.server = leasing.begin(lease, session)
        self.factory: Any = None
        self.transport: Any = None
        self.stream: Stream | None = None
        self.to_client: Stream | None = None
        self.tap: Any = None
        self.dialled = 0.0
        self.t_connect = -1.0
        self._dial: Dial | None = None

    # -- the dial -------------------------------------------------------------------------------

    def connect(self) -> None:
        """Dial the server."""
        session, server = self._session, self.server
        assert session is not None
        self.dialled = session.frontend.now()
        preamble = b""
        if server.spec.send_proxy:
            preamble = outgoing_header(server.spec.send_proxy, session.info)
        self._dial = self.backend.dial(server, self, self._connect_failed, preamble)

    def _connect_failed(self, error: ProxyError) -> None:
        self._dial = None
        self.server.counters.connect_errors += 1
        self._fail(error)

    def give_up(self, error: ProxyError) -> bool:
        """End the dial as failed. Return False if none is running."""
        if self._dial is None:
            return False
        self._cancel()
        self._fail(error)
        return True

    def _fail(self, error: ProxyError) -> None:
        session, lease = self._session, self.lease
        assert session is not None and lease is not None
        self._session = self.lease = None
        leasing.fail(self.backend, lease, session, error, True, -1.0)
        session.attempt_failed(error)

    def _cancel(self) -> None:
        dial, self._dial = self._dial, None
        if dial is not None:
            dial.cancel()

    # -- the end --------------------------------------------------------------------------------

    def unlist(self, session: TCPTraffic) -> None:
        """End the dial and remove the session from the server's list, because the session is
        over.
        """
        self._cancel()
        if self.lease is not None:
            self.server.sessions.discard(session)
        if self.stream is None:
            self._session = None

    def give_back(self, outcome: Outcome) -> None:
        """Release the lease. Later calls do nothing."""
        lease, self.lease = self.lease, None
        if lease is not None:
            leasing.give_back(lease, outcome, self.t_connect)

    # -- the connection -------------------------------------------------------------------------

    def makeConnection(self, transport: Any) -> None:
        """See IProtocol."""
        session = self._session
        assert session is not None
        if self._dial is not None:
            session.address = self._dial.address
        self._dial = None
        self.transport = transport
        self.stream = stream_of(transport)
        self.t_connect = session.frontend.now() - self.dialled
        session.attempt_connected()

    def dataReceived(self, data: bytes) -> None:
        """Handle bytes from the server."""
        session = self._session
        assert session is not None
        session.bytes_out += len(data)
        client = self.to_client
        if client is not None:
            client.write(data)
        else:
            self.tap(data)

    def bulk_flow(self) -> None:
        """Handle much data from the server; the transport calls it."""
        session = self._session
        # otherwise the kernel would bypass the tap
        if session is not None and self.to_client is not None:
            splice_to(self.transport, session.transport, session.moved_out)

    def readConnectionLost(self) -> None:
        """See IHalfCloseableProtocol."""
        if self._session is not None:
            self._session.server_half_closed()

    def writeConnectionLost(self) -> None:
        """See IHalfCloseableProtocol."""

    def connectionLost(self, reason: Failure) -> None:
        """See IProtocol. Drops the reference to the session, because Twisted's connectors keep this
        object for a while.
        """
        session = self._session
        self._session = self.to_client = self.tap = None
        if session is not None:
            session.server_lost(reason)


classImplements(TCPAttempt, IProtocol, IHalfCloseableProtocol)
