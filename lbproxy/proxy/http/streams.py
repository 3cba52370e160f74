"""DATA. The interfaces of one HTTP exchange towards the client and towards the server.

Neither side is limited to one request at a time: an HTTP/1 connection is itself the stream of its
current exchange, and a multiplexing connection creates a stream object per exchange. No call below
may re-enter its caller.
"""

from __future__ import annotations

from typing import Protocol

from lbproxy.errors import ProxyError
from lbproxy.http.message import End, RequestHead, ResponseHead
from lbproxy.model import Address
from lbproxy.proxy.http.sink import ResponseSink
from lbproxy.proxy.info import ConnectionInfo
from lbproxy.proxy.terms import Waits

__all__ = [
    "ClientStream",
    "Connecting",
    "ConnectionInfo",
    "ResponseSink",
    "ResponseStream",
    "ServerConnection",
    "ServerStream",
    "SourceStream",
]


class ClientStream(Protocol):
    """The destination of an exchange's response."""

    info: ConnectionInfo

    def send_response(self, head: ResponseHead, data: bytes, end: End | None) -> None:
        """Send the head, the first body bytes and, if known, the end, in one write.

        ``head.length`` None: the stream chooses the framing. May be called again after an interim
        (1xx) head, which has neither data nor end. Raises ValueError, with nothing sent, for a head
        that could be parsed as anything else than this one head.
        """

    def send_data(self, data: bytes, end: End | None) -> None:
        """Send more of the body, the end, or both."""

    def abort(self, error: ProxyError) -> None:
        """Signal to the client that the response cannot be completed: abort the connection or reset
        the stream.
        """

    def pause_request(self) -> None:
        """Stop delivering the request body."""

    def resume_request(self) -> None:
        """Deliver the request body again."""

    def start_tunnel(self) -> tuple[bytes, bool]:
        """Switch to opaque bytes in both directions, after a 101 (or a 2xx to CONNECT) was sent.

        Return the bytes already received for the tunnel, and whether the client has sent its FIN.
        """

    def exchange_done(self, *, reuse: bool) -> None:
        """The exchange is finished. ``reuse`` False closes the connection (HTTP/1) after everything
        is written.
        """


class ResponseStream(Protocol):
    """The origin of a response: the common part of the stream of a server and of a source."""

    def send_body(self, data: bytes, end: End | None) -> None:
        """Send more of the request body, the end, or both; in a tunnel, bytes and the
        client's FIN.
        """

    def pause_response(self) -> None:
        """Stop delivering the response."""

    def resume_response(self) -> None:
        """Deliver the response again."""

    def start_tunnel(self) -> bytes:
        """Switch to opaque bytes after the 101, and return the bytes already received."""

    def close(self, *, reuse: bool) -> None:
        """End the stream. ``reuse``: both messages were complete. The sink receives no further
        calls.
        """


class ServerStream(ResponseStream, Protocol):
    """The stream of one attempt to a server."""

    def send_request(self, head: RequestHead, data: bytes, end: End | None) -> None:
        """Send the head (already rewritten for the server), the body bytes known so far and, if
        known, the end, in one write.

        Raises ValueError, with nothing sent, for a head that could be parsed as anything else than
        this one head.
        """

    def limit(self, waits: Waits) -> None:
        """Use these deadlines for this stream in place of those of the backend; called before
        :meth:`send_request`, and only for a route that has deadlines of its own.
        """

    def bind(self, owner: ConnectionInfo | None, *, pins: bool) -> None:
        """Let the connection of this stream serve only the client connection ``owner`` from now on,
        and no further stream if that is None or has left (the cache continues without a client).

        ``pins``: further requests of ``owner`` to this backend go to the same server.
        """


class SourceStream(ResponseStream, Protocol):
    """The stream of one exchange to its :class:`~lbproxy.proxy.http.source.Source`, which has the
    rules.
    """

    @property
    def queued(self) -> bool:
        """True if the request waits and no server has it."""


class Connecting(Protocol):
    """The requester of a connection to a server: an attempt, or the pool that opens connections in
    advance.
    """

    @property
    def info(self) -> ConnectionInfo:
        """The client's connection, for a PROXY header."""

    @property
    def is_first(self) -> bool:
        """True if it asks for the first request of a client connection (``reuse = safe``)."""

    @property
    def replayable(self) -> bool:
        """True if the request can be sent again if the connection turns out to be dead."""

    def connected(self, connection: ServerConnection) -> None:
        """Handle the ready connection."""

    def connect_failed(self, error: ProxyError) -> None:
        """Handle a failed dial."""


class ServerConnection(Protocol):
    """A connection to a server, which carries one stream at a time (HTTP/1) or several.

    - ``pooled``: whether the connector offers it now; only the pool of the connector sets it.
    - ``epoch``: that of its :class:`~lbproxy.proxy.http.connector.PendingDial`.
    """

    pooled: bool
    epoch: int

    @property
    def address(self) -> Address | None:
        """The address that was dialled."""

    @property
    def idle_s(self) -> float:
        """Seconds without a stream; 0 while one is open."""

    @property
    def has_input(self) -> bool:
        """True if the server has sent data that is not read yet, such as its FIN."""

    def open_stream(self, sink: ResponseSink) -> ServerStream:
        """Start one more exchange on the connection; only while ``spare`` is positive."""

    @property
    def spare(self) -> int:
        """Number of further streams that the connection can carry now; 0 if it is closing."""

    def rest(self) -> None:
        """Offer the connection to its connector; only while no stream is open."""

    def shut(self) -> None:
        """Close the connection: at once if no stream is open, else when the last stream ends."""
