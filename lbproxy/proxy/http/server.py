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
from lbproxy.http.h1_write import LAST_CHUNK, encode_chunk, encode_request, encode_trailers
from lbproxy.http.known import HOP_BY_HOP, field_name
from lbproxy.http.message import END, End, Invalid, RequestHead, ResponseHead
from lbproxy.model import Address
from lbproxy.net.closing import half_close
from lbproxy.net.peek import has_input
from lbproxy.net.stream import StreamProtocol
from lbproxy.proxy.http.bound import BoundConnections, bound_of
from lbproxy.proxy.http.connector import Connector, PendingDial
from lbproxy.proxy.http.sink import ResponseSink
from lbproxy.proxy.http.streams import ConnectionInfo, ServerStream
from lbproxy.proxy.unsent import unsent_bytes

__all__ = ["H1ServerConnection"]

_KEEP_ALIVE: Final = field_name(b"keep-alive")


class H1ServerConnection(StreamProtocol):
    """A :class:`~lbproxy.proxy.http.streams.ServerConnection`.

    It carries one exchange at a time, so it is its own
    :class:`~lbproxy.proxy.http.streams.ServerStream`.
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
        self._timer = terms.wheel.timer(self._expired)
        self._uses = 0
        self._most_uses = terms.pool_requests or -1
        self._closing = False
        self._chunked = False  # the request body goes out in chunks
        self._request_ended = True
        self._expects = False  # the client waits for a 100 before it sends its body
        self._answered = False  # the response head is here
        self._server_keeps = True
        self._tunnel = False
        self._paused = False  # the transport takes no more
        self._read_paused = False
        self._unsent = 0  # when it was last looked at
        self._eof = False
        # the PROXY header names one client, so its connection can serve no other
        self._single = bool(connector.server.spec.send_proxy)
        self._bound: BoundConnections | None = None
        self.pins = False
        self._rest_s = 0.0  # what the timer was set to when it began to rest

    # -- Twisted --------------------------------------------------------------------------------

    def makeConnection(self, transport: Any) -> None:
        """See IProtocol."""
        self.transport = transport
        self.connectionMade()

    def connectionMade(self) -> None:
        """Connected, TLS established."""
        self.transport.registerProducer(self, True)
        pending, self._pending = self._pending, None
        assert pending is not None
        self.address = pending.address
        pending.connected(self)

    def dataReceived(self, data: bytes) -> None:
        """Response bytes."""
        sink = self._sink
        if sink is None:
            # nothing was asked: whatever this is, it must not become somebody's answer
            self._abort()
            return
        if self._tunnel:
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
        if events:
            if not self._answered:
                self._note_head(events)
            if kind is not End and self._answered and self._request_ended and not self._read_paused:
                self._timer.set(self._terms.timeout_server)
            sink.server_events(events)
        if kind is Invalid and self._sink is sink:
            self._fail(ProxyError(Kind.BAD_RESPONSE, last.detail))

    def _note_head(self, events: list[Any]) -> None:
        for event in events:
            head: ResponseHead = event
            if head.status >= 200:
                self._answered = True
                self._server_keeps = head.keep_alive
                if head.present >> HOP_BY_HOP & 1:
                    self._note_keep_alive(head)
                return
            if event.status == 100 and self._expects:
                self._expects = False
                self._await()

    def _note_keep_alive(self, head: ResponseHead) -> None:
        value = head.first(_KEEP_ALIVE)
        if value is not None:
            self.connector.announced(value)

    def connectionLost(self, reason: Failure) -> None:
        """Closed, by whoever."""
        sink = self._sink
        if sink is None and self.pooled and self._uses and reason.check(ConnectionDone):
            self.connector.closed_idle(self.idle_s)
        self._timer.close()
        self._forget()
        if sink is None:
            return
        clean = reason.check(ConnectionDone) is not None
        if self._tunnel:
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
        elif self._tunnel:
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
        if self._tunnel:
            self._timer.set(self._terms.timeout_tunnel)
        elif not self._request_ended and not self._expects:
            self._timer.clear()  # the client's deadline runs
        elif not self._answered:
            self._timer.set(self._terms.timeout_response)
        else:
            self._timer.set(self._terms.timeout_server)

    def _expired(self) -> None:
        if (self._paused or self._closing) and self._takes():
            return
        if self._sink is None:
            self._lose()  # idle for too long, or does not close
        elif self._paused:
            self._fail(ProxyError(Kind.SERVER_TIMEOUT, "does not read"))
        elif self._tunnel:
            self._fail(ProxyError(Kind.SERVER_TIMEOUT, "tunnel is silent"))
        elif self._answered:
            self._fail(ProxyError(Kind.SERVER_TIMEOUT, "silent in mid answer"))
        else:
            wait = self._terms.timeout_response
            self._fail(ProxyError(Kind.RESPONSE_TIMEOUT, f"no response within {wait:g} s"))

    def _takes(self) -> bool:
        """Some of what was unsent has been sent since: it may have the same time again."""
        left = unsent_bytes(self.transport)
        if not 0 < left < self._unsent:
            return False
        self._unsent = left
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
        return 0 if self._closing or self._sink is not None else 1

    def open_stream(self, sink: ResponseSink) -> ServerStream:
        """See :class:`ServerConnection`."""
        self._sink = sink
        self._uses += 1
        self._answered = False
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
        self._request_ended = end is not None
        self._expects = head.expect_continue and not data
        if self._chunked:
            if data:
                out += encode_chunk(data)
            if end is not None:
                out += encode_trailers(end.trailers) if end.trailers else LAST_CHUNK
        elif data:
            out += data
        self._await()
        self.transport.write(out)

    def send_body(self, data: bytes, end: End | None) -> None:
        """See :class:`ServerStream`."""
        if self._closing:
            return
        transport = self.transport
        if self._tunnel:
            if data:
                self._timer.set(self._terms.timeout_tunnel)
                transport.write(data)
            if end is not None:
                half_close(transport)
            return
        if data:
            if self._expects:
                self._expects = False
                self._await()
            transport.write(encode_chunk(data) if self._chunked else data)
        if end is not None:
            self._expects = False
            if self._chunked:
                transport.write(encode_trailers(end.trailers) if end.trailers else LAST_CHUNK)
            self._request_ended = True
            if not self._paused:
                self._await()

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
        self._tunnel = True
        self._await()
        return self._parser.detach()

    def close(self, *, reuse: bool) -> None:
        """See :class:`ServerStream`."""
        self._sink = None
        if self._tunnel:
            self._lose()
        elif not (reuse and self._answered and self._request_ended) or self._paused:
            self._abort()
        elif (
            self._server_keeps
            and self._bound is None
            and not self._closing
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
        if owner is None:
            self._single = True
        elif self._bound is None:
            self._bound = bound_of(owner)
            self.connector.bind(self)
            self._bound.add(self)
        self.pins = self.pins or pins

    def _may_wait(self) -> bool:
        """Whether it is bound, and goes on to its client's next request."""
        connector = self.connector
        return (
            self._bound is not None
            and self._server_keeps
            and not (self._closing or self._eof or self._single)
            and self._uses != self._most_uses
            and connector.holds(self)
            and connector.server.honours
        )

    def _wait(self) -> None:
        """Wait for the client's next request.  Its deadline is that of the client."""
        if self._read_paused:
            self.resume_response()
        self._timer.clear()

    def rest(self) -> None:
        """See :class:`ServerConnection`."""
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
        self._closing = True
        if self.pooled:
            self.connector.withdraw(self)
        if self._bound is not None:
            self._bound.forget(self)
            self.connector.unbind(self)

    def _lose(self) -> None:
        """Close after what is written; cut it off if that takes too long."""
        if self._closing:
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


def _words(reason: Failure) -> str:
    return "" if reason.check(ConnectionDone) else reason.getErrorMessage()
