"""A small multiplexing protocol, and clients that speak it: exchanges do not need a connection
each.

A frame is stream number (4 bytes), type (1), length (4) and payload. HEAD carries a start line and
header lines, DATA bytes, RESET nothing, PAUSE and RESUME ask the other side to stop and go on with
the data of one stream. The bit LAST on HEAD or DATA says that the sender's side of the stream is
complete. LIMIT carries the number of streams that the sender accepts at a time; LEAVE announces
that it accepts no new ones. :mod:`tests.extending.mux` speaks it to servers.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

from twisted.internet.protocol import Protocol

from lbproxy.errors import Kind, ProxyError
from lbproxy.http.message import END, End, RequestHead, ResponseHead
from lbproxy.proxy.accept import ProxyFactory
from lbproxy.proxy.http.exchange import Exchange
from lbproxy.proxy.http.streams import (
    ClientStream,
    ConnectionInfo,
)
from lbproxy.proxy.info import note_local

HEAD, DATA, RESET, PAUSE, RESUME, LIMIT, LEAVE = range(1, 8)
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


# -- the client's side of the proxy --------------------------------------------------------------


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


class ScriptedServer:
    """The end of one connection that a script controls."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.frames = Frames()
        self.seen = 0
        self.open: dict[bytes, int] = {}

    def read(self) -> list[bytes]:
        """The paths of the requests that have come and are not answered."""
        received = self.connection.received
        new, self.seen = received[self.seen :], len(received)
        for stream, kind, _, payload in self.frames.receive(new):
            if kind == HEAD:
                self.open[read_head(payload)[0][1]] = stream
        return list(self.open)

    def answer(self, path: bytes) -> None:
        stream = self.open.pop(path)
        self.connection.send(frame(stream, HEAD, b"200 OK"))
        self.connection.send(frame(stream, DATA, path, last=True))

    def say(self, kind: int, payload: bytes = b"") -> None:
        self.connection.send(frame(0, kind, payload))
