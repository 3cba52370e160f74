"""PURE. One error type for all failures of traffic, and one table of their meaning.

Every failure on the data path is a :class:`ProxyError` of one :class:`Kind`. :data:`MEANING` maps
the kind to the HTTP status for the client, the outcome for the server, and whether another server
may be tried. The kind's value is also the metric label and the ``close`` reason in the access log,
so the same word appears everywhere.
"""

from __future__ import annotations

from enum import Enum
from typing import Literal

from attrs import frozen

Side = Literal["client", "server", "proxy"]


class Kind(str, Enum):
    """The reason why a connection or an exchange ended; the value is the ``close`` word of the
    access log.
    """

    OK = "ok"
    # caused by the client
    CLIENT_GONE = "client_gone"  # closed before the response was complete
    CLIENT_TIMEOUT = "client_timeout"  # head, body or TCP bytes came too slowly
    CLIENT_SLOW = "client_slow"  # below min_body_rate or min_read_rate
    CLIENT_STALLED = "client_stalled"  # does not read the response
    BAD_REQUEST = "bad_request"
    HEADERS_TOO_LARGE = "headers_too_large"
    URL_TOO_LONG = "url_too_long"
    BODY_TOO_LARGE = "body_too_large"
    EXPECTATION_FAILED = "expectation_failed"
    METHOD_REFUSED = "method_refused"  # CONNECT, or a method the frontend does not allow
    UNSUPPORTED = "unsupported"  # unsupported transfer coding or protocol version
    CLIENT_TLS = "client_tls"  # handshake failed or took too long
    HANDSHAKE_EVICTED = "handshake_evicted"  # its TLS handshake made room for others
    BAD_PREAMBLE = "bad_preamble"  # PROXY header malformed or late, or ClientHello malformed
    # decided by lbproxy
    DENIED = "denied"  # address list, filter
    BLOCKED = "blocked"  # by the firewall
    LIMITED = "limited"  # a connection limit
    RATE_LIMITED = "rate_limited"  # a [limit NAME]
    SHED = "shed"  # refused because the process is overloaded
    CHALLENGED = "challenged"  # the client has not passed the challenge
    BANNED = "banned"  # a [ban NAME]
    NO_ROUTE = "no_route"
    LOOP_DETECTED = "loop_detected"  # Via names this lbproxy too often
    REPLIED = "replied"  # a filter or a route answered; no server was needed
    FILTER_FAILED = "filter_failed"
    FILTER_TIMEOUT = "filter_timeout"
    SHUTDOWN = "shutdown"  # lbproxy is stopping, or the frontend was removed
    # no server available
    NO_SERVER = "no_server"  # no server is up
    QUEUE_FULL = "queue_full"
    QUEUE_TIMEOUT = "queue_timeout"
    CIRCUIT_OPEN = "circuit_open"  # the backend is at its maxconn
    # caused by the server
    CONNECT_FAILED = "connect_failed"
    CONNECT_TIMEOUT = "connect_timeout"
    SERVER_TLS = "server_tls"  # handshake or verification failed
    SERVER_GONE = "server_gone"  # closed or reset before a complete response
    BAD_RESPONSE = "bad_response"  # not HTTP, ambiguous, or over a limit
    RESPONSE_TIMEOUT = "response_timeout"  # no response head in time
    SERVER_TIMEOUT = "server_timeout"  # stalled within a response, or an idle TCP session
    SERVER_DOWN = "server_down"  # marked down with on_down = close
    SESSION_KILLED = "session_killed"  # an operator ended it
    REBALANCED = "rebalanced"  # ended so that its client reconnects to a less loaded server

    __hash__ = str.__hash__  # that of Enum is computed in Python


class Outcome(str, Enum):
    """The outcome with which a lease is released; balancers and passive health use it."""

    OK = "ok"
    FAILED = "failed"  # the server's fault
    NEUTRAL = "neutral"  # says nothing about the server (the client left, lbproxy stopped)

    __hash__ = str.__hash__


@frozen
class Meaning:
    """The consequences of a :class:`Kind`.

    ``status``: HTTP status for the client, 0 if none is sent. ``side``: the side that caused it.
    ``outcome``: the outcome for the server. ``retry``: whether another server may help, if the
    request can be replayed.
    """

    status: int
    side: Side
    outcome: Outcome
    retry: bool = False


_N, _F = Outcome.NEUTRAL, Outcome.FAILED

MEANING: dict[Kind, Meaning] = {
    Kind.OK: Meaning(0, "proxy", Outcome.OK),
    Kind.CLIENT_GONE: Meaning(0, "client", _N),
    Kind.CLIENT_TIMEOUT: Meaning(408, "client", _N),
    Kind.CLIENT_SLOW: Meaning(408, "client", _N),
    Kind.CLIENT_STALLED: Meaning(0, "client", _N),
    Kind.BAD_REQUEST: Meaning(400, "client", _N),
    Kind.HEADERS_TOO_LARGE: Meaning(431, "client", _N),
    Kind.URL_TOO_LONG: Meaning(414, "client", _N),
    Kind.BODY_TOO_LARGE: Meaning(413, "client", _N),
    Kind.EXPECTATION_FAILED: Meaning(417, "client", _N),
    Kind.METHOD_REFUSED: Meaning(405, "client", _N),
    Kind.UNSUPPORTED: Meaning(501, "client", _N),
    Kind.CLIENT_TLS: Meaning(0, "client", _N),
    Kind.HANDSHAKE_EVICTED: Meaning(0, "client", _N),
    Kind.BAD_PREAMBLE: Meaning(0, "client", _N),
    Kind.DENIED: Meaning(403, "proxy", _N),
    Kind.BLOCKED: Meaning(403, "proxy", _N),
    Kind.LIMITED: Meaning(503, "proxy", _N),
    Kind.RATE_LIMITED: Meaning(429, "proxy", _N),
    Kind.SHED: Meaning(503, "proxy", _N),
    Kind.CHALLENGED: Meaning(403, "proxy", _N),
    Kind.BANNED: Meaning(403, "proxy", _N),
    Kind.NO_ROUTE: Meaning(404, "proxy", _N),
    Kind.LOOP_DETECTED: Meaning(508, "proxy", _N),
    Kind.REPLIED: Meaning(0, "proxy", _N),
    Kind.FILTER_FAILED: Meaning(500, "proxy", _N),
    Kind.FILTER_TIMEOUT: Meaning(500, "proxy", _N),
    Kind.SHUTDOWN: Meaning(503, "proxy", _N),
    Kind.NO_SERVER: Meaning(503, "proxy", _N),
    Kind.QUEUE_FULL: Meaning(503, "proxy", _N),
    Kind.QUEUE_TIMEOUT: Meaning(503, "proxy", _N),
    Kind.CIRCUIT_OPEN: Meaning(503, "proxy", _N),
    Kind.CONNECT_FAILED: Meaning(502, "server", _F, retry=True),
    Kind.CONNECT_TIMEOUT: Meaning(504, "server", _F, retry=True),
    Kind.SERVER_TLS: Meaning(502, "server", _F, retry=True),
    Kind.SERVER_GONE: Meaning(502, "server", _F, retry=True),
    Kind.BAD_RESPONSE: Meaning(502, "server", _F),
    Kind.RESPONSE_TIMEOUT: Meaning(504, "server", _F),
    Kind.SERVER_TIMEOUT: Meaning(504, "server", _F),
    Kind.SERVER_DOWN: Meaning(503, "server", _N, retry=True),
    Kind.SESSION_KILLED: Meaning(503, "proxy", _N),
    Kind.REBALANCED: Meaning(0, "proxy", _N),
}


class ProxyError(Exception):
    """A failure on the data path.

    ``kind`` names it. ``detail`` is for the log, never for the client. ``status`` overrides the
    table if one kind has several statuses (505 for a version). ``reference``: the request id, if
    the client is to see it.
    """

    def __init__(self, kind: Kind, detail: str = "", status: int = 0) -> None:
        super().__init__(f"{kind.value}: {detail}" if detail else kind.value)
        self.kind = kind
        self.detail = detail
        self.status = status or MEANING[kind].status
        self.reference = ""

    @property
    def side(self) -> Side:
        """The side that caused the failure."""
        return MEANING[self.kind].side

    @property
    def outcome(self) -> Outcome:
        """The outcome for the server."""
        return MEANING[self.kind].outcome

    @property
    def retry(self) -> bool:
        """True if another server may help."""
        return MEANING[self.kind].retry


class ListenError(Exception):
    """A listener could not be bound; the message names the address and the system's reason."""


class LeaseError(AssertionError):
    """A lease was released twice: a bug in the caller, never caused by traffic."""
