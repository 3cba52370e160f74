"""DATA. The seams of one HTTP exchange: what it calls on either side, and what either side calls on
it.

Neither side is assumed to carry one request at a time: an HTTP/1 connection is itself the stream of
its current
exchange, a multiplexing one makes a stream object per exchange.  No call below may re-enter its
caller.
"""

from __future__ import annotations

from typing import Protocol

from lbproxy.errors import ProxyError
from lbproxy.http.message import End, RequestHead, ResponseHead
from lbproxy.proxy.http.sink import ResponseSink
from lbproxy.proxy.info import ConnectionInfo

__all__ = [
    "ClientStream",
    "Connecting",
    "ConnectionInfo",
    "ResponseSink",
    "ServerConnection",
    "ServerStream",
    "SourceStream",
]


class ClientStream(Protocol):
    """Where an exchange's response goes."""

    info: ConnectionInfo

    def send_response(self, head: ResponseHead, data: bytes, end: End | None) -> None:
        """Send the head (with ``head.length`` None meaning: frame it yourself), the first
        body bytes and, if it is already
        known, the end, in one write.  May be called again after an interim (1xx) head,
        which has neither data nor end.  ValueError, with nothing sent, for a head that
        could be read as anything but this one head."""

    def send_data(self, data: bytes, end: End | None) -> None:
        """More body and/or the end."""

    def abort(self, error: ProxyError) -> None:
        """The response cannot be completed: make that visible to the client (cut the
        connection, reset the stream)."""

    def pause_request(self) -> None:
        """Deliver no more request body for now."""

    def resume_request(self) -> None:
        """Deliver request body again."""

    def start_tunnel(self) -> tuple[bytes, bool]:
        """After a 101 (or a 2xx to CONNECT) has been sent: everything from now on is opaque
        bytes, both ways.  Returns what has already come for the tunnel, and whether that
        was all the client will ever send."""

    def exchange_done(self, *, reuse: bool) -> None:
        """The exchange is finished; ``reuse`` False closes the connection (HTTP/1) once all
        is written."""


class ServerStream(Protocol):
    """One attempt's way to a server."""

    def send_request(self, head: RequestHead, data: bytes, end: End | None) -> None:
        """Head (already rewritten for the server), the body bytes known so far, and the end
        if known, in one write.  ValueError, with nothing sent, for a head that could be
        read as anything but this one head."""

    def send_body(self, data: bytes, end: End | None) -> None:
        """More body and/or the end."""

    def pause_response(self) -> None:
        """Deliver no more response for now."""

    def resume_response(self) -> None:
        """Deliver response again."""

    def start_tunnel(self) -> bytes:
        """After the 101: opaque bytes from now on.  Returns those that have already come."""

    def close(self, *, reuse: bool) -> None:
        """The attempt is over; ``reuse`` says that both messages were complete.  The sink
        hears nothing more."""


class SourceStream(ServerStream, Protocol):
    """The stream of a source that an exchange asks: a server stream that may have to wait for a
    server."""

    @property
    def queued(self) -> bool:
        """Whether no server has the request."""


class Connecting(Protocol):
    """Who wants a connection to a server: an attempt, or a connection made ahead."""

    @property
    def info(self) -> ConnectionInfo:
        """The client's connection, for a PROXY header."""

    def connected(self, connection: ServerConnection) -> None:
        """It is ready."""

    def connect_failed(self, error: ProxyError) -> None:
        """It could not be made."""


class ServerConnection(Protocol):
    """A connection to a server that a pool may keep.

    ``pooled``: it is in its pool now; only the pool writes it."""

    pooled: bool

    def open_stream(self, sink: ResponseSink) -> ServerStream:
        """Start one more exchange on it; only while ``spare`` is positive."""

    @property
    def spare(self) -> int:
        """How many more streams it can carry now; 0 for one that is closing."""

    def rest(self) -> None:
        """Wait in the pool of its server; only while nothing runs on it."""

    def shut(self) -> None:
        """Close it: at once if nothing runs on it, else when the last stream ends."""
