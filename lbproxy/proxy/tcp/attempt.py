"""DATA. One attempt of a TCP session at one server: a lease, a dial, then the server's connection.

Afterwards it does not know its session: no cycle for the garbage collector.
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
    """The protocol of the server's connection once there is one.

    ``to_client``: where its bytes go; None: to ``tap``, which somebody else reads.  ``dialled``,
    ``t_connect``: when, and how many seconds the dial took; negative before.
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
        """End the dial as failed; return False if there is none."""
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
        """The session is over: end the dial, and take the session from the server's list."""
        self._cancel()
        if self.lease is not None:
            self.server.sessions.discard(session)
        if self.stream is None:
            self._session = None

    def give_back(self, outcome: Outcome) -> None:
        """Release the lease; later calls do nothing."""
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
        """Bytes from the server."""
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
        if session is not None and self.to_client is not None:  # else the kernel would hide it
            splice_to(self.transport, session.transport, session.moved_out)

    def readConnectionLost(self) -> None:
        """See IHalfCloseableProtocol."""
        if self._session is not None:
            self._session.server_half_closed()

    def writeConnectionLost(self) -> None:
        """See IHalfCloseableProtocol."""

    def connectionLost(self, reason: Failure) -> None:
        """See IProtocol.  Lets go of the session: connectors of Twisted's keep us for a while."""
        session = self._session
        self._session = self.to_client = self.tap = None
        if session is not None:
            session.server_lost(reason)


classImplements(TCPAttempt, IProtocol, IHalfCloseableProtocol)
