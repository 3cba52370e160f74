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
from lbproxy.net.closing import half_close
from lbproxy.net.stream import StreamProtocol
from lbproxy.proxy.http.connector import Connector, PendingDial
from lbproxy.proxy.http.serverlink import ServerLink
from lbproxy.proxy.http.serverstate import (
    ANSWERING,
    AWAITING,
    CLOSING,
    DECLINED,
    EARLY,
    EXPECTING,
    SENDING,
    TUNNEL,
)
from lbproxy.proxy.http.sink import ResponseSink
from lbproxy.proxy.http.streams import ServerStream

__all__ = ["H1ServerConnection"]

_KEEP_ALIVE: Final = field_name(b"keep-alive")


class H1ServerConnection(ServerLink, StreamProtocol):
    """See the module.

    It carries one exchange at a time, so it is its own
    :class:`~lbproxy.proxy.http.streams.ServerStream`.
    """

    def __init__(self, connector: Connector, pending: PendingDial) -> None:
        super().__init__(connector, pending)
        self._parser = ResponseParser(self._terms.response_limits)
        self._chunked = False  # the request body is chunked

    # -- Twisted --------------------------------------------------------------------------------

    def dataReceived(self, data: bytes) -> None:
        """Handle response bytes."""
        sink = self._sink
        if sink is None:
            # without a request, no bytes may become the response to the next one
            self._abort()
            return
        if self._state == TUNNEL:
            self._timer.set(self._waits.timeout_tunnel)
            sink.server_events([data])
            return
        events = self._parser.receive(data)
        if events:
            self._deliver(sink, events)

    def _deliver(self, sink: ResponseSink, events: list[Any]) -> None:
        last = events[-1]
        kind = type(last)
        if kind is Invalid:
            self._single = True  # even if the previous response was complete
            events.pop()
            _withdraw(events)
        if events:
            if self._state < EARLY:
                self._note_head(events)
            if kind is not End and self._state == ANSWERING and not self._read_paused:
                self._timer.set(self._waits.timeout_server)
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
        """Handle a clean close, which ends a response without other framing."""
        begun = not self._parser.idle
        events = self._parser.eof()
        if events and type(events[0]) is End:
            sink.server_events(events)
        else:
            what = "in mid response" if begun else "without a response"
            self._fail(ProxyError(Kind.SERVER_GONE, f"closed {what}"))

    # -- ServerConnection and ServerStream ------------------------------------------------------

    def open_stream(self, sink: ResponseSink) -> ServerStream:
        """See :class:`ServerConnection`."""
        self._sink = sink
        self._uses += 1
        return self

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
            self._timer.set(self._waits.timeout_tunnel)
            self.transport.write(data)
        if end is not None:
            half_close(self.transport)

    def start_tunnel(self) -> bytes:
        """See :class:`ServerStream`."""
        self._enter(TUNNEL)
        self._await()
        return self._parser.detach()

    def close(self, *, reuse: bool) -> None:
        """See :class:`ServerStream`."""
        self._sink = None
        self._waits = self._terms
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
            and (self.connector.is_current(self.epoch) or self.connector.keeps(self))
        ):
            self.rest()
        elif self._may_wait():
            self._wait()
        else:
            self._lose()


classImplements(H1ServerConnection, IProtocol, IHalfCloseableProtocol, IPushProducer)


def _withdraw(events: list[Any]) -> None:
    """Remove the head of a response whose body is already invalid, and the events after it.

    Nothing has been forwarded yet, so the client gets a 502, or another server is tried, as after
    an invalid head.
    """
    if not events or type(events[-1]) is End:
        return
    for at, event in enumerate(events):
        if type(event) is ResponseHead and event.status >= 200:
            del events[at:]
            return


def _words(reason: Failure) -> str:
    return "" if reason.check(ConnectionDone) else reason.getErrorMessage()
