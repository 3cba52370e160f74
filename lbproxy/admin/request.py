"""CONTROL. Requests of the admin API, from the end of a request to its response.

1.  The caller's role determines when the request is processed (:mod:`lbproxy.admin.pace`).
2.  :mod:`lbproxy.admin.origin` decides whether it may come from where it comes from.
3.  A caller without the role that the route needs gets 401 or 403, and 401 before 404. Neither this
    rule nor the one about ``Host`` applies to paths that ``admin_public`` opens.
4.  No cookies, no CORS.
5.  An error is JSON: ``{"error": {"status": 404, "message": "..."}}``, never a traceback.
"""

# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import json
import socket
from collections.abc import Awaitable, Sequence
from inspect import isawaitable
from struct import Struct
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import Request

from lbproxy.admin.auth import Identity, Role
from lbproxy.admin.chunks import Chunks
from lbproxy.admin.door import Door
from lbproxy.admin.origin import check_change, check_host
from lbproxy.admin.pace import LONGEST, Pace
from lbproxy.admin.parameters import read_body, read_query, whole_number
from lbproxy.admin.route import APICall, APIError, APIRoute, Raw, WrongMethod
from lbproxy.admin.stream import AdminStream, Follower
from lbproxy.admin.view import AdminView
from lbproxy.http.reasons import reason_phrase
from lbproxy.proxy.ratelog import Quiet

__all__ = ["BODY", "SECURITY", "AdminRequest", "to_json"]

_quiet = Quiet(Logger())

BODY = 64 * 1024
"""Maximum size of a request body in bytes."""

_PEER_CREDENTIALS: int | None = getattr(socket, "SO_PEERCRED", None)  # Linux
_CREDENTIALS = Struct("iII")  # struct ucred: pid, uid, gid
_CHANGES = ("POST", "PUT", "PATCH", "DELETE")

SECURITY = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; "
    "form-action 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Headers of every response."""


def to_json(value: Any) -> bytes:
    """Return ``value`` as one line of JSON."""
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


class AdminRequest(Request):
    """One request; :meth:`process` is called when it is complete."""

    _parsePOSTFormSubmission = False
    _size = 0
    _paces: Sequence[Pace] = ()
    _audit: tuple[AdminView, APICall, APIRoute] | None = None

    def handleContentChunk(self, data: bytes) -> None:
        """Store a piece of the body; refuse the request when it becomes too long."""
        self._size += len(data)
        if self._size > BODY:
            channel: Any = self.channel
            if channel.refusing < 0:
                channel.too_long()
            return
        super().handleContentChunk(data)

    # -- from the request to its handler --------------------------------------------------------

    def process(self) -> None:
        """Respond at the pace of the caller's role, or refuse with 429."""
        channel: Any = self.channel
        factory = channel.factory
        for name, value in SECURITY.items():
            self.setHeader(name, value)
        admin = factory.admin
        who = factory.door.who(self._certificate(), self._token(), self._uid())
        wait = self._reserve(admin, who.role, channel.ip)
        if wait > LONGEST:
            self.setHeader("Retry-After", str(round(wait)))
            self._refuse(APIError(429, "too many requests: send them less often"))
        elif wait > 0:
            call = admin.reactor.callLater(wait, self._paced, who)
            self.notifyFinish().addErrback(lambda _: call.active() and call.cancel())
        else:
            self._paced(who)

    def _reserve(self, admin: AdminView, role: Role, ip: str) -> float:
        """Return the seconds to wait.

        An address above its limit reserves nothing from its role's budget.
        """
        self._paces = [*admin.address_paces.of(role, ip), admin.paces[role]]
        wait = 0.0
        for pace in self._paces:
            wait = max(wait, pace.reserve())
            if wait > LONGEST:
                break
        return wait

    def _paced(self, who: Identity) -> None:
        channel: Any = self.channel
        factory = channel.factory
        now = factory.admin.reactor.seconds
        start = now()
        self._run(factory, who)
        for pace in self._paces:
            pace.spent(now() - start)

    def _more(self, seconds: float) -> None:
        for pace in self._paces:
            pace.more(seconds)

    def _run(self, factory: Any, who: Identity) -> None:
        try:
            result = self._answer(factory.admin, factory.door, who)
            if isawaitable(result):
                self._wait(result)
            else:
                self._send(result)
        except APIError as error:
            self._refuse(error)
        except BaseException:
            self.failed(Failure())

    def _wait(self, result: Awaitable[Any]) -> None:
        """Send ``result`` when it is available.

        A disconnect of the client cancels a read. A change continues, because a part of it may have
        taken effect, and is recorded with its outcome.
        """
        waiting: Deferred[Any] = (
            result if isinstance(result, Deferred) else ensureDeferred(result)  # type: ignore[arg-type]
        )
        changes = self._audit is not None
        self.notifyFinish().addErrback(lambda _: None if changes else waiting.cancel())
        waiting.addCallback(self._send)
        waiting.addErrback(self.failed)

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
            check_change(self._header, route, token=self._token() is not None)
        call = APICall(
            admin,
            who,
            names,
            read_query(query, route),
            read_body(self._body(), route),
            self._header("accept"),
            whole_number(self._header("last-event-id")),
        )
        if route.role is Role.WRITE:
            self._audit = (admin, call, route)
        return route.handler(call)

    # -- the caller -----------------------------------------------------------------------------

    def _header(self, name: str) -> str:
        """Return a header, one character for each byte (RFC 9110, 5.5); "" without it."""
        return (self.getHeader(name.encode()) or b"").decode("latin-1")

    def _token(self) -> bytes | None:
        value = self._header("authorization")
        kind, _, token = value.partition(" ")
        return token.strip().encode("latin-1") if kind.lower() == "bearer" else None

    def _body(self) -> bytes:
        content: Any = self.content
        return content.read() if content is not None else b""

    def _certificate(self) -> str:
        """Return the name in the client's certificate, which the handshake verified; "" without
        one.
        """
        transport: Any = self.channel.transport if self.channel is not None else None
        get = getattr(transport, "getPeerCertificate", None)
        certificate = get() if get is not None else None
        return "" if certificate is None else str(certificate.get_subject().CN or "certificate")

    @staticmethod
    def _is_public(admin: AdminView, method: str, path: str) -> bool:
        """Return whether ``admin_public`` opens this path to callers without a token."""
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
        if hosts and not (who.proven or public):
            check_host(hosts[0].decode("latin-1"), admin.hosts)

    def _check_open(self, admin: AdminView, method: str, path: str) -> None:
        """Respond 401 before 404, so that an unauthenticated client cannot discover paths."""
        for route in admin.table.routes:
            if route.role is Role.NONE and route.path == path and method in ("GET", "HEAD"):
                return
        self._unknown()

    def _unknown(self) -> None:
        self.setHeader("WWW-Authenticate", 'Bearer realm="lbproxy"')
        channel: Any = self.channel
        if channel.note_unknown():
            self.setHeader("Connection", "close")
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

    # -- the response ---------------------------------------------------------------------------

    def _send(self, result: Any) -> None:
        if self._disconnected:
            self._record(200)
            return
        if isinstance(result, AdminStream):
            self._follow(result)
            return
        if isinstance(result, Raw):
            self.setHeader("Content-Type", result.content_type)
            channel: Any = self.channel
            reactor = channel.factory.admin.reactor
            Chunks(self, iter(result.chunks), reactor, self._more).start()
            return
        self._finish(200, to_json(result))

    def _record(self, status: int) -> None:
        """Record a change in the log, once."""
        audit, self._audit = self._audit, None
        if audit is not None:
            admin, call, route = audit
            admin.audit(call, route, status)

    def _finish(self, status: int, body: bytes) -> None:
        self._record(status)
        self.setResponseCode(status, reason_phrase(status))
        self.setHeader("Content-Type", "application/json")
        self.setHeader("Content-Length", str(len(body)))
        self.write(body)
        self.finish()

    def _refuse(self, error: APIError) -> None:
        if isinstance(error, WrongMethod):
            self.setHeader("Allow", ", ".join(error.allowed))
        self._finish(error.status, to_json(error.as_dict()))

    def failed(self, failure: Failure) -> None:
        """Respond with the error, or disconnect if the response has begun."""
        if self._disconnected and self._audit is not None:
            self._record(failure.value.status if isinstance(failure.value, APIError) else 500)
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

    def _follow(self, stream: AdminStream) -> None:
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
