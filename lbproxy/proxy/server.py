"""DATA. One HTTP/1.1 connection to a server: pooled while idle, a :class:`ServerStream` while at work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from lbproxy.balance.server import ServerState
from lbproxy.errors import Kind, ProxyError
from lbproxy.http.h1 import ResponseParser
from lbproxy.http.h1_write import LAST_CHUNK, encode_chunk, encode_request, encode_trailers
from lbproxy.http.message import END, End, Invalid, RequestHead
from lbproxy.net.closing import half_close
from lbproxy.net.endpoints import Dial
from lbproxy.proxy.outgoing import outgoing_header
from lbproxy.proxy.streams import ConnectionInfo, ResponseSink, ServerConnection, ServerStream

if TYPE_CHECKING:
    from lbproxy.proxy.backend import Backend

__all__ = ["H1ServerConnection", "connect"]


class Connecting(Protocol):
    """Who wants the connection: an attempt of an exchange."""

    info: ConnectionInfo

    def connected(self, connection: ServerConnection) -> None:
        """It is ready."""

    def connect_failed(self, error: ProxyError) -> None:
        """It could not be made."""


def connect(backend: Backend, server: ServerState, waiter: Connecting) -> Dial:
    """Dial ``server`` for ``waiter``."""
    preamble = b""
    if server.spec.send_proxy:
        preamble = outgoing_header(server.spec.send_proxy, waiter.info)
    protocol = H1ServerConnection(backend, server, waiter)
    return backend.dial(server, protocol, waiter.connect_failed, preamble)


@implementer(IHalfCloseableProtocol, IPushProducer)
class H1ServerConnection(TwistedProtocol, ServerConnection, ServerStream):
    """Carries one exchange at a time, so it is its own stream."""

    def __init__(self, backend: Backend, server: ServerState, waiter: Connecting) -> None:
        self.backend = backend
        self.server = server
        self.reused = False
        self._waiter: Connecting | None = waiter
        self._sink: ResponseSink | None = None
        self._parser = ResponseParser(backend.response_limits)
        self._timer = backend.wheel.timer(self._expired)
        self._uses = 0
        self._closing = False
        self._chunked = False  # the request body goes out in chunks
        self._request_ended = True
        self._answered = False  # the response head is here
        self._server_keeps = True
        self._tunnel = False
        self._paused = False  # the transport takes no more
        self._read_paused = False
        self._eof = False
        # the PROXY header names one client, so its connection can serve no other
        self._single = bool(server.spec.send_proxy)

    # -- Twisted --------------------------------------------------------------------------------

    def connectionMade(self) -> None:
        """Connected, TLS established."""
        assert self.transport is not None
        self.transport.registerProducer(self, True)
        waiter, self._waiter = self._waiter, None
        assert waiter is not None
        waiter.connected(self)

    def dataReceived(self, data: bytes) -> None:
        """Response bytes."""
        sink = self._sink
        if sink is None:
            # nothing was asked: whatever this is, it must not become somebody's answer
            self._abort()
            return
        if self._tunnel:
            self._timer.set(self.backend.spec.timeout_tunnel)
            sink.server_events([data])
            return
        self._deliver(sink, self._parser.receive(data))

    def _deliver(self, sink: ResponseSink, events: list[Any]) -> None:
        if not events:
            return
        last = events[-1]
        kind = type(last)
        if kind is Invalid:
            events.pop()
            if events:
                sink.server_events(events)
            if self._sink is sink:
                self._fail(ProxyError(Kind.BAD_RESPONSE, last.detail))
            return
        if not self._answered:
            self._note_head(events)
        if kind is not End and self._request_ended and self._answered:
            self._timer.set(self.backend.server_timeout)
        sink.server_events(events)

    def _note_head(self, events: list[Any]) -> None:
        for event in events:
            if type(event) is bytes or type(event) is End:
                return
            if event.status >= 200:
                self._answered = True
                self._server_keeps = event.keep_alive

    def connectionLost(self, reason: Failure = None) -> None:  # type: ignore[assignment]
        """Closed, by whoever."""
        self._timer.clear()
        self._forget()
        sink = self._sink
        if sink is None:
            return
        if self._tunnel:
            self._fail(ProxyError(Kind.SERVER_GONE))
            return
        if not self._eof:
            self._deliver(sink, self._parser.eof())
        if self._sink is sink:
            self._fail(ProxyError(Kind.SERVER_GONE, reason.getErrorMessage()))

    def readConnectionLost(self) -> None:
        """The server has closed its sending side."""
        self._eof = True
        sink = self._sink
        if sink is None:
            self._lose()
            return
        if self._tunnel:
            sink.server_events([END])
            return
        self._deliver(sink, self._parser.eof())
        if self._sink is sink:
            self._fail(ProxyError(Kind.SERVER_GONE, "closed before a complete response"))

    def writeConnectionLost(self) -> None:
        """Our sending side is closed; nothing to do."""

    # -- the transport's back-pressure ----------------------------------------------------------

    def pauseProducing(self) -> None:
        """The server does not read fast enough."""
        self._paused = True
        if self._sink is not None:
            self._timer.set(self.backend.server_timeout)
            self._sink.server_paused()

    def resumeProducing(self) -> None:
        """It reads again."""
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
            self._timer.set(self.backend.spec.timeout_tunnel)
        elif not self._request_ended:
            self._timer.clear()  # the client's deadline runs
        elif not self._answered:
            self._timer.set(self.backend.spec.timeout_response)
        else:
            self._timer.set(self.backend.server_timeout)

    def _expired(self) -> None:
        if self._sink is None:
            self._lose()  # idle for too long, or does not close
        elif self._answered or self._paused or self._tunnel:
            self._fail(ProxyError(Kind.SERVER_TIMEOUT, "silent in mid answer"))
        else:
            wait = self.backend.spec.timeout_response
            self._fail(ProxyError(Kind.RESPONSE_TIMEOUT, f"no response within {wait:g} s"))

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
        self.reused = self._uses > 0
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
        self._parser.begin(head.method)
        self._chunked = head.length is None
        self._request_ended = end is not None
        try:
            out = encode_request(head, close=self._single)
        except ValueError as error:
            self._fail(ProxyError(Kind.FILTER_FAILED, str(error)))
            return
        if self._chunked:
            if data:
                out += encode_chunk(data)
            if end is not None:
                out += encode_trailers(end.trailers) if end.trailers else LAST_CHUNK
        elif data:
            out += data
        self._await()
        self.transport.write(out)  # type: ignore[union-attr]

    def send_body(self, data: bytes, end: End | None) -> None:
        """See :class:`ServerStream`."""
        if self._closing:
            return
        transport: Any = self.transport
        if self._tunnel:
            if data:
                self._timer.set(self.backend.spec.timeout_tunnel)
                transport.write(data)
            if end is not None:
                half_close(transport)
            return
        if data:
            transport.write(encode_chunk(data) if self._chunked else data)
        if end is not None:
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
            self.transport.pauseProducing()  # type: ignore[union-attr]

    def resume_response(self) -> None:
        """See :class:`ServerStream`."""
        if self._read_paused:
            self._read_paused = False
            if self._sink is not None:
                self._await()
            if not self._eof:
                self.transport.resumeProducing()  # type: ignore[union-attr]

    def start_tunnel(self) -> None:
        """See :class:`ServerStream`."""
        self._tunnel = True
        self._answered = True
        self._await()
        rest = self._parser.detach()
        if rest and self._sink is not None:
            self._sink.server_events([rest])

    def close(self, *, reuse: bool) -> None:
        """See :class:`ServerStream`."""
        tunnel, self._sink = self._tunnel, None
        if tunnel:
            self._lose()
            return
        if not (reuse and self._answered and self._server_keeps and self._request_ended):
            self._abort() if not self._eof else self._lose()
            return
        limit = self.backend.spec.pool_requests
        if self._closing or self._eof or self._single or (limit and self._uses >= limit):
            self._lose()
            return
        if self._read_paused:
            self.resume_response()
        pool = self.backend.pools.get(self.server)
        if pool is None or not self.server.eligible:
            self._lose()
            return
        self._timer.set(self.backend.spec.pool_idle)
        pool.put(self)

    # -- closing --------------------------------------------------------------------------------

    def _forget(self) -> None:
        self._closing = True
        pool = self.backend.pools.get(self.server)
        if pool is not None:
            pool.forget(self)

    def _lose(self) -> None:
        """Close after what is written; cut it off if that takes too long."""
        if self._closing:
            self._abort()
            return
        self._forget()
        transport: Any = self.transport
        if self._read_paused:
            self._read_paused = False
            transport.resumeProducing()
        self._timer.set(self.backend.spec.timeout_connect)
        transport.unregisterProducer()
        transport.loseConnection()

    def _abort(self) -> None:
        self._forget()
        self._timer.clear()
        self.transport.abortConnection()  # type: ignore[union-attr]
