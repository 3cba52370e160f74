"""A second protocol to servers: one connection carries as many streams as the server allows now.

The frames are those of :mod:`tests.proxy.mux`.
"""

from __future__ import annotations

from typing import Any

from lbproxy.errors import Kind, ProxyError
from lbproxy.http.message import ResponseHead
from lbproxy.proxy.dial import dial_server
from lbproxy.proxy.http.connector import Connector
from lbproxy.proxy.http.multiplexed import MultiplexedConnection, MultiplexedStream
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
    """The connections to one server."""

    def open(self, pending: Any) -> Any:
        protocol = MuxConnection(self, pending)
        return dial_server(self.terms, self.server, protocol, pending.failed)


class MuxConnection(MultiplexedConnection):
    """What the server sends."""

    def new_stream(self, number: int, sink: Any) -> MuxStream:
        return MuxStream(self, number, sink)

    def connectionMade(self) -> None:
        self.frames = Frames()
        super().connectionMade()

    def dataReceived(self, data: bytes) -> None:
        for number, kind, last, payload in self.frames.receive(data):
            stream = self.streams.get(number)
            if kind == LIMIT:
                self.allow(int(payload))
            elif kind == LEAVE:
                self.shut()
            elif stream is not None:
                self.stream_received(stream, kind, last, payload)

    def stream_received(self, stream: Any, kind: int, last: bool, payload: bytes) -> None:
        if kind == HEAD:
            (status, reason), headers = read_head(payload)
            head = ResponseHead(int(status), headers, reason, 20, 0 if last else None)
            stream.responded(head, last=last)
        elif kind == DATA:
            stream.received(payload, last=last)
        elif kind == PAUSE:
            stream.sink.server_paused()
        elif kind == RESUME:
            stream.sink.server_resumed()
        else:
            stream.failed(ProxyError(Kind.SERVER_GONE, "stream reset"))


class MuxStream(MultiplexedStream):
    """What one exchange sends."""

    def write(self, kind: int, payload: bytes = b"", *, last: bool = False) -> None:
        if self.connection.connected:
            self.connection.transport.write(frame(self.number, kind, payload, last=last))

    def send_request(self, head: Any, data: bytes, end: Any) -> None:
        start = b"%b %b %b" % (head.method, head.target, head.host)
        self.write(HEAD, head_payload(start, head.headers), last=end is not None and not data)
        self.sent_request()
        if data:
            self.write(DATA, data, last=end is not None)

    def send_body(self, data: bytes, end: Any) -> None:
        self.write(DATA, data, last=end is not None)

    def pause_response(self) -> None:
        self.write(PAUSE)

    def resume_response(self) -> None:
        self.write(RESUME)

    def reset(self) -> None:
        self.write(RESET)
