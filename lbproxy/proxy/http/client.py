"""DATA. One HTTP/1 connection from a client, and the factory that makes it.

Requests may be pipelined: they are answered one after the other, in order, and reading stops while more than one
waits.  The connection is the :class:`ClientStream` of the exchange that is being answered.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import (
    IHalfCloseableProtocol,
    IProtocol,
    IPushProducer,
    ISSLTransport,
)
from twisted.python.failure import Failure
from zope.interface import classImplements

from lbproxy.errors import Kind, ProxyError
from lbproxy.http.h1 import RequestParser, refused_head
from lbproxy.http.h1_write import LAST_CHUNK, encode_chunk, encode_response, encode_trailers
from lbproxy.http.known import DATE
from lbproxy.http.message import END, End, Invalid, RequestHead, ResponseHead
from lbproxy.net.closing import half_close
from lbproxy.proxy.accept import ProxyFactory
from lbproxy.proxy.http.exchange import Exchange
from lbproxy.proxy.http.replies import http_date
from lbproxy.proxy.http.streams import ConnectionInfo
from lbproxy.proxy.info import note_local
from lbproxy.proxy.unsent import unsent_bytes

if TYPE_CHECKING:
    from lbproxy.proxy.frontend import Frontend

__all__ = ["H1ClientConnection", "HTTPProxyFactory"]

_LINGER: Final = 2.0  # seconds a client may go on sending after a final answer
_LINGER_BYTES: Final = 1024 * 1024


class HTTPProxyFactory(ProxyFactory):
    """Serves the clients of an HTTP frontend; an ordinary Twisted factory for any endpoint."""

    def protocol_for(self, info: ConnectionInfo) -> H1ClientConnection:
        """The protocol for one accepted connection."""
        return H1ClientConnection(self.frontend.lineage.current, info)


class H1ClientConnection:
    """See the module.  It is a :class:`~lbproxy.proxy.http.streams.ClientStream`."""

    def __init__(self, frontend: Frontend, info: ConnectionInfo) -> None:
        self.factory: Any = None
        self.transport: Any = None
        self.frontend = frontend
        self.info = info
        self._parser = RequestParser(frontend.request_limits)
        self._timer = frontend.wheel.timer(self._expired)
        self._exchange: Exchange | None = None
        self._request: RequestHead | None = None  # of the exchange
        self._switching = False  # it asks for a tunnel
        self._request_ended = True
        self._backlog: deque[Any] = deque()  # events not yet acted upon
        self._pumping = False
        self._hold = False  # the exchange wants no more request body
        self._read_paused = False
        self._write_paused = False
        self._keep = False  # the connection outlives the current exchange
        self._chunked = False  # the response goes out in chunks
        self._requests = 0
        self._began: float | None = None  # when an incomplete head began
        self._expects = False  # the client waits for a 100 before it sends its body
        self._tunnel = False
        self._closing = False
        self._linger_left = _LINGER_BYTES
        self._lingering = False
        self._unsent = 0  # when it was last looked at
        self._eof = False

    # -- Twisted --------------------------------------------------------------------------------

    def makeConnection(self, transport: Any) -> None:
        """See IProtocol."""
        self.transport = transport
        self.connectionMade()

    def connectionMade(self) -> None:
        """Accepted; TLS, if any, is established."""
        note_local(self.info, self.transport)
        self.frontend.clients.add(self)
        self.transport.registerProducer(self, True)
        # the first request has the time of a head to begin, like those after it
        self._timer.set(self.frontend.spec.timeout_header)

    def dataReceived(self, data: bytes) -> None:
        """Request bytes."""
        if self._tunnel:
            if self._exchange is not None:
                self._exchange.request_data(data)
            return
        if self._closing:
            self._linger_left -= len(data)
            self._regulate()
            return
        events = self._parser.receive(data)
        if events:
            self._backlog.extend(events)
            self._pump()
        elif self._began is None and self._exchange is None:
            self._head_begins()

    def _head_begins(self) -> None:
        self._began = self.frontend.now()
        self._timer.set(self.frontend.spec.timeout_header)

    def connectionLost(self, reason: Failure) -> None:
        """Closed, by whoever."""
        self._closing = True
        self._timer.close()
        self._backlog.clear()
        self.frontend.clients.discard(self)
        exchange = self._exchange
        if exchange is not None:
            if self._tunnel and reason.check(ConnectionDone):
                exchange.client_gone(ProxyError(Kind.OK))
            else:
                exchange.client_gone(ProxyError(Kind.CLIENT_GONE, reason.getErrorMessage()))
        self.frontend.depart(self.info)

    def peer_hung_up(self, reset: bool) -> bool:
        """The client has gone while reading is paused; a reset ends its exchange at once."""
        return reset

    def readConnectionLost(self) -> None:
        """The client has closed its sending side: it may still read."""
        self._eof = True
        if self._closing:
            self._finish_closing()
            return
        exchange = self._exchange
        if self._tunnel and exchange is not None:
            exchange.request_end(END)
            return
        self._backlog.extend(self._parser.eof())
        self._pump()
        exchange = self._exchange
        if exchange is None:
            self._lose()
        elif not self._backlog and not self._parser.pending:
            self._keep = False
            if self.frontend.abort_on_close and not exchange.begun:
                exchange.client_gone(ProxyError(Kind.CLIENT_GONE, exchange.left_while))

    def writeConnectionLost(self) -> None:
        """Our sending side is closed; nothing to do."""

    # -- events ---------------------------------------------------------------------------------

    def _pump(self) -> None:
        """Act on what was parsed, as far as the current exchange allows."""
        if self._pumping:
            return
        self._pumping = True
        try:
            backlog = self._backlog
            while backlog and not self._closing:
                event = backlog[0]
                kind = type(event)
                if kind is RequestHead:
                    if self._exchange is not None or self._write_paused:
                        break  # answered in order, and no faster than they are read
                    backlog.popleft()
                    self._begin(event)
                elif kind is Invalid:
                    if self._exchange is not None and self._request_ended and not self._switching:
                        break
                    backlog.clear()
                    self._invalid(event)
                elif self._hold and kind is bytes:
                    break
                else:
                    backlog.popleft()
                    self._body(event)
            self._regulate()
        finally:
            self._pumping = False

    def _begin(self, head: RequestHead) -> None:
        """Start the exchange of ``head`` with the body that is already here."""
        frontend = self.frontend.lineage.current
        welcome = frontend is self.frontend or self._follow(frontend)
        backlog = self._backlog
        data = b""
        end: End | None = None
        while backlog:
            event = backlog[0]
            kind = type(event)
            if kind is bytes:
                data = data + event if data else event
            elif kind is End:
                end = event
                backlog.popleft()
                break
            else:
                break
            backlog.popleft()
        now = frontend.now()
        began = now if self._began is None else self._began
        self._began = None
        self._requests += 1
        self._request = head
        self._request_ended = end is not None
        self._hold = False
        limit = frontend.max_requests
        self._keep = (
            head.keep_alive
            and frontend.keepalive
            and not (limit and self._requests >= limit)
            and not (self._eof and not backlog and not self._parser.pending)
        )
        self._switching = (
            head.upgrade is not None or head.method == b"CONNECT"
        ) and self._may_switch(head)
        self._expects = head.expect_continue and not data
        if end is not None or self._expects:
            self._timer.clear()
        else:
            self._timer.set(frontend.spec.timeout_body)
        self._exchange = exchange = Exchange(frontend, self, head, began, now - began)
        if not welcome:
            self._keep = False
            frontend.counters.requests += 1
            exchange.fail(ProxyError(Kind.DENIED, f"{self.info.client_ip} is not allowed any more"))
        elif self._eof and self._has_left():
            frontend.counters.requests += 1
            exchange.client_gone(ProxyError(Kind.CLIENT_GONE, "left before the request began"))
        else:
            exchange.start(data, end)

    def _has_left(self) -> bool:
        """Return whether the client's FIN, which is here, ends the exchange that begins."""
        return self.frontend.abort_on_close and not self._backlog and not self._parser.pending

    def _follow(self, frontend: Frontend) -> bool:
        """There was a reload: go on as the new configuration has it; False: it does not want this client."""
        self.frontend = frontend
        self._parser.limit(frontend.request_limits)
        return frontend.still_allows(self.info)

    def _may_switch(self, head: RequestHead) -> bool:
        """Whether what follows ``head`` waits for the server's word: a tunnel, or more requests."""
        if head.method == b"CONNECT":
            self._keep = False  # what follows was meant for somebody else
            return True
        if self.frontend.may_upgrade(head):
            return True
        head.upgrade = None
        self._backlog.extend(self._parser.resume())
        return False

    def _body(self, event: bytes | End) -> None:
        exchange = self._exchange
        if type(event) is End:
            self._request_ended = True
            if exchange is not None:
                self._rearm()
                exchange.request_end(event)
        elif exchange is not None:
            self._expects = False
            self._timer.set(self.frontend.spec.timeout_body)
            exchange.request_data(event)  # type: ignore[arg-type]

    def _invalid(self, invalid: Invalid) -> None:
        self._keep = False
        self._request_ended = False  # whatever follows cannot be trusted
        exchange = self._exchange
        if exchange is not None:
            if self._eof:
                exchange.client_gone(ProxyError(Kind.CLIENT_GONE, "left in mid request"))
                self._lose()
            else:
                exchange.client_invalid(invalid)
            return
        self._refuse(ProxyError(invalid.kind, invalid.detail, invalid.status))

    def _refuse(self, error: ProxyError) -> None:
        """Answer something that is not a request, and log it with what was read of it."""
        now = self.frontend.now()
        self._request_ended = False
        head = refused_head(self._parser.unread)
        self._exchange = exchange = Exchange(
            self.frontend, self, head, now if self._began is None else self._began, -1.0
        )
        self._request = head
        self.frontend.counters.requests += 1
        exchange.fail(error)

    def _regulate(self) -> None:
        """Read only while there is use for what comes."""
        if self._closing:
            want = self._linger_left >= 0
        else:
            # after a complete request reading goes on, to see the client's FIN
            held = self._hold and (not self._request_ended or self._switching or self._tunnel)
            want = not (self._backlog or held or self._parser.pending)
        if want == self._read_paused:
            self._read_paused = not want
            transport = self.transport
            if self._eof:
                return
            if want:
                transport.resumeProducing()
            else:
                transport.pauseProducing()

    # -- the transport's back-pressure ----------------------------------------------------------

    def pauseProducing(self) -> None:
        """The client does not read fast enough."""
        self._write_paused = True
        self._unsent = unsent_bytes(self.transport)
        self._timer.set(self.frontend.client_timeout)
        if self._exchange is not None:
            self._exchange.client_paused()

    def resumeProducing(self) -> None:
        """It reads again."""
        self._write_paused = False
        self._rearm()
        if self._exchange is not None:
            self._exchange.client_resumed()
        else:
            self._pump()

    def stopProducing(self) -> None:
        """The transport is going away; connectionLost follows."""

    # -- deadlines ------------------------------------------------------------------------------

    def _rearm(self) -> None:
        """Arm the deadline of what we now wait for from the client."""
        frontend = self.frontend
        if self._write_paused:
            self._timer.set(frontend.client_timeout)
        elif self._exchange is None:
            if self._began is None:
                self._timer.set(frontend.timeout_keepalive)
            else:
                self._timer.set(frontend.spec.timeout_header)
        elif self._request_ended or self._tunnel or self._hold or self._expects:
            self._timer.clear()
        else:
            self._timer.set(frontend.spec.timeout_body)

    def _expired(self) -> None:
        exchange = self._exchange
        if self._closing:
            self._close_expired()
        elif self._write_paused:
            if self._takes():
                return
            if exchange is not None:
                exchange.client_gone(ProxyError(Kind.CLIENT_STALLED, "does not read"))
            self._abort()
        elif exchange is not None:
            self._keep = False
            exchange.fail(ProxyError(Kind.CLIENT_TIMEOUT, "request body stalled"))
        elif self._began is not None:
            self._keep = False
            self._refuse(ProxyError(Kind.CLIENT_TIMEOUT, "request head incomplete"))
        else:
            self._lose()

    def _takes(self) -> bool:
        """Some of what was unsent has been sent since: it may have the same time again."""
        left = unsent_bytes(self.transport)
        if not 0 < left < self._unsent:
            return False
        self._unsent = left
        self._timer.set(self.frontend.client_timeout)
        return True

    # -- ClientStream ---------------------------------------------------------------------------

    def send_response(self, head: ResponseHead, data: bytes, end: End | None) -> None:
        """See :class:`ClientStream`."""
        request = self._request
        if self._closing or request is None:
            return
        if head.status < 200:
            out, _ = encode_response(head, client_version=request.version)
            if self._expects:
                self._expects = False
                self._rearm()
            self.transport.write(out)
            return
        keep = (
            self._keep
            and head.keep_alive
            and (self._request_ended or end is None)
            and not (head.length is None and request.version < 11)
            and not self.frontend.stopping
        )
        # RFC 9110 §6.6.1: a response that is forwarded has a Date
        date = None
        if head.listed or not head.present >> DATE & 1:
            date = http_date(self.frontend.wheel.wall())
        out, self._chunked = encode_response(
            head, client_version=request.version, keep_alive=keep, date=date, method=request.method
        )
        self._keep = keep
        if self._chunked:
            out += self._frame(data, end)
        elif data:
            out += data
        self.transport.write(out)

    def _frame(self, data: bytes, end: End | None) -> bytes:
        """One chunk, and the last one if it is known."""
        out = encode_chunk(data) if data else b""
        if end is not None:
            out += encode_trailers(end.trailers) if end.trailers else LAST_CHUNK
        return out

    def send_data(self, data: bytes, end: End | None) -> None:
        """See :class:`ClientStream`."""
        if self._closing:
            return
        if self._tunnel:
            if data:
                self.transport.write(data)
            if end is not None:
                half_close(self.transport)
            return
        out = self._frame(data, end) if self._chunked else data
        if out:
            self.transport.write(out)

    def abort(self, error: ProxyError) -> None:
        """See :class:`ClientStream`: a cut connection is the only sign HTTP/1 has."""
        self._abort()

    def pause_request(self) -> None:
        """See :class:`ClientStream`."""
        self._hold = True
        self._rearm()
        self._regulate()

    def resume_request(self) -> None:
        """See :class:`ClientStream`."""
        self._hold = False
        self._rearm()
        self._pump()
        self._regulate()

    def start_tunnel(self) -> tuple[bytes, bool]:
        """See :class:`ClientStream`."""
        self._tunnel = True
        self._keep = self._hold = False
        self._backlog.clear()
        self._rearm()
        self._regulate()
        return self._parser.detach(), self._eof

    def exchange_done(self, *, reuse: bool) -> None:
        """See :class:`ClientStream`."""
        self._exchange = self._request = None  # an idle connection does not hold on to a head
        if self._closing:
            return
        if not (reuse and self._keep):
            self._close_gently()
            return
        self._hold = self._switching = False
        backlog, parser = self._backlog, self._parser
        if not backlog and not parser.idle:
            if parser.stopped:  # no switch of protocols
                backlog.extend(parser.resume())
            elif parser.pending:
                backlog.extend(parser.proceed())
            if not backlog and parser.mid_head:
                self._began = self.frontend.now()
        if self._eof and not backlog:
            self._lose()
            return
        self._rearm()
        if not self._pumping:
            if backlog:
                self._pump()
            else:
                self._regulate()

    # -- closing --------------------------------------------------------------------------------

    def shut(self) -> None:
        """The frontend stops: close now if idle, else after the current answer."""
        self._keep = False
        if self._exchange is None and not self._closing:
            self._lose()

    def kill(self, error: ProxyError) -> None:
        """Cut the connection off, whatever it is doing."""
        if self._exchange is not None:
            self._exchange.client_gone(error)
        self._abort()

    def _close_gently(self) -> None:
        """Close after an answer.  A client still sending gets time to read the answer before a reset could eat it."""
        pending = self._backlog or self._parser.pending
        sends = not self._request_ended or pending or self._read_paused
        if not sends or self._tunnel or self._eof:
            self._lose()
            return
        self._closing = self._lingering = True
        self._backlog.clear()
        self._timer.set(_LINGER)
        transport = self.transport
        transport.unregisterProducer()
        if not ISSLTransport.providedBy(transport):
            transport.loseWriteConnection()
        self._regulate()

    def _close_expired(self) -> None:
        if self._lingering:
            self._finish_closing()
        elif not self._takes():
            self._abort()

    def _finish_closing(self) -> None:
        """The client has had its time to read, or wants no more."""
        self._lingering = False
        self._unsent = unsent_bytes(self.transport)
        self._timer.set(self.frontend.client_timeout)
        self.transport.loseConnection()

    def _lose(self) -> None:
        """Close after what is written; cut it off if the client does not read it."""
        if self._closing:
            return
        self._closing = True
        self._backlog.clear()
        self.transport.unregisterProducer()
        self._finish_closing()

    def _abort(self) -> None:
        self._closing = True
        self._timer.clear()
        self.transport.abortConnection()


classImplements(H1ClientConnection, IProtocol, IHalfCloseableProtocol, IPushProducer)
