"""DATA. One HTTP/1.1 connection to a server: pooled while idle, a :class:`ServerStream` while it
serves an exchange."""

from __future__ import annotations

from typing import Any, Final

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocol, IPushProducer
from twisted.python.failure import Failure
from zope.interface import classImplements

from lbproxy.errors import Kind, ProxyError
from lbproxy.http.h1 import ResponseParser
from lbproxy.http.h1_write import encode_chunks, encode_request
from lbproxy.http.known import HOP_BY_HOP, field_name
from lbproxy.http.message import END, End, Invalid, RequestHead, ResponseHead
from lbproxy.model import Address
from lbproxy.net.closing import half_close
from lbproxy.net.peek import has_input
from lbproxy.net.stream import StreamProtocol
from lbproxy.proxy.guarding import guard
from lbproxy.proxy.http.bound import BoundConnections, bound_of
from lbproxy.proxy.http.connector import Connector, PendingDial
from lbproxy.proxy.http.serverstate import (
    ANSWERING,
    AWAITING,
    CLOSING,
    DECLINED,
    EARLY,
    EXPECTING,
    IDLE,
    SENDING,
    TUNNEL,
)
from lbproxy.proxy.http.sink import ResponseSink
from lbproxy.proxy.http.streams import ConnectionInfo, ServerStream
from lbproxy.proxy.unsent import taken_since, unsent_bytes

__all__ = ["H1ServerConnection"]

_KEEP_ALIVE: Final = field_name(b"keep-alive")


class H1ServerConnection(StreamProtocol):
    """A :class:`~lbproxy.proxy.http.streams.ServerConnection`.

    It carries one exchange at a time, so it is its own
    :class:`~lbproxy.proxy.http.streams.ServerStream`.  ``_state`` is one of
    :mod:`lbproxy.proxy.http.serverstate`.  Independent of it are back-pressure in each direction,
    whether the server has sent its FIN (``_eof``), and whether this exchange is the last
    (``_single``).
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
        self._pending: PendingDial | None = pending
        self._sink: ResponseSink | None = None
        self._parser = ResponseParser(terms.response_limits)
        self._uses = 0
        self._most_uses = terms.pool_requests or -1
        self._state = IDLE
        self._chunked = False  # the request body goes out in chunks
        self._paused = False  # the transport takes no more
        self._read_paused = False
        self._unsent = 0  # when it was last looked at
        self._eof = False
        # the PROXY header names one client, so its connection can serve no other
        self._single = bool(connector.server.spec.send_proxy)
        self._bound: BoundConnections | None = None
        self.pins = False
        self._rest_s = 0.0  # what the timer was set to when it began to rest

    def _enter(self, state: int) -> None:
        """Go to ``state``, one that ``serverstate.NEXT`` allows."""
        self._state = state

    # -- Twisted --------------------------------------------------------------------------------

    def makeConnection(self, transport: Any) -> None:
        """See IProtocol."""
        self.transport = transport
        self.connectionMade()

    def connectionMade(self) -> None:
        """Connected, TLS established."""
        # not before: a connection that is never made has no timer to close, and no cycle
        self._timer = self._terms.wheel.timer(self._expired)
        self.transport.registerProducer(self, True)
        pending, self._pending = self._pending, None
        assert pending is not None
        self.address = pending.address
        pending.connected(self)

    def dataReceived(self, data: bytes) -> None:
        """Response bytes."""
        sink = self._sink
        if sink is None:
            # without a request, no bytes may become the response to the next one
            self._abort()
            return
        if self._state == TUNNEL:
            self._timer.set(self._terms.timeout_tunnel)
            sink.server_events([data])
            return
        events = self._parser.receive(data)
        if events:
            self._deliver(sink, events)

    def _deliver(self, sink: ResponseSink, events: list[Any]) -> None:
        last = events[-1]
        kind = type(last)
        if kind is Invalid:
            self._single = True  # even if the answer before it was complete
            events.pop()
            _withdraw(events)
        if events:
            if self._state < EARLY:
                self._note_head(events)
            if kind is not End and self._state == ANSWERING and not self._read_paused:
                self._timer.set(self._terms.timeout_server)
            sink.server_events(events)
        if kind is Invalid and self._sink is sink:
            self._fail(ProxyError(Kind.BAD_RESPONSE, last.detail))

    def _note_head(self, events: list[Any]) -> None:
        for event in events:
            state = self._state
            head: ResponseHead = event
            if head.status >= 200:
                if not head.keep_alive:
                    self._single = True
                if state == AWAITING:
                    self._enter(ANSWERING)
                else:
                    self._enter(DECLINED if state == EXPECTING else EARLY)
                if head.present >> HOP_BY_HOP & 1:
                    self._note_keep_alive(head)
                return
            if event.status == 100 and state == EXPECTING:
                self._enter(SENDING)
                self._await()

    def _note_keep_alive(self, head: ResponseHead) -> None:
        value = head.first(_KEEP_ALIVE)
        if value is not None:
            self.connector.announced(value)

    def connectionLost(self, reason: Failure) -> None:
        """End the connection, which either side has closed."""
        sink = self._sink
        if sink is None and self.pooled and self._uses and reason.check(ConnectionDone):
            self.connector.closed_idle(self.idle_s)
        self._timer.close()
        tunnel = self._state == TUNNEL
        self._forget()
        if sink is None:
            return
        clean = reason.check(ConnectionDone) is not None
        if tunnel:
            self._fail(ProxyError(Kind.OK if clean else Kind.SERVER_GONE, _words(reason)))
        elif clean and not self._eof:
            self._ended(sink)
        else:
            self._fail(ProxyError(Kind.SERVER_GONE, _words(reason)))

    def readConnectionLost(self) -> None:
        """The server has closed its sending side."""
        self._eof = True
        sink = self._sink
        if sink is None:
            if self.pooled and self._uses:
                self.connector.closed_idle(self.idle_s)
            self._lose()
        elif self._state == TUNNEL:
            sink.server_events([END])
        else:
            self._ended(sink)

    def _ended(self, sink: ResponseSink) -> None:
        """In good order; which is the end of the response if nothing else delimits it."""
        begun = not self._parser.idle
        events = self._parser.eof()
        if events and type(events[0]) is End:
            sink.server_events(events)
        else:
            what = "in mid response" if begun else "without a response"
            self._fail(ProxyError(Kind.SERVER_GONE, f"closed {what}"))

    def writeConnectionLost(self) -> None:
        """Do nothing: the sending side is closed."""

    # -- the transport's back-pressure ----------------------------------------------------------

    def pauseProducing(self) -> None:
        """The server does not read fast enough."""
        self._paused = True
        if self._sink is not None:
            self._unsent = unsent_bytes(self.transport)
            self._timer.set(self._terms.timeout_server)
            self._sink.server_paused()

    def resumeProducing(self) -> None:
        """Continue sending: the server reads again."""
        self._paused = False
        if self._sink is not None:
            self._await()
            self._sink.server_resumed()

    def stopProducing(self) -> None:
        """The transport is going away; connectionLost follows."""

    # -- deadlines ------------------------------------------------------------------------------

    def _await(self) -> None:
        """Arm the deadline of what we now wait for."""
        state = self._state
        if state == TUNNEL:
            self._timer.set(self._terms.timeout_tunnel)
        elif state in (SENDING, EARLY):
            self._timer.clear()  # the client's deadline runs
        elif state < EARLY:
            self._timer.set(self._terms.timeout_response)
        else:
            self._timer.set(self._terms.timeout_server)

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
            wait = self._terms.timeout_response
            self._fail(ProxyError(Kind.RESPONSE_TIMEOUT, f"no response within {wait:g} s"))

    def _takes(self) -> bool:
        """Some of what was unsent has been sent since: it may have the same time again."""
        self._unsent = taken_since(self.transport, self._unsent)
        if not self._unsent:
            return False
        self._timer.set(self._terms.timeout_server)
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

    def open_stream(self, sink: ResponseSink) -> ServerStream:
        """See :class:`ServerConnection`."""
        self._sink = sink
        self._uses += 1
        return self

    def shut(self) -> None:
        """See :class:`ServerConnection`."""
        self._single = True
        if self._sink is None:
            self._lose()

    # -- ServerStream ---------------------------------------------------------------------------

    def send_request(self, head: RequestHead, data: bytes, end: End | None) -> None:
        """See :class:`ServerStream`."""
        out = encode_request(head, close=self._single or self._uses == self._most_uses)
        self._parser.begin(head.method)
        self._chunked = head.length is None
        if end is not None:
            self._enter(AWAITING)
        else:
            self._enter(EXPECTING if head.expect_continue and not data else SENDING)
        if self._chunked:
            out += encode_chunks(data, end)
        elif data:
            out += data
        self._await()
        self.transport.write(out)

    def send_body(self, data: bytes, end: End | None) -> None:
        """See :class:`ServerStream`."""
        state = self._state
        if state == CLOSING:
            return
        if state == TUNNEL:
            self._send_opaque(data, end)
            return
        if data and state in (EXPECTING, DECLINED):
            self._enter(SENDING if state == EXPECTING else EARLY)
            self._await()
        out = encode_chunks(data, end) if self._chunked else data
        if out:
            self.transport.write(out)
        if end is not None and SENDING <= self._state < ANSWERING:
            self._enter(AWAITING if self._state < EARLY else ANSWERING)
            if not self._paused:
                self._await()

    def _send_opaque(self, data: bytes, end: End | None) -> None:
        """Send bytes of a tunnel, or its end."""
        if data:
            self._timer.set(self._terms.timeout_tunnel)
            self.transport.write(data)
        if end is not None:
            half_close(self.transport)

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

    def start_tunnel(self) -> bytes:
        """See :class:`ServerStream`."""
        self._enter(TUNNEL)
        self._await()
        return self._parser.detach()

    def close(self, *, reuse: bool) -> None:
        """See :class:`ServerStream`."""
        self._sink = None
        state = self._state
        if state == TUNNEL:
            self._lose()
        elif not reuse or state != ANSWERING or self._paused:
            self._abort()
        elif (
            self._bound is None
            and not self._eof
            and not self._single
            and self._uses != self._most_uses
            and self.connector.keeps(self)
        ):
            self.rest()
        elif self._may_wait():
            self._wait()
        else:
            self._lose()

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
        """Wait for the client's next request.  Its deadline is that of the client."""
        self._enter(IDLE)
        if self._read_paused:
            self.resume_response()
        self._timer.clear()

    def rest(self) -> None:
        """See :class:`ServerConnection`."""
        if self._state == ANSWERING:
            self._enter(IDLE)
        if self._read_paused:
            self.resume_response()
        self._rest_s = rest_s = self.connector.rest_s
        self._timer.set(rest_s)
        self.connector.offer(self)

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

    # -- closing --------------------------------------------------------------------------------

    def _forget(self) -> None:
        self._enter(CLOSING)
        if self.pooled:
            guard(self.connector.withdraw, self)
        if self._bound is not None:
            self._bound.forget(self)
            guard(self.connector.unbind, self)

    def _lose(self) -> None:
        """Close after the written data; abort if that takes too long."""
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


classImplements(H1ServerConnection, IProtocol, IHalfCloseableProtocol, IPushProducer)


def _withdraw(events: list[Any]) -> None:
    """Take out the head of a response whose body is broken already, and what follows it.

    Nobody has seen it, so the client gets a 502, or another server is asked, as for a broken head.
    """
    if not events or type(events[-1]) is End:
        return
    for at, event in enumerate(events):
        if type(event) is ResponseHead and event.status >= 200:
            del events[at:]
            return


def _words(reason: Failure) -> str:
    return "" if reason.check(ConnectionDone) else reason.getErrorMessage()
