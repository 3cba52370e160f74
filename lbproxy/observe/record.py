"""PURE. The input of the access log: a finished TCP session, and a finished HTTP exchange.

:class:`lbproxy.proxy.tcp.session.Session` is a :class:`Record`,
:class:`lbproxy.proxy.http.traffic.HTTPTraffic` an :class:`HTTPRecord`; neither is imported here.
Times are float seconds, negative if there was nothing to measure. ``started`` is monotonic time
while the traffic runs, and Unix time once the record is logged.
"""

from __future__ import annotations

import uuid
from typing import Any, ClassVar, Final

from lbproxy.errors import Kind
from lbproxy.http.message import RequestHead, ResponseHead

__all__ = ["CacheNote", "Connection", "HTTPRecord", "LogCache", "Record"]

_OK: Final = Kind.OK


class LogCache:
    """The parts of a log line that are the same for all requests of a connection."""

    __slots__ = ("client", "ip", "port", "tail")

    def __init__(self, tail: bytes) -> None:
        self.tail = tail
        self.ip = ""
        self.port = -1
        self.client = b""  # cached for that address and port


class CacheNote:
    """The part of a cache in an exchange.

    ``status``: a word such as ``hit``. ``reason``: its reason, for people. ``age``: age of the
    stored response in seconds, negative without one.
    """

    __slots__ = ("age", "reason", "status")

    def __init__(self, status: str, reason: str = "", age: float = -1.0) -> None:
        self.status = status
        self.reason = reason
        self.age = age


class Connection:
    """The client's connection.

    ``client_ip``, ``client_port``: the peer of the connection, or the client reported by a trusted
    PROXY header. ``tls``: result of the handshake (``version``, ``cipher``, ``alpn``), None without
    TLS. ``log_cache`` belongs to the access log.
    """

    __slots__ = (
        "client_ip",
        "client_port",
        "listener",
        "local_ip",
        "local_port",
        "log_cache",
        "peer_ip",
        "peer_port",
        "sni",
        "tls",
    )

    def __init__(self) -> None:
        self.listener = ""
        self.client_ip = ""
        self.client_port = 0
        self.peer_ip = ""
        self.peer_port = 0
        self.local_ip = ""
        self.local_port = 0
        self.sni = ""
        self.tls: Any = None
        self.log_cache: LogCache | None = None


class Record:
    """A finished session, and the part of an exchange that sessions have too.

    ``t_queue``: time in the queue. ``t_connect``: time to connect of the last attempt, 0 for a
    reused connection. ``refused_by``: the frontend, if the record is of a refused connection; other
    records have ``frontend``.
    """

    __slots__ = (
        "_request_id",
        "attempts",
        "backend_name",
        "bytes_in",
        "bytes_out",
        "client_ip",
        "client_port",
        "close",
        "detail",
        "frontend_name",
        "info",
        "refused_by",
        "route",
        "server_name",
        "started",
        "t_connect",
        "t_queue",
        "t_total",
    )

    mode: ClassVar[str] = "tcp"

    def __init__(self, info: Connection, started: float) -> None:
        self.info: Any = info  # an object of the proxy, for filters
        self.started = started
        self.frontend_name = ""
        self.backend_name = ""
        self.server_name = ""
        self.route = ""
        self.client_ip = info.client_ip
        self.client_port = info.client_port
        self.close = _OK
        self.detail = ""
        self.t_queue = self.t_connect = self.t_total = -1.0
        self.bytes_in = self.bytes_out = 0
        self.attempts = 0
        self._request_id = ""
        self.refused_by: Any = None

    @property
    def request_id(self) -> str:
        """A unique id, created at first use."""
        if not self._request_id:
            self._request_id = uuid.uuid4().hex
        return self._request_id

    @property
    def known_request_id(self) -> str:
        """The request id if it has been used, else ""."""
        return self._request_id


class HTTPRecord(Record):
    """A finished exchange.

    ``t_header``: from the first byte of the request to its complete head. ``t_response``: from the
    sent request to the response head. ``status`` 0: the client got no response. ``cached``: result
    of the cache, None without one.
    """

    __slots__ = ("cached", "request", "response", "reused", "status", "t_header", "t_response")

    mode: ClassVar[str] = "http"

    def __init__(
        self, info: Connection, request: RequestHead, started: float, t_header: float
    ) -> None:
        super().__init__(info, started)
        self.request = request
        self.response: ResponseHead | None = None
        self.cached: CacheNote | None = None
        self.status = 0
        self.reused = False
        self.t_header = t_header
        self.t_response = -1.0
