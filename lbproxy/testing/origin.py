"""DATA. Fake servers on a :class:`lbproxy.testing.memory.MemoryReactor`, for HTTP and TCP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Union

from attrs import define, field
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from lbproxy.testing.memory import MemoryReactor
from lbproxy.testing.wire import Headers, Message, MessageReader, WireError, render

__all__ = ["Answer", "HTTPOrigin", "Request", "TCPConnection", "TCPOrigin"]


@define(eq=False)
class Request:
    """A request that an origin received.

    ``peer``: the address of the sender; ``connection`` counts from 1.
    """

    method: str
    target: str
    version: str
    headers: Headers
    body: bytes
    trailers: Headers = field(factory=list)
    peer: str = ""
    connection: int = 0

    @property
    def path(self) -> str:
        """The target up to the ``?``."""
        return self.target.partition("?")[0]

    def header(self, name: str, default: str = "") -> str:
        """Return the first value of the header ``name``, ignoring case."""
        values = self.header_values(name)
        return values[0] if values else default

    def header_values(self, name: str) -> list[str]:
        """Return every value of the header ``name``, in order."""
        return [value for key, value in self.headers if key.lower() == name.lower()]


@define(eq=False)
class Answer:
    """The return value of a handler that needs more than a status or a body.

    ``raw``: sent unchanged, in place of everything else. ``close``: close the connection
    afterwards; ``reset``: abort it.
    """

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(factory=dict)
    reason: str = "Reason"
    raw: bytes | None = None
    close: bool = False
    reset: bool = False
    after: float = 0.0  # seconds to wait before answering


Canned = Union[int, str, bytes, Answer, None]
Handler = Union[Canned, Callable[[Request], Canned]]


class _Listening:
    """Starts, stops and isolates one fake server."""

    def __init__(self, reactor: MemoryReactor, name: str, address: str) -> None:
        self.reactor = reactor
        self.name = name
        self.address = address
        self.hung = False
        self.accepted = 0
        self._port: Any = None
        self._open: list[Any] = []

    def _protocol(self) -> Protocol:
        raise NotImplementedError

    def start(self) -> None:
        """Listen, and answer again after :meth:`hang`. Has no effect on a running server."""
        self.hung = False
        if self._port is None:
            factory = Factory.forProtocol(self._protocol)
            factory.noisy = False
            self._port = _listen(self.reactor, self.address, factory)
        self.reactor.pump()

    def stop(self, *, reset: bool = False) -> None:
        """Refuse connections and close (or ``reset``) existing ones."""
        if self._port is not None:
            self._port.stopListening()
            self._port = None
        for protocol in list(self._open):
            if reset:
                protocol.transport.abortConnection()
            else:
                protocol.transport.loseConnection()
        self.reactor.pump()

    def hang(self) -> None:
        """Accept and read, but never answer, until :meth:`start`."""
        self.hung = True

    def unreachable(self) -> None:
        """Drop everything to and from this server until :meth:`reachable`."""
        self.reactor.partition(self.address)

    def reachable(self) -> None:
        """Undo :meth:`unreachable`."""
        self.reactor.heal(self.address)
        self.reactor.pump()

    @property
    def open(self) -> int:
        """The number of open connections."""
        return len(self._open)


class HTTPOrigin(_Listening):
    """A fake HTTP/1.1 server.

    ``handler``: a status, a body, an :class:`Answer`, or a function from :class:`Request` to one of
    these. If the function returns None, the server does not answer. Every response has
    ``X-Origin: NAME``. ``requests`` has all requests, including those received while hung.
    """

    def __init__(
        self, reactor: MemoryReactor, name: str, address: str, handler: Handler = b"ok"
    ) -> None:
        super().__init__(reactor, name, address)
        self.handler = handler
        self.requests: list[Request] = []
        self.start()

    def _protocol(self) -> Protocol:
        return _HTTPServer(self)

    def answer(self, request: Request) -> Answer | None:
        """Return the response to ``request``."""
        canned: Canned = self.handler(request) if callable(self.handler) else self.handler
        if isinstance(canned, int):
            return Answer(status=canned)
        if isinstance(canned, str):
            return Answer(body=canned.encode())
        if isinstance(canned, bytes):
            return Answer(body=canned)
        return canned


class _HTTPServer(Protocol):
    """A connection of an :class:`HTTPOrigin`; it answers strictly in order."""

    def __init__(self, origin: HTTPOrigin) -> None:
        self._origin = origin
        self._reader = MessageReader(responses=False)
        self._waiting: list[Request] = []
        self._number = 0

    def connectionMade(self) -> None:
        self._origin.accepted += 1
        self._number = self._origin.accepted
        self._origin._open.append(self)

    def connectionLost(self, reason: Any = None) -> None:
        self._origin._open.remove(self)

    def dataReceived(self, data: bytes) -> None:
        try:
            messages = self._reader.receive(data)
        except WireError:
            self.transport.abortConnection()  # type: ignore[union-attr]
            return
        for message in messages:
            self._request(message)

    def _request(self, message: Message) -> None:
        method, target, version = message.start.split(" ", 2)
        peer = self.transport.getPeer()  # type: ignore[union-attr]
        request = Request(
            method=method,
            target=target,
            version=version,
            headers=message.headers,
            body=message.body,
            trailers=message.trailers,
            peer=getattr(peer, "host", ""),
            connection=self._number,
        )
        self._origin.requests.append(request)
        self._waiting.append(request)
        if len(self._waiting) == 1:
            self._serve()

    def _serve(self) -> None:
        if self._origin.hung or not self._waiting:
            return
        answer = self._origin.answer(self._waiting[0])
        if answer is None:
            return
        if answer.after:
            self._origin.reactor.callLater(answer.after, self._send, answer)
        else:
            self._send(answer)

    def _send(self, answer: Answer) -> None:
        transport: Any = self.transport
        if not transport.connected or self._origin.hung:
            return
        request = self._waiting.pop(0)
        if answer.raw is not None:
            transport.write(answer.raw)
        else:
            transport.write(self._render(answer, request))
        if answer.reset:
            self._origin.reactor.soon(self._origin.reactor.soon, transport.abortConnection)
        elif answer.close or request.header("connection").lower() == "close":
            transport.loseConnection()
        else:
            self._serve()

    def _render(self, answer: Answer, request: Request) -> bytes:
        headers = [("X-Origin", self._origin.name), *answer.headers.items()]
        names = {name.lower() for name, _ in headers}
        if not names & {"content-length", "transfer-encoding"} and answer.status not in (204, 304):
            headers.append(("Content-Length", str(len(answer.body))))
        if answer.close and "connection" not in names:
            headers.append(("Connection", "close"))
        body = b"" if request.method == "HEAD" else answer.body
        return render(f"HTTP/1.1 {answer.status} {answer.reason}", headers, body)


class TCPOrigin(_Listening):
    """A fake TCP server.

    ``handler``: ``"echo"``, a function from the bytes received to the bytes to send (or None), or
    None to only collect bytes. ``connections`` has all connections, including ended ones.
    """

    def __init__(
        self,
        reactor: MemoryReactor,
        name: str,
        address: str,
        handler: str | Callable[[bytes], bytes | None] | None = None,
    ) -> None:
        super().__init__(reactor, name, address)
        self.handler: Callable[[bytes], bytes | None] | None
        if handler == "echo":
            self.handler = lambda data: data
        elif handler is None or callable(handler):
            self.handler = handler
        else:
            raise ValueError(f"handler is 'echo', a function or None, not {handler!r}")
        self.connections: list[TCPConnection] = []
        self.start()

    def _protocol(self) -> Protocol:
        return TCPConnection(self)


@implementer(IHalfCloseableProtocol)
class TCPConnection(Protocol):
    """A connection of a :class:`TCPOrigin`:

    ``received``, ``finished`` (FIN received), ``closed``.
    """

    def __init__(self, origin: TCPOrigin) -> None:
        self._origin = origin
        self.received = b""
        self.finished = False
        self.closed = False
        self.reason: Failure | None = None

    def connectionMade(self) -> None:
        """See :class:`twisted.internet.protocol.Protocol`."""
        self._origin.accepted += 1
        self._origin._open.append(self)
        self._origin.connections.append(self)

    def dataReceived(self, data: bytes) -> None:
        """See :class:`twisted.internet.protocol.Protocol`."""
        self.received += data
        if self._origin.handler is not None and not self._origin.hung:
            reply = self._origin.handler(data)
            if reply:
                self.transport.write(reply)  # type: ignore[union-attr]

    def readConnectionLost(self) -> None:
        """The peer has half-closed: close too, once everything is written, if answering is
        automatic.
        """
        self.finished = True
        if self._origin.handler is not None:
            self.transport.loseConnection()  # type: ignore[union-attr]

    def writeConnectionLost(self) -> None:
        """See :class:`twisted.internet.interfaces.IHalfCloseableProtocol`."""

    def connectionLost(self, reason: Any = None) -> None:
        """See :class:`twisted.internet.protocol.Protocol`."""
        self.closed = True
        self.reason = reason
        self._origin._open.remove(self)

    def send(self, data: bytes) -> None:
        """Write bytes and deliver them."""
        self.transport.write(data)  # type: ignore[union-attr]
        self._origin.reactor.pump()

    def close(self) -> None:
        """Close the connection cleanly."""
        self.transport.loseConnection()  # type: ignore[union-attr]
        self._origin.reactor.pump()

    def half_close(self) -> None:
        """Send a FIN and continue reading."""
        self.transport.loseWriteConnection()  # type: ignore[union-attr]
        self._origin.reactor.pump()

    def abort(self) -> None:
        """Reset the connection."""
        self.transport.abortConnection()  # type: ignore[union-attr]
        self._origin.reactor.pump()

    def pause(self) -> None:
        """Stop reading, so that the peer experiences back-pressure."""
        self.transport.pauseProducing()  # type: ignore[union-attr]

    def resume(self) -> None:
        """Continue reading."""
        self.transport.resumeProducing()  # type: ignore[union-attr]
        self._origin.reactor.pump()


def _listen(reactor: MemoryReactor, address: str, factory: Any) -> Any:
    if address.startswith(("/", "unix:")):
        return reactor.listenUNIX(address.removeprefix("unix:"), factory)
    host, _, port = address.rpartition(":")
    return reactor.listenTCP(int(port), factory, interface=host.strip("[]"))
