"""CONTROL. Connections of the admin side: twisted.web's HTTP with bounds on number, size and time.

- At most :data:`CONNECTIONS` at each address of the admin side. When there are more, connections of
  unknown callers are closed first. :data:`RESERVED` of them are not available to callers that may
  only read, and one client address may hold :data:`PER_ADDRESS`.
- At most :data:`~lbproxy.admin.request.BODY` bytes of body and 16 KiB of head, all of it within
  :data:`PATIENCE`.
- One request of a connection in a turn of the reactor.
"""

# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.web.http import HTTPChannel

from lbproxy.admin.auth import Role
from lbproxy.admin.door import Door, is_loopback
from lbproxy.admin.request import BODY, AdminRequest, to_json
from lbproxy.admin.route import APIError
from lbproxy.admin.view import AdminView
from lbproxy.proxy.ratelog import Quiet

__all__ = ["CONNECTIONS", "PATIENCE", "PER_ADDRESS", "RESERVED", "AdminChannel", "AdminFactory"]

_quiet = Quiet(Logger())

CONNECTIONS = 200
"""Limit of open connections at each address of the admin side."""

RESERVED = 20
"""Connections at each address of the admin side that callers with role ``read`` cannot take."""

PER_ADDRESS = 100
"""Limit of open connections from one IP address, loopback and Unix sockets excepted."""

PATIENCE = 60.0
"""Seconds from the end of a response, or from the accept, to the end of the next request."""

UNKNOWN_MAX = 8
"""Number of requests without a valid token after which a connection is closed, so that each further
guess costs a handshake.
"""

# maximum bytes of a refused body that are read, so that the client sees the response
_LINGER = 16 * 1024 * 1024


class AdminChannel(HTTPChannel):
    """Twisted's HTTP/1 server with bounded bodies, absolute deadlines and errors in JSON."""

    transport: Any
    maxHeaders = 100
    role = Role.NONE  # role of the last caller
    ip = ""  # see :func:`address_of`
    unknown = 0  # requests of callers that could not be identified
    refusing = -1  # bytes of a refused body still to be discarded; negative: not refusing
    _turn: Any = None  # the pending call that reads the next request

    def __init__(self, factory: AdminFactory) -> None:
        super().__init__()
        self.factory = factory
        self.site = factory
        self.requestFactory = AdminRequest
        self.timeOut = PATIENCE  # type: ignore[assignment]
        self.callLater = factory.admin.reactor.callLater  # type: ignore[method-assign]

    @property
    def known(self) -> bool:
        """True if the connection has carried a request of a caller with a role."""
        return self.role is not Role.NONE

    def connectionMade(self) -> None:
        """Register the connection, and enforce the limit of its client address."""
        self.ip = address_of(self.transport)
        self.factory.channels[self] = None
        super().connectionMade()
        self.factory.limit_address(self)

    def connectionLost(self, reason: Any = None) -> None:
        """Remove the connection from its factory."""
        self.factory.channels.pop(self, None)
        turn, self._turn = self._turn, None
        if turn is not None:
            turn.cancel()
        super().connectionLost(reason)

    # -- requests -------------------------------------------------------------------------------

    def allHeadersReceived(self) -> None:
        """Refuse a body that is too long before it is read."""
        if self.length is not None and self.length > BODY:
            self.too_long()
            self.length = 0
            return
        super().allHeadersReceived()

    def allContentReceived(self) -> None:
        """Process the request, unless it is refused already."""
        if self.refusing < 0:
            super().allContentReceived()

    def requestDone(self, request: Any) -> None:
        """Read the next request in another turn, so that traffic is served in between."""
        held, self._dataBuffer = self._dataBuffer, []  # Twisted would process the next request now
        super().requestDone(request)
        if self.persistent and self.refusing < 0:
            self._handlingRequest = True  # keeps bytes that arrive in the meantime
            self._dataBuffer = [*held, *self._dataBuffer]
            self.setRawMode()
            self._turn = self.callLater(0, self._next_request)

    def _next_request(self) -> None:
        self._turn = None
        self._handlingRequest = False
        data = b"".join(self._dataBuffer)
        self._dataBuffer = []
        self.setLineMode(data)

    def note_unknown(self) -> bool:
        """Count a request without a valid token; return whether the connection now ends."""
        self.unknown += 1
        if self.unknown >= UNKNOWN_MAX:
            self.persistent = False
        return not self.persistent

    def lineReceived(self, line: bytes) -> None:
        """Parse a line of the head."""
        if self.refusing < 0:
            super().lineReceived(line)

    def rawDataReceived(self, data: bytes) -> None:
        """Parse a piece of the body."""
        if self.refusing < 0:
            super().rawDataReceived(data)

    def dataReceived(self, data: bytes) -> None:
        """Parse ``data``, or discard it after a refusal."""
        if self.refusing < 0:
            super().dataReceived(data)
            return
        self.refusing -= len(data)
        if self.refusing < 0:
            self.refusing = 0
            self.forceAbortClient()

    # -- refusals and deadlines -----------------------------------------------------------------

    def resetTimeout(self) -> None:
        """Keep the deadline: received bytes do not extend it."""

    def too_long(self) -> None:
        """Respond 413 and close."""
        error = APIError(413, f"the body is longer than {BODY} bytes")
        self.refuse(b"413 Content Too Large", error)

    def refuse(self, line: bytes, error: APIError) -> None:
        """Respond outside of any request, read on for 2 s so that the client sees it, and close."""
        if self.refusing >= 0:
            return
        body = to_json(error.as_dict())
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
        """Close a connection that is idle or was refused, without a response."""
        if self.refusing >= 0:
            self.transport.abortConnection()
        else:
            self._abortingCall = self.callLater(5.0, self.forceAbortClient)
            self.loseConnection()

    def forceAbortClient(self) -> None:
        """Abort the connection."""
        self._abortingCall = None
        self.transport.abortConnection()


def address_of(transport: Any) -> str:
    """Return the client's IP address; "" for Unix sockets and loopback, which have no limit."""
    host = str(getattr(transport.getPeer(), "host", None) or "")
    return "" if is_loopback(host) else host


class AdminFactory(Factory):
    """Creates and limits the connections of one address of the admin side."""

    noisy = False

    def __init__(self, admin: AdminView, door: Door) -> None:
        self.admin = admin
        self.door = door
        self.channels: dict[AdminChannel, None] = {}  # oldest first

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """Return a new channel, or None if all are taken by known callers."""
        if len(self.channels) >= CONNECTIONS and not self._make_room():
            _quiet.warn("admin full", "admin: more than {n} connections refused", n=CONNECTIONS)
            return None
        return AdminChannel(self)

    def _make_room(self) -> bool:
        """Abort the oldest connection of an unknown caller. Return False if none exists."""
        for channel in self.channels:
            if not channel.known:
                self._abort(channel)
                return True
        return False

    def limit_readers(self, newest: AdminChannel) -> None:
        """Abort the oldest connection of a caller that may only read, if they have too many."""
        readers = [one for one in self.channels if one.role is Role.READ and one is not newest]
        if newest.role is Role.READ and len(readers) >= CONNECTIONS - RESERVED:
            self._abort(readers[0])

    def limit_address(self, newest: AdminChannel) -> None:
        """Abort a connection from the client address of ``newest``, if it has too many.

        The oldest one of an unknown caller goes first, then the oldest one that may only read,
        then ``newest``.
        """
        ip = newest.ip
        if not ip:
            return
        same = [one for one in self.channels if one is not newest and one.ip == ip]
        if len(same) < PER_ADDRESS:
            return
        _quiet.warn(
            f"admin address {ip}",
            "admin: more than {n} connections from {ip}",
            n=PER_ADDRESS,
            ip=ip,
        )
        lowest = min(same, key=lambda one: one.role)  # the first of equal ones is the oldest
        self._abort(lowest if lowest.role < Role.WRITE else newest)

    def _abort(self, channel: AdminChannel) -> None:
        del self.channels[channel]
        channel.transport.abortConnection()

    def log(self, request: Any) -> None:
        """Disable twisted.web's access log. Changes are logged separately."""

    def close(self) -> None:
        """Abort every connection."""
        for channel in list(self.channels):
            channel.transport.abortConnection()
