"""DATA. One HTTP/1 connection from a client.

Requests may be pipelined. They are answered in order, and reading stops while another one waits.
The connection is the :class:`ClientStream` of the running exchange.

``_state`` is one of :mod:`lbproxy.proxy.http.clientstate`, which has the table of states. Two flags
are independent of it: whether the exchange has stopped the request body (``_hold``), and whether
the connection outlives the exchange (``_keep``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocol, IPushProducer
from twisted.python.failure import Failure
from zope.interface import classImplements

from lbproxy.errors import Kind, ProxyError
from lbproxy.http.h1 import refused_head
from lbproxy.http.message import END, End, Invalid, RequestHead
from lbproxy.net.stream import StreamProtocol
from lbproxy.proxy.http.clientflow import ClientFlow
from lbproxy.proxy.http.clientstate import (
    ANSWERING,
    BODY,
    EXPECTING,
    HEAD,
    IDLE,
    LINGERING,
    REFUSED,
    SWITCHING,
    TUNNEL,
)
from lbproxy.proxy.http.exchange import Exchange
from lbproxy.proxy.http.pipelineline import REQUESTS_PER_TURN
from lbproxy.proxy.http.streams import ConnectionInfo

if TYPE_CHECKING:
    from lbproxy.proxy.frontend import Frontend

__all__ = ["H1ClientConnection"]


class H1ClientConnection(ClientFlow, StreamProtocol):
    """See the module.  It is a :class:`~lbproxy.proxy.http.streams.ClientStream`."""

    def __init__(self, frontend: Frontend, info: ConnectionInfo) -> None:
        super().__init__(frontend, info)
        self._requests = 0
        self._began = 0.0  # start of an incomplete head
        self._pumping = False
        self._in_line = False

    # -- Twisted --------------------------------------------------------------------------------

    def dataReceived(self, data: bytes) -> None:
        """Handle bytes of requests."""
        state = self._state
        if state >= TUNNEL:
            self._beyond(data)
            return
        events = self._parser.receive(data)
        if events:
            if self._backlog:
                self._backlog += events
            else:
                self._backlog = events
            self._pump()
        elif state == IDLE:
            self._head_begins()

    def _beyond(self, data: bytes) -> None:
        """Handle bytes that are not a request: those of a tunnel, or after the last answer."""
        if self._state != TUNNEL:
            self._received_late(len(data))
        elif self._exchange is not None:
            self._exchange.request_data(data)

    def _head_begins(self) -> None:
        self._enter(HEAD)
        self._began = self.frontend.now()
        self._rearm()

    def connectionLost(self, reason: Failure) -> None:
        """End the connection, which either side has closed."""
        tunnel = self._state == TUNNEL
        self._lost()
        exchange = self._exchange
        if exchange is not None:
            if tunnel and reason.check(ConnectionDone):
                exchange.client_gone(ProxyError(Kind.OK))
            else:
                exchange.client_gone(ProxyError(Kind.CLIENT_GONE, reason.getErrorMessage()))
        self.frontend.depart(self.info)

    def readConnectionLost(self) -> None:
        """Handle the end of the client's direction. The client may still read."""
        self._eof = True
        if self._state >= LINGERING:
            if self._state == LINGERING:
                self._close_now()
            return
        exchange = self._exchange
        if exchange is not None and self._state == TUNNEL:
            exchange.request_end(END)
            return
        self._backlog += self._parser.eof()
        self._pump()
        exchange = self._exchange
        if exchange is None:
            self._lose()
        elif not self._backlog and not self._parser.pending:
            self._keep = False
            if self.frontend.abort_on_close and not exchange.begun:
                exchange.client_gone(ProxyError(Kind.CLIENT_GONE, exchange.left_while))

    # -- events ---------------------------------------------------------------------------------

    def _pump(self) -> None:
        """Act on what was parsed, as far as the current exchange allows."""
        if not self._pumping:
            at_once = 1 if self.frontend.pipelines.busy else REQUESTS_PER_TURN
            self._pump_some(0 if self._in_line else at_once)

    def _pump_some(self, left: int) -> None:
        """Begin at most ``left`` requests; the others wait for the next turn."""
        self._pumping = True
        try:
            while self._backlog and self._state < LINGERING:
                event = self._backlog[0]
                kind = type(event)
                if kind is RequestHead:
                    if self._exchange is not None or self._write_paused:
                        break  # answered in order, and no faster than they are read
                    if not left:
                        if not self._in_line:
                            self._in_line = True
                            self.frontend.pipelines.join(self._next_request)
                        break
                    left -= 1
                    self._begin(event)
                elif kind is Invalid:
                    if self._state == ANSWERING:
                        break
                    self._backlog = []
                    self._invalid(event)
                elif self._hold and kind is bytes:
                    break
                else:
                    del self._backlog[0]
                    self._body(event)
            self._regulate()
        finally:
            self._pumping = False

    def _next_request(self) -> None:
        """Begin one request: the turn of this connection in line."""
        self._in_line = False
        self._pump_some(1)

    def _begin(self, head: RequestHead) -> None:
        """Start the exchange of ``head`` with the body received so far."""
        frontend = self.frontend.lineage.current
        welcome = frontend is self.frontend or self._follow(frontend)
        data, end = self._first_body()
        now = frontend.now()
        began = self._began if self._state == HEAD else now
        self._requests += 1
        self._request = head
        self._hold = False
        limit = frontend.max_requests
        self._keep = (
            head.keep_alive
            and frontend.keepalive
            and not (limit and self._requests >= limit)
            and not (self._eof and self._is_last())
        )
        switches = head.upgrade is not None or head.method == b"CONNECT"
        if switches:
            switches = self._may_switch(head)
        if end is not None:
            self._enter(SWITCHING if switches else ANSWERING)
            self._timer.clear()
        elif head.expect_continue and not data:
            self._enter(EXPECTING)
            self._timer.clear()
        else:
            self._enter(BODY)
            self._timer.set(frontend.spec.timeout_body)
        self._exchange = exchange = Exchange(frontend, self, head, began, now - began)
        if not welcome:
            self._keep = False
            frontend.counters.requests += 1
            exchange.fail(ProxyError(Kind.DENIED, f"{self.info.client_ip} is not allowed any more"))
        elif self._eof and frontend.abort_on_close and self._is_last():
            frontend.counters.requests += 1
            exchange.client_gone(ProxyError(Kind.CLIENT_GONE, "left before the request began"))
        else:
            exchange.start(data, end)

    def _first_body(self) -> tuple[bytes, End | None]:
        """Remove the head at the start of the backlog, and return the body events after it."""
        backlog = self._backlog
        if len(backlog) == 2 and type(backlog[1]) is End:
            only: End = backlog.pop()
            backlog.pop()
            return b"", only
        data = b""
        end: End | None = None
        count = 1
        for event in backlog[1:]:
            kind = type(event)
            if kind is bytes:
                data = data + event if data else event
            elif kind is End:
                end = event
                count += 1
                break
            else:
                break
            count += 1
        del backlog[:count]
        return data, end

    def _follow(self, frontend: Frontend) -> bool:
        """Change to the frontend of a reload; return whether it accepts this client."""
        self.frontend = frontend
        self._parser.limit(frontend.request_limits)
        return frontend.still_allows(self.info)

    def _may_switch(self, head: RequestHead) -> bool:
        """Return whether the bytes after ``head`` wait for the server's answer."""
        if head.method == b"CONNECT":
            self._keep = False  # the following bytes were meant for another protocol
            return True
        if self.frontend.may_upgrade(head):
            return True
        head.upgrade = None
        self._backlog += self._parser.resume()
        return False

    def _body(self, event: bytes | End) -> None:
        """Pass on more of the request body, or its end."""
        exchange = self._exchange
        if exchange is None:
            return
        if type(event) is End:
            self._enter(SWITCHING if self._parser.stopped else ANSWERING)
            self._rearm()
            exchange.request_end(event)
        else:
            if self._state == EXPECTING:
                self._enter(BODY)
            self._rearm()
            exchange.request_data(event)  # type: ignore[arg-type]

    def _invalid(self, invalid: Invalid) -> None:
        """Answer input that is not a request, or that breaks the running request."""
        self._keep = False
        exchange = self._exchange
        if exchange is None:
            self._refuse(ProxyError(invalid.kind, invalid.detail, invalid.status))
            return
        self._enter(REFUSED)
        if self._eof:
            exchange.client_gone(ProxyError(Kind.CLIENT_GONE, "left in mid request"))
            self._lose()
        else:
            exchange.client_invalid(invalid)

    def _refuse(self, error: ProxyError) -> None:
        """Answer something that is not a request, and log it with the part that was read."""
        now = self.frontend.now()
        began = self._began if self._state == HEAD else now
        self._enter(REFUSED)
        head = refused_head(self._parser.unread)
        self._parser.detach()  # the end of a late head may still arrive
        self._exchange = exchange = Exchange(self.frontend, self, head, began, -1.0)
        self._request = head
        self.frontend.counters.requests += 1
        exchange.fail(error)

    def _overdue(self) -> None:
        if self._exchange is not None:
            self.refuse_body(ProxyError(Kind.CLIENT_TIMEOUT, "request body stalled"))
        elif self._state == HEAD:
            self._keep = False
            self._refuse(ProxyError(Kind.CLIENT_TIMEOUT, "request head incomplete"))
        else:
            self._lose()

    # -- ClientStream ---------------------------------------------------------------------------

    def start_tunnel(self) -> tuple[bytes, bool]:
        """See :class:`ClientStream`."""
        self._enter(TUNNEL)
        self._keep = self._hold = False
        self._backlog = []
        self._rearm()
        self._regulate()
        return self._parser.detach(), self._eof

    def exchange_done(self, *, reuse: bool) -> None:
        """See :class:`ClientStream`."""
        self._exchange = self._request = None  # an idle connection does not keep a head alive
        if self._state >= LINGERING:
            return
        if not (reuse and self._keep):
            self._close_gently()
            return
        self._hold = False
        self._enter(IDLE)
        parser = self._parser
        if not self._backlog and not parser.idle:
            self._go_on()
        if self._eof and not self._backlog:
            self._lose()
            return
        self._rearm()
        if self._state == IDLE and not self._backlog:
            self.frontend.limits.idle.add(self, False)
        if not self._pumping:
            if self._backlog:
                self._pump()
            else:
                self._regulate()

    def _go_on(self) -> None:
        """Parse the bytes after the answered request."""
        parser = self._parser
        if parser.stopped:  # no switch of protocols
            self._backlog = parser.resume()
        elif parser.pending:
            self._backlog = parser.proceed()
        if not self._backlog and parser.mid_head:
            self._enter(HEAD)
            self._began = self.frontend.now()


classImplements(H1ClientConnection, IProtocol, IHalfCloseableProtocol, IPushProducer)
