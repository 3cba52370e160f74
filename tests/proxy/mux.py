"""A small multiplexing protocol on both sides of the proxy: the proof that exchanges do not need a connection each.

A frame is stream number (4 bytes), type (1), length (4) and payload.  HEAD carries a start line and header lines,
DATA bytes, RESET nothing, PAUSE and RESUME ask the other side to stop and go on with the data of one stream.  The
bit LAST on HEAD or DATA says that the sender's side of the stream is complete.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

from twisted.internet.protocol import Protocol

from lbproxy.errors import Kind, ProxyError
from lbproxy.http.message import END, End, RequestHead, ResponseHead
from lbproxy.net.endpoints import Dial
from lbproxy.proxy.accept import ProxyFactory
from lbproxy.proxy.http.exchange import Exchange
from lbproxy.proxy.http.streams import (
    ClientStream,
    ConnectionInfo,
    ResponseSink,
    ServerConnection,
    ServerStream,
)
from lbproxy.proxy.info import note_local

HEAD, DATA, RESET, PAUSE, RESUME = range(1, 6)
LAST = 0x80
_FRAME = struct.Struct(">IBI")

Frame = tuple[int, int, bool, bytes]
"""Stream, type, whether it is the last, payload."""


def frame(stream: int, kind: int, payload: bytes = b"", *, last: bool = False) -> bytes:
    """One frame."""
    return _FRAME.pack(stream, kind | (LAST if last else 0), len(payload)) + payload


class Frames:
    """Bytes in, frames out."""

    def __init__(self) -> None:
        self._buffer = b""

    def receive(self, data: bytes) -> Iterator[Frame]:
        """The frames that ``data`` completes."""
        self._buffer += data
        while len(self._buffer) >= _FRAME.size:
            stream, kind, length = _FRAME.unpack_from(self._buffer)
            end = _FRAME.size + length
            if len(self._buffer) < end:
                return
            payload, self._buffer = self._buffer[_FRAME.size : end], self._buffer[end:]
            yield stream, kind & ~LAST, bool(kind & LAST), payload


def head_payload(start: bytes, headers: list[tuple[bytes, bytes]]) -> bytes:
    """ValueError if it would read as anything else."""
    lines = [start, *(name + b": " + value for name, value in headers)]
    if any(b"\n" in line for line in lines):
        raise ValueError("line feed in a head")
    return b"\n".join(lines)


def read_head(payload: bytes) -> tuple[list[bytes], list[tuple[bytes, bytes]]]:
    """The words of the start line, and the headers."""
    start, *lines = payload.split(b"\n")
    pairs = [line.partition(b": ") for line in lines]
    return start.split(b" ", 2), [(name, value) for name, _, value in pairs]


class MuxClient:
    """What a script writes and reads: requests and responses by stream number."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self._frames = Frames()
        self.status: dict[int, int] = {}
        self.body: dict[int, bytes] = {}
        self.done: list[int] = []
        self.reset: list[int] = []

    def get(self, *streams: int) -> None:
        """Requests in one segment."""
        self.client.send(b"".join(frame(n, HEAD, b"GET /%d host" % n, last=True) for n in streams))

    def read(self) -> None:
        """Take what has come."""
        for stream, kind, last, payload in self._frames.receive(self.client.take()):
            if kind == HEAD:
                self.status[stream] = int(read_head(payload)[0][0])
            elif kind == DATA:
                self.body[stream] = self.body.get(stream, b"") + payload
            elif kind == RESET:
                self.reset.append(stream)
            if last:
                self.done.append(stream)


# -- the client's side of the proxy -----------------------------------------------------------------


class MuxProxyFactory(ProxyFactory):
    """Serves multiplexing clients of an HTTP frontend."""

    def protocol_for(self, info: ConnectionInfo) -> Any:
        return MuxClientConnection(self.frontend, info)


class MuxClientConnection(Protocol):
    """One client connection, with an exchange per stream."""

    def __init__(self, frontend: Any, info: ConnectionInfo) -> None:
        self.frontend = frontend
        self.info = info
        self.streams: dict[int, MuxClientStream] = {}
        self._frames = Frames()
        self._last = False

    def connectionMade(self) -> None:
        note_local(self.info, self.transport)
        self.frontend.clients.add(self)
        self.transport.registerProducer(self, True)

    def dataReceived(self, data: bytes) -> None:
        for number, kind, last, payload in self._frames.receive(data):
            stream = self.streams.get(number)
            if kind == HEAD:
                self._begin(number, payload, last)
            elif stream is not None:
                stream.received(kind, last, payload)

    def _begin(self, number: int, payload: bytes, last: bool) -> None:
        (method, target, host), headers = read_head(payload)
        head = RequestHead(
            method, target, headers, version=20, host=host, length=0 if last else None
        )
        stream = self.streams[number] = MuxClientStream(self, number)
        stream.request_ended = last
        stream.exchange = Exchange(self.frontend, stream, head, self.frontend.now())
        stream.exchange.start(b"", END if last else None)

    def connectionLost(self, reason: Any = None) -> None:
        self.frontend.clients.discard(self)
        self.kill(ProxyError(Kind.CLIENT_GONE))
        self.frontend.depart(self.info)

    def over(self, number: int) -> None:
        """A stream has ended."""
        self.streams.pop(number, None)
        if self._last and not self.streams:
            self.transport.unregisterProducer()
            self.transport.loseConnection()

    # what the frontend calls

    def shut(self) -> None:
        self._last = True
        self.over(-1)

    def kill(self, error: ProxyError) -> None:
        for stream in list(self.streams.values()):
            stream.exchange.client_gone(error)
        self.transport.abortConnection()

    # the transport's back-pressure is everybody's

    def pauseProducing(self) -> None:
        for stream in list(self.streams.values()):
            stream.exchange.client_paused()

    def resumeProducing(self) -> None:
        for stream in list(self.streams.values()):
            stream.exchange.client_resumed()

    def stopProducing(self) -> None:
        pass


class MuxClientStream(ClientStream):
    """One stream of it."""

    exchange: Exchange

    def __init__(self, connection: MuxClientConnection, number: int) -> None:
        self.connection = connection
        self.number = number
        self.info = connection.info
        self.request_ended = False

    def received(self, kind: int, last: bool, payload: bytes) -> None:
        if kind == DATA:
            if payload:
                self.exchange.request_data(payload)
            if last:
                self.request_ended = True
                self.exchange.request_end(END)
        elif kind == PAUSE:
            self.exchange.client_paused()
        elif kind == RESUME:
            self.exchange.client_resumed()
        else:
            self.exchange.client_gone(ProxyError(Kind.CLIENT_GONE, "stream reset"))

    def _write(self, kind: int, payload: bytes = b"", *, last: bool = False) -> None:
        if self.connection.connected:
            self.connection.transport.write(frame(self.number, kind, payload, last=last))

    def send_response(self, head: ResponseHead, data: bytes, end: End | None) -> None:
        payload = head_payload(b"%d %b" % (head.status, head.reason), head.headers)
        self._write(HEAD, payload)
        if data or end is not None:
            self._write(DATA, data, last=end is not None)

    def send_data(self, data: bytes, end: End | None) -> None:
        self._write(DATA, data, last=end is not None)

    def abort(self, error: ProxyError) -> None:
        self._write(RESET)

    def pause_request(self) -> None:
        self._write(PAUSE)

    def resume_request(self) -> None:
        self._write(RESUME)

    def start_tunnel(self) -> tuple[bytes, bool]:
        return b"", False

    def exchange_done(self, *, reuse: bool) -> None:
        if not self.request_ended:
            self._write(RESET)
        self.connection.over(self.number)


# -- the server's side of the proxy -----------------------------------------------------------------


class MuxConnector:
    """Makes connections that carry ``capacity`` streams; those who ask while one is being made share it."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._pending: dict[Any, _Pending] = {}

    def __call__(self, backend: Any, server: Any, waiter: Any) -> Dial:
        pending = self._pending.get(server)
        if pending is None or len(pending.waiters) >= self.capacity:
            pending = self._pending[server] = _Pending(self, backend, server)
        return pending.join(waiter)

    def over(self, pending: _Pending) -> None:
        """It is decided."""
        if self._pending.get(pending.server) is pending:
            del self._pending[pending.server]


class _Pending:
    """One connection being made, and who waits for it."""

    def __init__(self, connector: MuxConnector, backend: Any, server: Any) -> None:
        self.server = server
        self.waiters: list[Any] = []
        self._connector = connector
        protocol = MuxServerConnection(backend, server, connector.capacity, self.connected)
        self._dial = backend.dial(server, protocol, self.failed)

    def join(self, waiter: Any) -> Dial:
        self.waiters.append(waiter)
        return _Place(self, waiter)

    def leave(self, waiter: Any) -> None:
        if waiter in self.waiters:
            self.waiters.remove(waiter)
            if not self.waiters:
                self._connector.over(self)
                self._dial.cancel()

    def connected(self, connection: MuxServerConnection) -> None:
        self._connector.over(self)
        while self.waiters:
            self.waiters.pop(0).connected(connection)

    def failed(self, error: ProxyError) -> None:
        self._connector.over(self)
        while self.waiters:
            self.waiters.pop(0).connect_failed(error)


class _Place(Dial):
    def __init__(self, pending: _Pending, waiter: Any) -> None:
        self._pending = pending
        self._waiter = waiter

    def cancel(self) -> None:
        self._pending.leave(self._waiter)


class MuxServerConnection(Protocol, ServerConnection):
    """A connection to a server, shared."""

    def __init__(self, backend: Any, server: Any, capacity: int, ready: Any) -> None:
        self.backend = backend
        self.server = server
        self.capacity = capacity
        self.pooled = False
        self.streams: dict[int, MuxServerStream] = {}
        self._ready = ready
        self._next = 1
        self._frames = Frames()
        self._closing = False
        self._idle = backend.wheel.timer(self.shut)

    def connectionMade(self) -> None:
        self.transport.registerProducer(self, True)
        self._ready(self)
        self.offer()

    def dataReceived(self, data: bytes) -> None:
        for number, kind, last, payload in self._frames.receive(data):
            stream = self.streams.get(number)
            if stream is not None:
                stream.received(kind, last, payload)

    def connectionLost(self, reason: Any = None) -> None:
        self._withdraw()
        for stream in list(self.streams.values()):
            stream.failed(ProxyError(Kind.SERVER_GONE, "connection lost"))

    @property
    def spare(self) -> int:
        return 0 if self._closing else self.capacity - len(self.streams)

    def open_stream(self, sink: ResponseSink) -> ServerStream:
        assert self.spare > 0
        self._idle.clear()
        stream = self.streams[self._next] = MuxServerStream(self, self._next, sink)
        self._next += 2
        return stream

    def shut(self) -> None:
        self._withdraw()
        if not self.streams:
            self.transport.unregisterProducer()
            self.transport.loseConnection()

    def rest(self) -> None:
        self.offer()

    def offer(self) -> None:
        """Let others use it, if it can carry more."""
        pool = self.backend.pools.get(self.server)
        if self._closing or pool is None or not self.server.listed:
            self.shut()
        elif self.spare:
            pool.put(self)
            if not self.streams:
                self._idle.set(self.backend.spec.pool_idle)

    def _withdraw(self) -> None:
        self._closing = True
        self._idle.close()
        pool = self.backend.pools.get(self.server)
        if pool is not None:
            pool.forget(self)

    def over(self, number: int) -> None:
        """A stream has ended."""
        if self.streams.pop(number, None) is not None and self.connected:
            self.offer()

    def pauseProducing(self) -> None:
        for stream in list(self.streams.values()):
            stream.sink.server_paused()

    def resumeProducing(self) -> None:
        for stream in list(self.streams.values()):
            stream.sink.server_resumed()

    def stopProducing(self) -> None:
        pass


class MuxServerStream(ServerStream):
    """One exchange on it."""

    def __init__(self, connection: MuxServerConnection, number: int, sink: ResponseSink) -> None:
        self.connection = connection
        self.number = number
        self.sink = sink
        self._timer = connection.backend.wheel.timer(self._late)

    def received(self, kind: int, last: bool, payload: bytes) -> None:
        end = [END] if last else []
        if kind == HEAD:
            (status, reason), headers = read_head(payload)
            self._timer.clear()
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
        """It ends without an End."""
        self._timer.close()
        self.connection.over(self.number)
        self.sink.server_failed(error)

    def _late(self) -> None:
        self._write(RESET)
        self.failed(ProxyError(Kind.RESPONSE_TIMEOUT))

    def _write(self, kind: int, payload: bytes = b"", *, last: bool = False) -> None:
        if self.connection.connected:
            self.connection.transport.write(frame(self.number, kind, payload, last=last))

    def send_request(self, head: RequestHead, data: bytes, end: End | None) -> None:
        start = b"%b %b %b" % (head.method, head.target, head.host)
        payload = head_payload(start, head.headers)
        self._timer.set(self.connection.backend.spec.timeout_response)
        self._write(HEAD, payload, last=end is not None and not data)
        if data:
            self._write(DATA, data, last=end is not None)

    def send_body(self, data: bytes, end: End | None) -> None:
        self._write(DATA, data, last=end is not None)

    def pause_response(self) -> None:
        self._write(PAUSE)

    def resume_response(self) -> None:
        self._write(RESUME)

    def start_tunnel(self) -> bytes:
        return b""

    def close(self, *, reuse: bool) -> None:
        self._timer.close()
        if not reuse:
            self._write(RESET)
        self.connection.over(self.number)
