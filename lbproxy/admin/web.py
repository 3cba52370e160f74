"""CONTROL. Requests on the admin side: twisted.web's HTTP, and the rules before a route's handler is called.

1.  At most :data:`CONNECTIONS` connections; when there are more, those that have not said who they are go first, and
    :data:`RESERVED` are kept from callers that may only read.  At most :data:`BODY` bytes of body and 16 KiB of head,
    all of it within :data:`PATIENCE`.  One request of a connection in a turn of the reactor, and a bounded share of the
    process's time for each role (:mod:`lbproxy.admin.pace`).
2.  ``Host`` is localhost, an IP address or a name in ``admin_hosts``, unless the client proves who it is: a page from
    elsewhere whose name was made to lead here (DNS rebinding) gets nothing.
3.  Who may not, gets 401 or 403.  Neither rule applies to the paths that ``admin_public`` opens to everybody.
4.  No cookies, no CORS.  What changes something needs a token, or a header that a page from elsewhere cannot send
    without asking first (``Content-Type: application/json`` or ``X-Requested-With``), and our own ``Origin``.
5.  An error is JSON: ``{"error": {"status": 404, "message": "..."}}``; never a traceback.
"""

# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import json
import socket
from collections.abc import Awaitable, Iterator
from inspect import isawaitable
from struct import Struct
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.interfaces import IAddress, IPushProducer
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel, Request
from zope.interface import implementer

from lbproxy.admin.auth import Identity, Role
from lbproxy.admin.door import Door
from lbproxy.admin.pace import LONGEST, Pace
from lbproxy.admin.route import APIError, APIRoute, Call, Raw, WrongMethod
from lbproxy.admin.schema import Schema, problem
from lbproxy.admin.stream import BEHIND, Follower, Stream
from lbproxy.admin.view import AdminView
from lbproxy.guard.addresses import address_number
from lbproxy.proxy.ratelog import Quiet

__all__ = [
    "BODY",
    "CONNECTIONS",
    "PATIENCE",
    "RESERVED",
    "AdminChannel",
    "AdminFactory",
    "AdminRequest",
]

_log = Logger()
_quiet = Quiet(_log)

BODY = 64 * 1024
"""Bytes of the largest request body."""

CONNECTIONS = 200
"""How many may be open at each address."""

RESERVED = 20
"""Connections at each address that callers with the role ``read`` cannot take."""

PATIENCE = 60.0
"""Seconds from the end of an answer, or the beginning of the connection, to the end of the next request."""

_LINGER = 16 * 1024 * 1024  # bytes of a refused body that are read, so that the client sees why
_PEER_CREDENTIALS: int | None = getattr(socket, "SO_PEERCRED", None)  # Linux
_CREDENTIALS = Struct("iII")  # struct ucred: pid, uid, gid
_CHANGES = ("POST", "PUT", "PATCH", "DELETE")

SECURITY = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""On every answer."""


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


class AdminChannel(HTTPChannel):
    """Twisted's HTTP/1 server with bounded bodies and errors in JSON."""

    transport: Any
    maxHeaders = 100
    refusing = -1  # bytes of a refused body still to be thrown away; negative: not refusing
    _turn: Any = None  # when the next request is read

    def allHeadersReceived(self) -> None:
        """A body that is too long is refused before it is read."""
        if self.length is not None and self.length > BODY:
            self.too_long()
            self.length = 0
            return
        super().allHeadersReceived()

    def allContentReceived(self) -> None:
        """The request is complete."""
        if self.refusing < 0:
            super().allContentReceived()

    def requestDone(self, request: Any) -> None:
        """The answer is sent: read the next request in another turn, so that traffic comes in between."""
        super().requestDone(request)
        if self.persistent and self.refusing < 0:
            self._handlingRequest = True  # bytes that come meanwhile are kept
            self.setRawMode()
            self._turn = self.callLater(0, self._next_request)

    def _next_request(self) -> None:
        self._turn = None
        self._handlingRequest = False
        data = b"".join(self._dataBuffer)
        self._dataBuffer = []
        self.setLineMode(data)

    def connectionLost(self, reason: Any = None) -> None:
        """Closed."""
        turn, self._turn = self._turn, None
        if turn is not None:
            turn.cancel()
        super().connectionLost(reason)

    def lineReceived(self, line: bytes) -> None:
        """A line of the head."""
        if self.refusing < 0:
            super().lineReceived(line)

    def rawDataReceived(self, data: bytes) -> None:
        """A piece of the body."""
        if self.refusing < 0:
            super().rawDataReceived(data)

    def dataReceived(self, data: bytes) -> None:
        """Bytes."""
        if self.refusing < 0:
            super().dataReceived(data)
            return
        self.refusing -= len(data)
        if self.refusing < 0:
            self.refusing = 0
            self.forceAbortClient()

    def resetTimeout(self) -> None:
        """Bytes move no deadline: who sends a letter a minute is not waited for."""

    def too_long(self) -> None:
        """413, and nothing after it."""
        error = APIError(413, f"the body is longer than {BODY} bytes")
        self.refuse(b"413 Content Too Large", error)

    def refuse(self, line: bytes, error: APIError) -> None:
        """Answer outside of any request, read on for a while, and close."""
        if self.refusing >= 0:
            return
        body = _json(error.as_dict())
        head = b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nConnection: close\r\n" % line
        self.transport.write(b"%sContent-Length: %d\r\n\r\n%s" % (head, len(body), body))
        self.refusing = _LINGER
        self.setTimeout(2.0)
        half = getattr(self.transport, "loseWriteConnection", None)
        if half is not None:
            half()

    def _respondToBadRequestAndDisconnect(self) -> None:
        self.refuse(b"400 Bad Request", APIError(400, "invalid request"))

    def timeoutConnection(self) -> None:
        """Idle, or refused: nobody is told."""
        if self.refusing >= 0:
            self.transport.abortConnection()
        else:
            self._abortingCall = self.callLater(5.0, self.forceAbortClient)
            self.loseConnection()

    def forceAbortClient(self) -> None:
        """It does not go by itself."""
        self._abortingCall = None
        self.transport.abortConnection()


class AdminFactory(Factory):
    """Makes the connections of one admin address."""

    noisy = False

    def __init__(self, admin: AdminView, door: Door) -> None:
        self.admin = admin
        self.door = door
        self.channels: dict[_Counted, None] = {}  # in the order they came

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """See IProtocolFactory; None closes the connection."""
        if len(self.channels) >= CONNECTIONS and not self._make_room():
            _quiet.warn("admin full", "admin: more than {n} connections refused", n=CONNECTIONS)
            return None
        return _Counted(self)

    def _make_room(self) -> bool:
        """Cut the oldest connection of somebody unknown; False if there is none."""
        for channel in self.channels:
            if not channel.known:
                del self.channels[channel]
                channel.transport.abortConnection()
                return True
        return False

    def limit_readers(self, newest: _Counted) -> None:
        """Cut the oldest connection of a caller that may only read, if they have too many."""
        readers = [one for one in self.channels if one.role is Role.READ and one is not newest]
        if newest.role is Role.READ and len(readers) >= CONNECTIONS - RESERVED:
            oldest = readers[0]
            del self.channels[oldest]
            oldest.transport.abortConnection()

    def log(self, request: Any) -> None:
        """What twisted.web calls for each request: nothing, changes are logged by themselves."""

    def close(self) -> None:
        """Cut every connection."""
        for channel in list(self.channels):
            channel.transport.abortConnection()


class _Counted(AdminChannel):
    role = Role.NONE  # of the last caller

    @property
    def known(self) -> bool:
        """It had a request from a caller who may do something here."""
        return self.role is not Role.NONE

    def __init__(self, factory: AdminFactory) -> None:
        super().__init__()
        self.factory = factory
        self.site = factory
        self.requestFactory = AdminRequest
        self.timeOut = PATIENCE  # type: ignore[assignment]
        self.callLater = factory.admin.reactor.callLater  # type: ignore[method-assign]

    def connectionMade(self) -> None:
        """Accepted."""
        self.factory.channels[self] = None
        super().connectionMade()

    def connectionLost(self, reason: Any = None) -> None:
        """Closed."""
        self.factory.channels.pop(self, None)
        super().connectionLost(reason)


class AdminRequest(Request):
    """One request; :meth:`process` does all of it."""

    _parsePOSTFormSubmission = False
    _size = 0
    _audit: tuple[AdminView, Call, APIRoute] | None = None

    def handleContentChunk(self, data: bytes) -> None:
        """A piece of the body."""
        self._size += len(data)
        if self._size > BODY:
            channel: Any = self.channel
            if channel.refusing < 0:
                channel.too_long()
            return
        super().handleContentChunk(data)

    # -- one request, from its end to its answer ------------------------------------------------

    def process(self) -> None:
        """The whole request is here: answer it, at the pace of the caller's role."""
        channel: Any = self.channel
        factory: AdminFactory = channel.factory
        for name, value in SECURITY.items():
            self.setHeader(name, value)
        admin = factory.admin
        who = factory.door.who(self._certificate(), self._token(), self._uid())
        pace = admin.paces[who.role]
        wait = pace.reserve()
        if wait > LONGEST:
            self.setHeader("Retry-After", str(round(wait)))
            self._refuse(APIError(429, "there are too many requests: ask less often"))
        elif wait > 0:
            call = admin.reactor.callLater(wait, self._paced, who, pace)
            self.notifyFinish().addErrback(lambda _: call.active() and call.cancel())
        else:
            self._paced(who, pace)

    def _paced(self, who: Identity, pace: Pace) -> None:
        channel: Any = self.channel
        factory: AdminFactory = channel.factory
        now = factory.admin.reactor.seconds
        start = now()
        self._run(factory, who)
        pace.spent(now() - start)

    def _run(self, factory: AdminFactory, who: Identity) -> None:
        try:
            result = self._answer(factory.admin, factory.door, who)
            if isawaitable(result):
                self._wait(result)
            else:
                self._send(result)
        except APIError as error:
            self._refuse(error)
        except Exception:
            self._failed(Failure())

    def _wait(self, result: Awaitable[Any]) -> None:
        waiting: Deferred[Any] = (
            result if isinstance(result, Deferred) else ensureDeferred(result)  # type: ignore[arg-type]
        )
        self.notifyFinish().addErrback(lambda _: waiting.cancel())
        waiting.addCallback(self._send)
        waiting.addErrback(self._failed)

    def _answer(self, admin: AdminView, door: Door, who: Identity) -> Any:
        method = self.method.decode("ascii", "replace")
        path, _, query = self.uri.decode("ascii", "replace").partition("?")
        public = self._is_public(admin, method, path)
        self._check_host(admin, who, public)
        channel: Any = self.channel
        if who.role is Role.NONE and not public:
            self._check_open(admin, method, path)
        elif channel.role is not who.role:
            channel.role = who.role
            channel.factory.limit_readers(channel)
        route, names = admin.table.match(method, path)
        if route.role > who.role and not public:
            self._forbid(route, who, door)
        if method in _CHANGES:
            self._check_source(who, route)
        call = Call(
            admin,
            who,
            names,
            _read_query(query, route),
            self._read_body(route),
            self._header("accept"),
            _number(self._header("last-event-id")),
        )
        if route.role is Role.WRITE:
            self._audit = (admin, call, route)
        return route.handler(call)

    # -- who, and from where --------------------------------------------------------------------

    def _header(self, name: str) -> str:
        """Any bytes, one character each (RFC 9110, 5.5); "" without."""
        return (self.getHeader(name.encode()) or b"").decode("latin-1")

    def _token(self) -> bytes | None:
        value = self._header("authorization")
        kind, _, token = value.partition(" ")
        return token.strip().encode("latin-1") if kind.lower() == "bearer" else None

    def _certificate(self) -> str:
        """The name in the client's certificate, "" without one; it was verified in the handshake."""
        transport: Any = self.channel.transport if self.channel is not None else None
        get = getattr(transport, "getPeerCertificate", None)
        certificate = get() if get is not None else None
        return "" if certificate is None else str(certificate.get_subject().CN or "certificate")

    @staticmethod
    def _is_public(admin: AdminView, method: str, path: str) -> bool:
        """Return whether ``admin_public`` opens this path to everybody."""
        return method in ("GET", "HEAD") and any(
            route.path == path for route in admin.table.routes if route.public in admin.public
        )

    def _uid(self) -> int | None:
        """Return the user of the process at the other end of a Unix socket; None if unknown."""
        transport: Any = self.channel.transport if self.channel is not None else None
        sock: Any = getattr(transport, "socket", None)
        family = getattr(sock, "family", None)
        if family != socket.AF_UNIX or _PEER_CREDENTIALS is None:
            return None
        raw = sock.getsockopt(socket.SOL_SOCKET, _PEER_CREDENTIALS, _CREDENTIALS.size)
        return int(_CREDENTIALS.unpack(raw)[1])

    def _check_host(self, admin: AdminView, who: Identity, public: bool) -> None:
        hosts = self.requestHeaders.getRawHeaders(b"host") or []
        if self.clientproto == b"HTTP/1.1" and len(hosts) != 1:
            raise APIError(400, "the request must have exactly one Host header")
        if who.proven or public or not hosts:
            return
        name = _host_name(hosts[0].decode("latin-1"))
        if name in ("localhost", *admin.hosts) or address_number(name) >= 0:
            return
        raise APIError(
            421, f"Host {name[:100]!r} is not accepted without a token: add it to admin_hosts"
        )

    def _check_open(self, admin: AdminView, method: str, path: str) -> None:
        """Nobody learns without a token which paths there are."""
        for route in admin.table.routes:
            if route.role is Role.NONE and route.path == path and method in ("GET", "HEAD"):
                return
        self._unknown()

    def _unknown(self) -> None:
        self.setHeader("WWW-Authenticate", 'Bearer realm="lbproxy"')
        if self._token() is not None:
            _quiet.warn("admin token", "admin: a wrong token was sent from {ip}", ip=self._peer())
            raise APIError(401, "unknown token")
        raise APIError(401, "a token is required: Authorization: Bearer TOKEN")

    def _peer(self) -> str:
        return str(getattr(self.getClientAddress(), "host", "") or "a unix socket")

    def _forbid(self, route: APIRoute, who: Identity, door: Door) -> None:
        if who.role is Role.NONE:
            self._unknown()
        where = " at this address" if door.role < route.role else ""
        raise APIError(
            403, f"{who.name} may not do this{where}: the role {route.role.word} is required"
        )

    def _check_source(self, who: Identity, route: APIRoute) -> None:
        """Not from a page of somebody else's, in the browser of somebody who may."""
        origin = self._header("origin")
        host = self._header("host")
        if origin and (not host or _authority(origin) != host.lower()):
            raise APIError(403, f"changes are not accepted from the origin {origin[:200]}")
        if self._header("sec-fetch-site") not in ("", "same-origin", "none"):
            raise APIError(403, "changes are not accepted from other sites")
        kind = self._header("content-type").partition(";")[0].strip().lower()
        by_header = kind == "application/json" or self._header("x-requested-with")
        if self._token() is None and not by_header:
            raise APIError(
                403, "a change requires a token, Content-Type: application/json or X-Requested-With"
            )
        if route.body is not None and kind not in ("application/json", ""):
            raise APIError(415, f"the body is {kind[:80]}; only application/json is accepted")

    def _read_body(self, route: APIRoute) -> Any:
        content: Any = self.content
        data = content.read() if content is not None else b""
        if route.body is None:
            if data.strip() not in (b"", b"{}"):
                raise APIError(400, "this request takes no body")
            return None
        try:
            value = json.loads(data or b"{}", parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            raise APIError(400, f"the body is not JSON: {error}") from None
        wrong = problem(value, route.body)
        if wrong:
            raise APIError(400, wrong)
        return value

    # -- the answer -----------------------------------------------------------------------------

    def _send(self, result: Any) -> None:
        if self._disconnected:
            return
        if isinstance(result, Stream):
            self._follow(result)
            return
        if isinstance(result, Raw):
            self.setHeader("Content-Type", result.content_type)
            channel: Any = self.channel
            reactor = channel.factory.admin.reactor
            _Chunks(self, iter(result.chunks), reactor).start()
            return
        self._finish(200, _json(result))

    def _finish(self, status: int, body: bytes) -> None:
        if self._audit is not None:
            admin, call, route = self._audit
            admin.audit(call, route, status)
        self.setResponseCode(status)
        self.setHeader("Content-Type", "application/json")
        self.setHeader("Content-Length", str(len(body)))
        self.write(body)
        self.finish()

    def _refuse(self, error: APIError) -> None:
        if isinstance(error, WrongMethod):
            self.setHeader("Allow", ", ".join(error.allowed))
        self._finish(error.status, _json(error.as_dict()))

    def _failed(self, failure: Failure) -> None:
        if self._disconnected or self.finished:
            return
        if isinstance(failure.value, APIError) and not self.startedWriting:
            self._refuse(failure.value)
            return
        _quiet.failure("admin failed", "admin: {path} failed", failure, path=ascii(self.path)[2:-1])
        if self.startedWriting:
            self.loseConnection()
        else:
            self._refuse(APIError(500, "internal error; see the log of lbproxy"))

    def _follow(self, stream: Stream) -> None:
        channel: Any = self.channel
        admin: AdminView = channel.factory.admin
        if self.method == b"HEAD":
            self.setHeader("Content-Type", "text/event-stream")
            self.finish()
            return
        transport: Any = channel.transport
        follower = Follower(self.write, transport.abortConnection, admin.reactor.callLater)
        admin.following(follower, channel.role)  # APIError 503 when there are too many
        self.setHeader("Content-Type", "text/event-stream")
        self.setHeader("X-Accel-Buffering", "no")
        self.notifyFinish().addBoth(lambda _: admin.unfollowed(follower))
        self.write(b"")
        self.registerProducer(follower, True)
        follower.start(stream)


@implementer(IPushProducer)
class _Chunks:
    """Sends an answer piece by piece, one for each turn of the reactor, as the client takes them.

    A client that takes nothing for :data:`lbproxy.admin.stream.BEHIND` seconds is cut.
    """

    def __init__(self, request: AdminRequest, chunks: Iterator[bytes], reactor: Any) -> None:
        self._request = request
        self._chunks = chunks
        self._reactor = reactor
        self._call: Any = None
        self._patience: Any = None
        self._paused = False

    def start(self) -> None:
        """Begin."""
        if self._request.method == b"HEAD":
            self._request.finish()
            return
        self._request.notifyFinish().addBoth(lambda _: self.stopProducing())
        self._request.registerProducer(self, True)
        self._next()

    def _next(self) -> None:
        self._call = None
        try:
            chunk = next(self._chunks, None)
        except Exception:
            self._request.unregisterProducer()
            self._request._failed(Failure())
            return
        if chunk is None:
            self._request.unregisterProducer()
            self._request.finish()
            return
        self._request.write(chunk)
        self._soon()

    def _soon(self) -> None:
        if not self._paused and self._call is None:
            self._call = self._reactor.callLater(0, self._next)

    def pauseProducing(self) -> None:
        """The client takes no more for now."""
        self._paused = True
        if self._patience is None:
            self._patience = self._reactor.callLater(BEHIND, self._cut)
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def resumeProducing(self) -> None:
        """It does again."""
        self._wait_no_more()
        self._paused = False
        self._soon()

    def stopProducing(self) -> None:
        """It is gone, or has all."""
        self.pauseProducing()
        self._wait_no_more()

    def _wait_no_more(self) -> None:
        call, self._patience = self._patience, None
        if call is not None and call.active():
            call.cancel()

    def _cut(self) -> None:
        channel: Any = self._request.channel
        if channel is not None:
            channel.forceAbortClient()


def _host_name(value: str) -> str:
    """The name in ``Host``, lower case, without port and brackets."""
    text = value.strip().lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0]


def _authority(origin: str) -> str:
    """Host and port in ``Origin``, lower case; "" for ``null`` and for what is none."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else 0


def _read_query(text: str, route: APIRoute) -> dict[str, Any]:
    values = {
        name: schema["default"] for name, schema in route.query.items() if "default" in schema
    }
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=50)
    except ValueError:
        raise APIError(400, "too many parameters") from None
    for name, value in pairs:
        schema = route.query.get(name)
        if schema is None:
            known = ", ".join(route.query) or "none"
            raise APIError(400, f"unknown parameter {name[:100]!r}; known: {known}")
        values[name] = _read_parameter(name, value, schema)
    return values


def _read_parameter(name: str, text: str, schema: Schema) -> Any:
    value: Any = text
    if schema["type"] == "integer":
        digits = text.removeprefix("-")
        if not (digits.isascii() and digits.isdigit() and len(digits) < 16):
            raise APIError(400, f"{name} must be a whole number")
        value = int(text)
    elif schema["type"] == "boolean":
        if text not in ("true", "false", "1", "0", "yes", "no"):
            raise APIError(400, f"{name} must be true or false")
        value = text in ("true", "1", "yes")
    wrong = problem(value, schema, name)
    if wrong:
        raise APIError(400, wrong)
    return value
