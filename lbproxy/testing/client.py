"""DATA. Fake clients on a :class:`lbproxy.testing.memory.MemoryReactor`: raw connections and HTTP
requests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import define, field
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import ClientFactory, Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from lbproxy.testing.memory import MemoryReactor
from lbproxy.testing.wire import Headers, Message, MessageReader, WireError

if TYPE_CHECKING:
    from OpenSSL import SSL

__all__ = ["Client", "NoResponse", "PendingResponse", "Response"]


class NoResponse(AssertionError):
    """The connection ended, or the time expired, before a complete response arrived."""


@define(eq=False)
class Response:
    """A complete response.

    ``server``: the name of the fake origin that sent it, "" if lbproxy itself responded.

    ``interim``: the statuses of preceding 1xx responses. ``closed``: whether the connection was
    closed afterwards.
    """

    status: int
    headers: Headers
    body: bytes
    trailers: Headers = field(factory=list)
    reason: str = ""
    version: str = "HTTP/1.1"
    interim: list[int] = field(factory=list)
    closed: bool = False

    @property
    def server(self) -> str:
        """The name of the origin that sent the response, "" if lbproxy itself responded."""
        return self.header("X-Origin")

    @property
    def text(self) -> str:
        """The body as UTF-8."""
        return self.body.decode()

    def header(self, name: str, default: str = "") -> str:
        """Return the first value of the header ``name``, ignoring case."""
        values = self.header_values(name)
        return values[0] if values else default

    def header_values(self, name: str) -> list[str]:
        """Return every value of the header ``name``, in order."""
        return [value for key, value in self.headers if key.lower() == name.lower()]


@implementer(IHalfCloseableProtocol)
class Client(Protocol):
    """A raw client connection. Every method lets the network settle before it returns.

    - ``received``: all bytes received so far.
    - ``established``: whether it was connected.
    - ``finished``: whether the peer has sent its FIN.
    - ``closed``: whether it has ended; ``reason`` is the Failure (ConnectionDone is a clean close).
    """

    def __init__(self, reactor: MemoryReactor) -> None:
        self.reactor = reactor
        self.received = b""
        self.established = False
        self.finished = False
        self.closed = False
        self.reason: Failure | None = None
        self.reader = MessageReader(responses=True)
        self.responses: list[Response] = []
        self._http = False

    def connectionMade(self) -> None:
        """See :class:`twisted.internet.protocol.Protocol`."""
        self.established = True

    def dataReceived(self, data: bytes) -> None:
        """See :class:`twisted.internet.protocol.Protocol`."""
        self.received += data
        if self._http:
            for message in self.reader.receive(data):
                self._answered(message)

    def readConnectionLost(self) -> None:
        """See :class:`twisted.internet.interfaces.IHalfCloseableProtocol`."""
        self.finished = True
        self._end_of_data()

    def writeConnectionLost(self) -> None:
        """See :class:`twisted.internet.interfaces.IHalfCloseableProtocol`."""

    def connectionLost(self, reason: Failure | None = None) -> None:
        """See :class:`twisted.internet.protocol.Protocol`."""
        self.closed = self.finished = True
        self.reason = reason
        self._end_of_data()

    @property
    def reset(self) -> bool:
        """True if the connection has ended uncleanly."""
        from twisted.internet.error import ConnectionDone

        return self.closed and self.reason is not None and not self.reason.check(ConnectionDone)

    def take(self) -> bytes:
        """Return the bytes received since the last call."""
        data, self.received = self.received, b""
        return data

    def send(self, data: bytes) -> None:
        """Write bytes."""
        self.transport.write(data)  # type: ignore[union-attr]
        self.reactor.pump()

    def close(self) -> None:
        """Close the connection cleanly."""
        if self.transport is not None:
            self.transport.loseConnection()
        self.reactor.pump()

    def half_close(self) -> None:
        """Send a FIN and continue reading."""
        self.transport.loseWriteConnection()  # type: ignore[union-attr]
        self.reactor.pump()

    def abort(self) -> None:
        """Reset the connection."""
        self.transport.abortConnection()  # type: ignore[union-attr]
        self.reactor.pump()

    def pause(self) -> None:
        """Stop reading, so that the peer experiences back-pressure."""
        self.transport.pauseProducing()  # type: ignore[union-attr]

    def resume(self) -> None:
        """Continue reading."""
        self.transport.resumeProducing()  # type: ignore[union-attr]
        self.reactor.pump()

    def request(self, method: str, raw: bytes) -> PendingResponse:
        """Send ``raw``, a complete request with the method ``method``.

        May be called again at once (pipelining).
        """
        self._http = True
        self.reader.expect(method)
        pending = PendingResponse(self, len(self.responses) + len(self.reader._methods) - 1)
        self.send(raw)
        return pending

    def _answered(self, message: Message) -> None:
        version, status, *reason = message.start.split(" ", 2)
        interim = [int(m.start.split(" ", 2)[1]) for m in self.reader.interim]
        self.reader.interim = []
        self.responses.append(
            Response(
                status=int(status),
                headers=message.headers,
                body=message.body,
                trailers=message.trailers,
                reason=reason[0] if reason else "",
                version=version,
                interim=interim,
            )
        )

    def _end_of_data(self) -> None:
        if not self._http:
            return
        try:
            last = self.reader.close()
        except WireError:
            last = None
        if last is not None:
            self._answered(last)


@define(eq=False)
class PendingResponse:
    """A response that may not have arrived yet."""

    client: Client
    _index: int

    @property
    def response(self) -> Response | None:
        """The complete response, or None before it arrives."""
        if self._index >= len(self.client.responses):
            return None
        response = self.client.responses[self._index]
        response.closed = self.client.finished
        return response

    @property
    def failed(self) -> bool:
        """True if the connection ended without a response."""
        return self.response is None and self.client.finished

    def wait(self, within: float = 60.0) -> Response:
        """Return the response.

        At most ``within`` seconds of virtual time pass, and no more than needed.

        Raises :class:`NoResponse`.
        """
        reactor = self.client.reactor
        reactor.advance_until(lambda: self.response is not None or self.client.finished, within)
        response = self.response
        if response is not None:
            return response
        so_far = self.client.received[-200:]
        why = "the connection ended" if self.client.finished else f"nothing for {within:g} s"
        raise NoResponse(f"{why}; received {so_far!r}")


class _Factory(ClientFactory):
    """Creates one :class:`Client`."""

    noisy = False

    def __init__(self, client: Client) -> None:
        self._client = client

    def buildProtocol(self, addr: Any) -> Client:
        return self._client

    def clientConnectionFailed(self, connector: Any, reason: Any) -> None:
        self._client.closed = self._client.finished = True
        self._client.reason = reason


def open_client(
    reactor: MemoryReactor,
    host: str,
    port: int,
    *,
    client_ip: str = "",
    tls_name: str | None = None,
    context: SSL.Context | None = None,
    timeout: float = 30.0,
) -> Client:
    """Return a :class:`Client` that is connected, refused or still connecting to ``host:port``.

    Port -1: ``host`` is a Unix path. ``tls_name``: use TLS and send this server name. ``context``:
    its pyOpenSSL Context; the default accepts any certificate.
    """
    client = Client(reactor)
    factory: Any = _Factory(client)
    if tls_name is not None:
        factory = _tls_factory(factory, tls_name, context, reactor)
    if port < 0:
        reactor.connectUNIX(host, factory, timeout)
    else:
        source = (client_ip, 0) if client_ip else None
        reactor.connectTCP(host, port, factory, timeout, source)
    reactor.pump()
    return client


def _tls_factory(factory: Any, name: str, context: Any, reactor: Any) -> Any:
    from OpenSSL import SSL
    from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
    from twisted.protocols.tls import TLSMemoryBIOFactory

    if context is None:
        context = SSL.Context(SSL.TLS_METHOD)

    @implementer(IOpenSSLClientConnectionCreator)
    class Creator:
        def clientConnectionForTLS(self, protocol: Any) -> SSL.Connection:
            connection = SSL.Connection(context, None)
            if name and not name.replace(".", "").isdigit() and ":" not in name:
                connection.set_tlsext_host_name(name.encode("idna"))
            return connection

    wrapper = TLSMemoryBIOFactory(Creator(), True, factory, reactor)
    wrapper.noisy = False
    return wrapper
