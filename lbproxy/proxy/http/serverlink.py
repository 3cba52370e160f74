"""DATA. A connection to a server below HTTP: deadlines, back-pressure, idle time and closing.

A protocol extends :class:`ServerLink` with its messages.  The states are those of
:mod:`lbproxy.proxy.http.serverstate`.
"""

from __future__ import annotations

from typing import Any

from lbproxy.errors import Kind, ProxyError
from lbproxy.http.message import End, RequestHead
from lbproxy.model import Address
from lbproxy.net.peek import has_input
from lbproxy.proxy.guarding import guard
from lbproxy.proxy.http.bound import BoundConnections, bound_of
from lbproxy.proxy.http.connector import Connector, PendingDial
from lbproxy.proxy.http.serverstate import ANSWERING, CLOSING, EARLY, IDLE, SENDING, TUNNEL
from lbproxy.proxy.http.sink import ResponseSink
from lbproxy.proxy.http.streams import ConnectionInfo, ServerStream
from lbproxy.proxy.terms import Waits
from lbproxy.proxy.unsent import taken_since, unsent_bytes

__all__ = ["ServerLink"]


class ServerLink:
    """See the module.

    It is a :class:`~lbproxy.proxy.http.streams.ServerConnection` and its own
    :class:`~lbproxy.proxy.http.streams.ServerStream`. Attempts use this class, so that their calls
    are C calls.

    These facts are independent of the state: back-pressure in each direction (``_paused``,
    ``_read_paused``), whether the server has sent its FIN (``_eof``), and whether this exchange is
    the last (``_single``).
    """

    def __init__(self, connector: Connector, pending: PendingDial) -> None:
        terms = connector.terms
        self.factory: Any = None
        self.transport: Any = None
        self.pooled = False
        self.epoch = pending.epoch
        self.address: Address | None = None
        self.connector = connector
        self._terms = terms
        self._waits: Waits = terms  # sink of the running exchange
        self._pending: PendingDial | None = pending
        self._sink: ResponseSink | None = None
        self._uses = 0
        self._most_uses = terms.pool_requests or -1
        self._state = IDLE
        self._paused = False  # the transport accepts no more
        self._read_paused = False
        self._unsent = 0  # unsent bytes at the last check
        self._eof = False
        # the PROXY header reports one client, so the connection can serve no other
        self._single = bool(connector.server.spec.send_proxy)
        self._bound: BoundConnections | None = None
        self.pins = False
        self._rest_s = 0.0  # delay of the timer when the idle time began

    def _enter(self, state: int) -> None:
        """Change to ``state``, one that ``serverstate.NEXT`` allows."""
        self._state = state

    # -- what a protocol defines ----------------------------------------------------------------

    def open_stream(self, sink: ResponseSink) -> ServerStream:
        """See :class:`ServerConnection`."""
        raise NotImplementedError

    def send_request(self, head: RequestHead, data: bytes, end: End | None) -> None:
        """See :class:`ServerStream`."""
        raise NotImplementedError

    def send_body(self, data: bytes, end: End | None) -> None:
        """See :class:`ServerStream`."""
        raise NotImplementedError

    def start_tunnel(self) -> bytes:
        """See :class:`ServerStream`."""
        raise NotImplementedError

    def close(self, *, reuse: bool) -> None:
        """See :class:`ServerStream`."""
        raise NotImplementedError

    # -- Twisted --------------------------------------------------------------------------------

    def makeConnection(self, transport: Any) -> None:
        """See IProtocol."""
        self.transport = transport
        self.connectionMade()

    def connectionMade(self) -> None:
        """Handle the established connection, including TLS."""
        # not earlier: a connection that is never established has no timer to close, and no cycle
        self._timer = self._terms.wheel.timer(self._expired)
        self.transport.registerProducer(self, True)
        pending, self._pending = self._pending, None
        assert pending is not None
        self.address = pending.address
        pending.connected(self)

    def writeConnectionLost(self) -> None:
        """Do nothing: the sending side is closed."""

    # -- the transport's back-pressure ----------------------------------------------------------

    def pauseProducing(self) -> None:
        """Pause sending, because the server does not read fast enough."""
        self._paused = True
        if self._sink is not None:
            self._unsent = unsent_bytes(self.transport)
            self._timer.set(self._waits.timeout_server)
            self._sink.server_paused()

    def resumeProducing(self) -> None:
        """Continue sending: the server reads again."""
        self._paused = False
        if self._sink is not None:
            self._await()
            self._sink.server_resumed()

    def stopProducing(self) -> None:
        """Do nothing: the transport is closing, and connectionLost follows."""

    def pause_response(self) -> None:
        """See :class:`ServerStream`."""
        if not self._read_paused and self._sink is not None:
            self._read_paused = True
            self._timer.clear()  # the client's deadline runs
            self.transport.pauseProducing()

    def resume_response(self) -> None:
        """See :class:`ServerStream`."""
        if self._read_paused:
            self._read_paused = False
            if self._sink is not None:
                self._await()
            if not self._eof:
                self.transport.resumeProducing()

    # -- deadlines ------------------------------------------------------------------------------

    def _await(self) -> None:
        """Set the deadline of the present wait."""
        state = self._state
        if state == TUNNEL:
            self._timer.set(self._waits.timeout_tunnel)
        elif state in (SENDING, EARLY):
            self._timer.clear()  # the client's deadline runs
        elif state < EARLY:
            self._timer.set(self._waits.timeout_response)
        else:
            self._timer.set(self._waits.timeout_server)

    def _expired(self) -> None:
        if (self._paused or self._state == CLOSING) and self._takes():
            return
        if self._sink is None:
            self._lose()  # idle for too long, or does not close
        elif self._paused:
            self._fail(ProxyError(Kind.SERVER_TIMEOUT, "does not read"))
        elif self._state == TUNNEL:
            self._fail(ProxyError(Kind.SERVER_TIMEOUT, "tunnel is silent"))
        elif self._state >= EARLY:
            self._fail(ProxyError(Kind.SERVER_TIMEOUT, "silent in mid answer"))
        else:
            wait = self._waits.timeout_response
            self._fail(ProxyError(Kind.RESPONSE_TIMEOUT, f"no response within {wait:g} s"))

    def _takes(self) -> bool:
        """Return whether some unsent bytes have been sent since the last check; the server then
        gets the same time again.
        """
        self._unsent = taken_since(self.transport, self._unsent)
        if not self._unsent:
            return False
        self._timer.set(self._waits.timeout_server)
        return True

    def _fail(self, error: ProxyError) -> None:
        sink, self._sink = self._sink, None
        self._abort()
        if sink is not None:
            sink.server_failed(error)

    # -- ServerConnection -----------------------------------------------------------------------

    @property
    def spare(self) -> int:
        """1 while idle and open."""
        return 0 if self._state == CLOSING or self._sink is not None else 1

    def rest(self) -> None:
        """See :class:`ServerConnection`."""
        if self._state == ANSWERING:
            self._enter(IDLE)
        if self._read_paused:
            self.resume_response()
        self._rest_s = rest_s = self.connector.rest_s
        self._timer.set(rest_s)
        connector = self.connector
        if connector.is_current(self.epoch):
            connector.pool.put(self)
        else:
            connector.offer(self)

    @property
    def idle_s(self) -> float:
        """See :class:`ServerConnection`."""
        if self._sink is not None:
            return 0.0
        left = self._timer.deadline - self._terms.wheel.now()
        return max(0.0, self._rest_s - left)

    @property
    def has_input(self) -> bool:
        """See :class:`ServerConnection`."""
        return has_input(self.transport)

    def shut(self) -> None:
        """See :class:`ServerConnection`."""
        self._single = True
        if self._sink is None:
            self._lose()

    def limit(self, waits: Waits) -> None:
        """See :class:`ServerStream`."""
        self._waits = waits

    # -- bound to a client ----------------------------------------------------------------------

    def bind(self, owner: ConnectionInfo | None, *, pins: bool) -> None:
        """See :class:`ServerStream`."""
        if owner is None or owner.counted_as is None:  # it has left, and closes nothing any more
            self._single = True
        elif self._bound is None:
            self._bound = bound_of(owner)
            self.connector.bind(self)
            self._bound.add(self)
        self.pins = self.pins or pins

    def _may_wait(self) -> bool:
        """Return whether the connection is bound and waits for its client's next request."""
        connector = self.connector
        return (
            self._bound is not None
            and not (self._eof or self._single)
            and self._uses != self._most_uses
            and connector.holds(self)
            and connector.server.honours
        )

    def _wait(self) -> None:
        """Wait for the client's next request. The deadline is that of the client."""
        self._enter(IDLE)
        if self._read_paused:
            self.resume_response()
        self._timer.clear()

    # -- closing --------------------------------------------------------------------------------

    def _forget(self) -> None:
        self._enter(CLOSING)
        if self.pooled:
            guard(self.connector.withdraw, self)
        if self._bound is not None:
            self._bound.forget(self)
            guard(self.connector.unbind, self)

    def _lose(self) -> None:
        """Close after the written data. Abort if that takes too long."""
        if self._state == CLOSING:
            self._abort()
            return
        self._forget()
        transport = self.transport
        if self._read_paused:
            self._read_paused = False
            transport.resumeProducing()
        self._unsent = unsent_bytes(transport)
        self._timer.set(self._terms.timeout_connect)
        transport.unregisterProducer()
        transport.loseConnection()

    def _abort(self) -> None:
        self._forget()
        self._timer.clear()
        self.transport.abortConnection()
