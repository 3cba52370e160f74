"""A second protocol to servers: one connection carries as many streams as the server allows now.

The frames are those of :mod:`tests.proxy.mux`.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.protocol import Protocol

from lbproxy.errors import Kind, ProxyError
from lbproxy.http.message import END, ResponseHead
from lbproxy.proxy.dial import dial_server
from lbproxy.proxy.http.connector import Connector
from tests.proxy.mux import (
    DATA,
    HEAD,
    LEAVE,
    LIMIT,
    PAUSE,
    RESET,
    RESUME,
    Frames,
    frame,
    head_payload,
    read_head,
)


class MuxConnector(Connector):
    """The connections to one server; ``streams`` follows what it allows."""

    def open(self, pending: Any) -> Any:
        protocol = MuxConnection(self, pending)
        return dial_server(self.terms, self.server, protocol, pending.failed)


class MuxConnection(Protocol):
    """A connection shared by streams."""

    pooled = closing = has_input = False
    idle_s = 0.0

    def __init__(self, connector: Any, pending: Any) -> None:
        self.connector, self.pending, self.epoch = connector, pending, pending.epoch
        self.limit, self.opened, self.frames = connector.streams, 0, Frames()
        self.streams: dict[int, MuxStream] = {}
        self.idle = connector.terms.wheel.timer(self.shut)

    def connectionMade(self) -> None:
        self.transport.registerProducer(self, True)
        self.address = self.pending.address
        self.pending.connected(self)
        self.rest()

    def dataReceived(self, data: bytes) -> None:
        for number, kind, last, payload in self.frames.receive(data):
            if kind == LIMIT:
                self.limit = self.connector.streams = int(payload)
                self.rest()
            elif kind == LEAVE:
                self.shut()
            elif number in self.streams:
                self.streams[number].received(kind, last, payload)

    def connectionLost(self, reason: Any = None) -> None:
        self.connected = 0
        self.shut()
        for stream in list(self.streams.values()):
            stream.failed(ProxyError(Kind.SERVER_GONE, "connection lost"))

    @property
    def spare(self) -> int:
        return 0 if self.closing else self.limit - len(self.streams)

    def open_stream(self, sink: Any) -> MuxStream:
        self.idle.clear()
        self.opened += 1
        stream = self.streams[self.opened] = MuxStream(self, self.opened, sink)
        return stream

    def rest(self) -> None:
        """There may be room for streams, or less of it."""
        if self.spare > 0:
            self.connector.offer(self)
        else:
            self.connector.withdraw(self)
        if self.closing and self.connected and not self.streams:
            self.transport.unregisterProducer()
            self.transport.loseConnection()
        elif not self.closing and not self.streams:
            self.idle.set(self.connector.terms.pool_idle)

    def shut(self) -> None:
        if not self.closing:
            self.closing = True
            self.idle.close()
            self.rest()

    def over(self, number: int) -> None:
        if self.streams.pop(number, None) is not None and self.connected:
            self.rest()

    def pauseProducing(self) -> None:
        for stream in list(self.streams.values()):
            stream.sink.server_paused()

    def resumeProducing(self) -> None:
        for stream in list(self.streams.values()):
            stream.sink.server_resumed()

    def stopProducing(self) -> None:
        """The transport is going away; connectionLost follows."""


class MuxStream:
    """One exchange."""

    def __init__(self, connection: MuxConnection, number: int, sink: Any) -> None:
        self.connection, self.number, self.sink = connection, number, sink
        self.terms = connection.connector.terms
        self.timer = self.terms.wheel.timer(self.late)

    def received(self, kind: int, last: bool, payload: bytes) -> None:
        end = [END] if last else []
        if kind == HEAD:
            (status, reason), headers = read_head(payload)
            self.timer.clear()
            head = ResponseHead(int(status), headers, reason, 20, 0 if last else None)
            self.sink.server_events([head, *end])
        elif kind == DATA:
            self.sink.server_events([payload, *end] if payload else end)
        elif kind == PAUSE:
            self.sink.server_paused()
        elif kind == RESUME:
            self.sink.server_resumed()
        else:
            self.failed(ProxyError(Kind.SERVER_GONE, "stream reset"))

    def failed(self, error: ProxyError) -> None:
        self.timer.close()
        self.connection.over(self.number)
        self.sink.server_failed(error)

    def late(self) -> None:
        self.write(RESET)
        self.failed(ProxyError(Kind.RESPONSE_TIMEOUT))

    def write(self, kind: int, payload: bytes = b"", *, last: bool = False) -> None:
        if self.connection.connected:
            self.connection.transport.write(frame(self.number, kind, payload, last=last))

    def send_request(self, head: Any, data: bytes, end: Any) -> None:
        start = b"%b %b %b" % (head.method, head.target, head.host)
        self.timer.set(self.terms.timeout_response)
        payload = head_payload(start, head.headers)
        self.write(HEAD, payload, last=end is not None and not data)
        if data:
            self.write(DATA, data, last=end is not None)

    def send_body(self, data: bytes, end: Any) -> None:
        self.write(DATA, data, last=end is not None)

    def pause_response(self) -> None:
        self.write(PAUSE)

    def resume_response(self) -> None:
        self.write(RESUME)

    def bind(self, owner: Any, *, pins: bool) -> None:
        """A user's identity must not be shared: no further stream."""
        self.connection.shut()

    def start_tunnel(self) -> bytes:
        return b""

    def close(self, *, reuse: bool) -> None:
        self.timer.close()
        if not reuse:
            self.write(RESET)
        self.connection.over(self.number)
