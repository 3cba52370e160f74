"""PURE. What the access log reads: the shape of a finished TCP session and of a finished HTTP exchange.

:class:`lbproxy.proxy.tcp.Session` is a :class:`Record`, :class:`lbproxy.proxy.exchange.Exchange` an
:class:`HTTPRecord`; neither is imported here.  Times are float seconds, ``started`` since the epoch, and
negative where there was nothing to measure.
"""

from __future__ import annotations

from typing import Protocol

from lbproxy.errors import Kind
from lbproxy.http.message import RequestHead, ResponseHead

__all__ = ["TLS", "Connection", "HTTPRecord", "Record"]


class TLS(Protocol):
    """What a handshake settled."""

    @property
    def version(self) -> str: ...
    @property
    def cipher(self) -> str: ...
    @property
    def alpn(self) -> str: ...


class Connection(Protocol):
    """The client's connection.

    ``log_cache`` belongs to the access log: what it has already written about this connection.
    """

    log_cache: bytes

    @property
    def listener(self) -> str: ...
    @property
    def peer_ip(self) -> str: ...
    @property
    def peer_port(self) -> int: ...
    @property
    def local_ip(self) -> str: ...
    @property
    def local_port(self) -> int: ...
    @property
    def sni(self) -> str: ...
    @property
    def tls(self) -> TLS | None: ...


class Record(Protocol):
    """A finished session, or the part of an exchange that sessions have too.

    ``t_queue``: wait for a server.  ``t_connect``: of the last attempt; 0 when a connection was used
    again.  ``known_request_id``: "" when nobody asked for one.
    """

    @property
    def info(self) -> Connection: ...
    @property
    def frontend_name(self) -> str: ...
    @property
    def backend_name(self) -> str: ...
    @property
    def server_name(self) -> str: ...
    @property
    def route(self) -> str: ...
    @property
    def client_ip(self) -> str: ...
    @property
    def client_port(self) -> int: ...
    @property
    def known_request_id(self) -> str: ...
    @property
    def started(self) -> float: ...
    @property
    def t_queue(self) -> float: ...
    @property
    def t_connect(self) -> float: ...
    @property
    def t_total(self) -> float: ...
    @property
    def bytes_in(self) -> int: ...
    @property
    def bytes_out(self) -> int: ...
    @property
    def attempts(self) -> int: ...
    @property
    def close(self) -> Kind: ...
    @property
    def detail(self) -> str: ...


class HTTPRecord(Record, Protocol):
    """A finished exchange.

    ``t_header``: first byte of the request to its complete head.  ``t_response``: request sent to
    response head.  ``status`` 0: the client got none.
    """

    @property
    def request(self) -> RequestHead: ...
    @property
    def response(self) -> ResponseHead | None: ...
    @property
    def status(self) -> int: ...
    @property
    def reused(self) -> bool: ...
    @property
    def t_header(self) -> float: ...
    @property
    def t_response(self) -> float: ...
