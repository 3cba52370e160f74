"""DATA. The part of a multiplexing protocol to servers that is independent of its frames.

A protocol extends :class:`MultiplexedConnection` with what it receives, and
:class:`MultiplexedStream` with what it sends. The rules of streams and connections are those of
:mod:`lbproxy.proxy.http.streams` and :mod:`lbproxy.proxy.http.connector`; these two classes keep
them:

1. The connection offers itself while it has room for a stream, withdraws while it has none, and
   closes after ``pool_idle`` seconds without a stream.
2. A connection that is shut finishes its streams, takes no new ones, and then closes.
3. A lost connection fails its streams. A stream without a response head after ``timeout_response``
   seconds is reset and fails.
4. While the transport cannot take more, every stream's request pauses.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure

from lbproxy.errors import Kind, ProxyError
from lbproxy.http.message import END, End, RequestHead, ResponseHead
from lbproxy.model import Address
from lbproxy.proxy.http.connector import Connector, PendingDial
from lbproxy.proxy.http.sink import ResponseSink
from lbproxy.proxy.info import ConnectionInfo
from lbproxy.proxy.terms import Waits

__all__ = ["MultiplexedConnection", "MultiplexedStream"]


class MultiplexedConnection(Protocol):
    """A connection to a server that carries several streams.

    ``limit``: the number of streams that the server allows now, at first that of the connector.
    ``streams``: the open ones by number.
    """

    pooled = closing = has_input = False
    idle_s = 0.0
    address: Address | None = None
    transport: Any

    def __init__(self, connector: Connector, pending: PendingDial) -> None:
        self.connector = connector
        self.pending = pending
        self.epoch = pending.epoch
        self.limit = connector.streams
        self.opened = 0
        self.streams: dict[int, MultiplexedStream] = {}
        self._idle = connector.terms.wheel.timer(self.shut)

    def new_stream(self, number: int, sink: ResponseSink) -> MultiplexedStream:
        """Return a stream; its number is the count of streams so far. Subclasses may override
        it.
        """
        raise NotImplementedError

    def connectionMade(self) -> None:
        """Offer the connection. A protocol that begins with a handshake calls it later."""
        self.transport.registerProducer(self, True)
        self.address = self.pending.address
        self.pending.connected(self)
        self.rest()

    def connectionLost(self, reason: Failure | None = None) -> None:
        """Fail the streams."""
        self.connected = 0
        self.shut()
        for stream in list(self.streams.values()):
            stream.failed(ProxyError(Kind.SERVER_GONE, "connection lost"))

    def allow(self, streams: int) -> None:
        """Set the number of streams that the server allows from now on. Open ones continue."""
        self.limit = self.connector.streams = streams
        self.rest()

    # -- see ServerConnection -------------------------------------------------------------------

    @property
    def spare(self) -> int:
        """Number of further streams that the connection can carry now."""
        return 0 if self.closing else self.limit - len(self.streams)

    def open_stream(self, sink: ResponseSink) -> MultiplexedStream:
        """Start one more exchange."""
        self._idle.clear()
        self.opened += 1
        stream = self.streams[self.opened] = self.new_stream(self.opened, sink)
        return stream

    def rest(self) -> None:
        """Offer the connection if it has room, else withdraw it; close it if it is shut and
        empty.
        """
        if self.spare > 0:
            self.connector.offer(self)
        else:
            self.connector.withdraw(self)
        if self.closing and self.connected and not self.streams:
            self.transport.unregisterProducer()
            self.transport.loseConnection()
        elif not self.closing and not self.streams:
            self._idle.set(self.connector.terms.pool_idle)

    def shut(self) -> None:
        """Take no new streams, and close after the last one."""
        if not self.closing:
            self.closing = True
            self._idle.close()
            self.rest()

    def over(self, number: int) -> None:
        """Remove a stream that has ended."""
        if self.streams.pop(number, None) is not None and self.connected:
            self.rest()

    # -- see IPushProducer ----------------------------------------------------------------------

    def pauseProducing(self) -> None:
        """Pause all requests, because the transport is full."""
        for stream in list(self.streams.values()):
            stream.sink.server_paused()

    def resumeProducing(self) -> None:
        """Resume all requests, because the transport has room again."""
        for stream in list(self.streams.values()):
            stream.sink.server_resumed()

    def stopProducing(self) -> None:
        """Do nothing: the transport is closing, and connectionLost follows."""


class MultiplexedStream:
    """One exchange on a :class:`MultiplexedConnection`; a protocol adds what it sends:
    ``send_request``, ``send_body``, ``pause_response``, ``resume_response`` and :meth:`reset`.
    """

    def __init__(self, connection: MultiplexedConnection, number: int, sink: ResponseSink) -> None:
        self.connection = connection
        self.number = number
        self.sink = sink
        terms = connection.connector.terms
        self._waits: Waits = terms
        self._timer = terms.wheel.timer(self._late)

    def reset(self) -> None:
        """Signal to the server that this exchange is over."""
        raise NotImplementedError

    def sent_request(self) -> None:
        """Start the deadline ``timeout_response``, because the head is sent."""
        self._timer.set(self._waits.timeout_response)

    def responded(self, head: ResponseHead, *, last: bool) -> None:
        """Pass a response head on. ``last``: nothing follows."""
        if head.status >= 200:
            self._timer.clear()
        self.sink.server_events([head, END] if last else [head])

    def received(self, data: bytes, *, last: bool) -> None:
        """Pass body bytes on. ``last``: nothing follows."""
        end: list[Any] = [END] if last else []
        self.sink.server_events([data, *end] if data else end)

    def failed(self, error: ProxyError) -> None:
        """End the stream because of the server."""
        self._timer.close()
        self.connection.over(self.number)
        self.sink.server_failed(error)

    def _late(self) -> None:
        self.reset()
        self.failed(ProxyError(Kind.RESPONSE_TIMEOUT))

    # -- see ServerStream -----------------------------------------------------------------------

    def send_request(self, head: RequestHead, data: bytes, end: End | None) -> None:
        """Send a request. Subclasses implement it."""
        raise NotImplementedError

    def send_body(self, data: bytes, end: End | None) -> None:
        """Send more of the body. Subclasses implement it."""
        raise NotImplementedError

    def pause_response(self) -> None:
        """Pause the response. Subclasses implement it."""
        raise NotImplementedError

    def resume_response(self) -> None:
        """Resume the response. Subclasses implement it."""
        raise NotImplementedError

    def limit(self, waits: Waits) -> None:
        """See :class:`ServerStream`."""
        self._waits = waits

    def bind(self, owner: ConnectionInfo | None, *, pins: bool) -> None:
        """Reserve the connection for the user whose identity it carries: it takes no further
        stream.
        """
        self.connection.shut()

    def start_tunnel(self) -> bytes:
        """Return the bytes received before the tunnel: none."""
        return b""

    def close(self, *, reuse: bool) -> None:
        """End the stream. An incomplete one is reset."""
        self._timer.close()
        if not reuse:
            self.reset()
        self.connection.over(self.number)
