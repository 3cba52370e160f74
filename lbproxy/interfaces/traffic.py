"""PURE. The arguments of filters: an HTTP request or a TCP connection, and its client.

These are typing protocols. The objects are those of :mod:`lbproxy.proxy`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    from lbproxy.balance.server import ServerState
    from lbproxy.errors import Kind
    from lbproxy.http.message import Reply, RequestHead, ResponseHead
    from lbproxy.http.transform import Transform

__all__ = [
    "AnyTraffic",
    "ClientConnection",
    "ClientTLS",
    "FilterTraffic",
    "HTTPFilterTraffic",
    "HookResult",
    "TCPFilterTraffic",
]

HookResult: TypeAlias = "Reply | Awaitable[Reply | None] | None"
"""The result of a filter's method: nothing, a reply, or a coroutine or Deferred of either."""


class ClientTLS(Protocol):
    """The result of the TLS handshake with a client.

    ``version``: such as ``TLSv1.3``. ``cipher``: OpenSSL's name. ``alpn``: "" if none was agreed.
    ``sni``: lower-case server name, "" if none.
    """

    @property
    def version(self) -> str: ...
    @property
    def cipher(self) -> str: ...
    @property
    def alpn(self) -> str: ...
    @property
    def sni(self) -> str: ...


class ClientConnection(Protocol):
    """The client's connection. Ports are 0 and addresses "" for Unix sockets.

    - ``peer_ip``, ``peer_port``: the other end of the socket.
    - ``client_ip``, ``client_port``: the same, or the address that a PROXY header names.
    - ``local_ip``, ``local_port``: the address that the client connected to.
    - ``listener``: as written in the configuration.
    - ``connected``: monotonic time in seconds.
    - ``tls``: None without TLS.
    - ``sni``, ``alpn``: from the handshake, or from a ClientHello that lbproxy has only read.
    - ``tlvs``: types and values of a PROXY header of version 2.
    """

    @property
    def peer_ip(self) -> str: ...
    @property
    def peer_port(self) -> int: ...
    @property
    def client_ip(self) -> str: ...
    @property
    def client_port(self) -> int: ...
    @property
    def local_ip(self) -> str: ...
    @property
    def local_port(self) -> int: ...
    @property
    def listener(self) -> str: ...
    @property
    def connected(self) -> float: ...
    @property
    def tls(self) -> ClientTLS | None: ...
    @property
    def sni(self) -> str: ...
    @property
    def alpn(self) -> tuple[str, ...]: ...
    @property
    def tlvs(self) -> tuple[tuple[int, bytes], ...]: ...


class FilterTraffic(Protocol):
    """The argument of every filter method: one HTTP request or one TCP connection.

    - ``backend_name``, ``priority``: filters may set them in phase ``request`` to choose another
      backend, and the class in its queue (lower numbers are served first).
    - ``vars``: None until a filter stores a dict there, for its data from phase to phase. The
      values are of any type, because they belong to the filters. Prefix keys with your name.
    - ``server``, ``server_name``: the server of the current attempt, or of the last one.
    - ``tried``: the servers whose attempts failed. ``attempts``: the number of all attempts.
    - ``info``: the client's connection.
    - ``close``: the close reason, in phase ``finish``.
    - ``t_queue``, ``t_connect``, ``t_total``: seconds, negative if not measured.
    """

    backend_name: str
    priority: int
    vars: dict[str, Any] | None

    @property
    def client_ip(self) -> str: ...
    @property
    def client_port(self) -> int: ...
    @property
    def frontend_name(self) -> str: ...
    @property
    def route(self) -> str: ...
    @property
    def server_name(self) -> str: ...
    @property
    def server(self) -> ServerState | None: ...
    @property
    def tried(self) -> Sequence[ServerState]: ...
    @property
    def sni(self) -> str: ...
    @property
    def alpn(self) -> tuple[str, ...]: ...
    @property
    def info(self) -> ClientConnection: ...
    @property
    def request_id(self) -> str: ...
    @property
    def attempts(self) -> int: ...
    @property
    def bytes_in(self) -> int: ...
    @property
    def bytes_out(self) -> int: ...
    @property
    def close(self) -> Kind: ...

    def track(self, name: str, amount: float = 1.0) -> None:
        """Count ``amount`` in the ``[track name]``, for the key of this traffic. Raises
        ValueError.
        """

    @property
    def t_queue(self) -> float: ...
    @property
    def t_connect(self) -> float: ...
    @property
    def t_total(self) -> float: ...


class HTTPFilterTraffic(FilterTraffic, Protocol):
    """An HTTP request and its response, in every phase.

    - ``request``: as sent by the client. Changes in phases ``early`` and ``request`` apply to
      routes and servers.
    - ``server_request``: as sent to the server of this attempt, from phase ``server_request`` on.
    - ``response``: from phase ``response`` on.
    - ``scheme``: ``http`` or ``https``.
    - ``status``: the status sent to the client, 0 before.
    """

    @property
    def request(self) -> RequestHead: ...
    @property
    def server_request(self) -> RequestHead | None: ...
    @property
    def response(self) -> ResponseHead | None: ...
    @property
    def scheme(self) -> str: ...
    @property
    def status(self) -> int: ...
    @property
    def source(self) -> str: ...
    @property
    def reused(self) -> bool: ...
    @property
    def t_header(self) -> float: ...
    @property
    def t_response(self) -> float: ...

    def kept_body(self) -> bytes | None:
        """Return the complete request body in phase ``response``; None if it is incomplete or no
        longer kept.
        """

    def transform_request(self, transform: Transform) -> None:
        """Send the request body of this attempt through ``transform``.

        Call it in phase ``server_request``.
        """

    def transform_response(self, transform: Transform) -> None:
        """Send the body of the response through ``transform``. Call it in phase ``response``."""


class TCPFilterTraffic(FilterTraffic, Protocol):
    """One TCP connection, in every phase."""


class AnyTraffic(HTTPFilterTraffic, TCPFilterTraffic, Protocol):
    """The argument type of the methods of :class:`lbproxy.http.filter.Filter`.

    A filter annotates its own methods with the traffic that it supports: ``HTTPFilterTraffic``,
    ``TCPFilterTraffic``, or ``FilterTraffic`` for both.
    """
