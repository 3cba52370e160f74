"""PURE. ``[frontend NAME]`` and its routes."""

from __future__ import annotations

from attrs import frozen

from lbproxy.model.base import (
    NOWHERE,
    Condition,
    FrontendMode,
    ListName,
    Mode,
    Network,
    PluginSpec,
    Where,
    hidden,
    option,
)
from lbproxy.model.listen import ListenSpec, LogSpec

__all__ = ["FrontendSpec", "RouteSpec"]


@frozen
class RouteSpec:
    """One line of ``routes``: conditions that must all hold, ``->``, and a backend or an action.

    ``conditions`` are (verb, arguments, negated) in the order written; ``default`` has none.
    ``action`` is the filter (redirect, reply) on the right side; otherwise it is None and
    ``backend`` names a backend. The options follow the backend. Features add further options, which
    are None if the route does not set them and the key of the frontend applies.
    """

    conditions: tuple[Condition, ...] = ()
    backend: str = ""
    action: PluginSpec | None = None
    text: str = ""
    where: Where = hidden(NOWHERE)
    priority: int = option(
        "int",
        0,
        min=-9,
        max=9,
        doc="class in the queue of the backend; lower numbers are served first",
    )
    timeout_queue: float | None = option(
        "duration",
        None,
        min=0.01,
        max=3600,
        default_words="that of the backend",
        doc="maximum wait in the queue",
    )
    timeout_response: float | None = option(
        "duration",
        None,
        min=0.01,
        max=86400,
        http_only=True,
        default_words="that of the backend",
        doc="maximum wait for the response head once the request is sent",
    )
    timeout_server: float | None = option(
        "duration",
        None,
        min=0.01,
        max=864000,
        default_words="that of the backend",
        doc="maximum silence of a server",
    )
    timeout_tunnel: float | None = option(
        "duration",
        None,
        min=0.01,
        max=864000,
        http_only=True,
        default_words="that of the backend",
        doc="maximum silence in a WebSocket or CONNECT tunnel",
    )
    retries: int | None = option(
        "int",
        None,
        min=0,
        max=100,
        default_words="that of the backend",
        doc="maximum number of attempts after the first",
    )
    max_body: int | None = option(
        "size",
        None,
        min=0,
        max=1 << 50,
        http_only=True,
        default_words="that of the frontend",
        doc="maximum size of a request body; larger ones get 413",
    )


@frozen
class FrontendSpec:
    """``[frontend NAME]``: listeners, filters and routes."""

    name: str = option("hidden", "", doc="section name")
    mode: FrontendMode = option(
        "choice",
        "http",
        choices=("tcp", "http", "corsproxy"),
        doc="``tcp`` relays bytes, ``http`` parses requests, ``corsproxy`` fetches the URLs that"
        " callers name",
    )
    listen: tuple[ListenSpec, ...] = option(
        "lines:listen", (), doc="addresses to listen on, one per line", example="tcp:8080"
    )
    routes: tuple[RouteSpec, ...] = option(
        "lines:route",
        (),
        doc="routes, one per line; the first match wins",
        example="host api.example.com -> api",
    )
    backend: str = option(
        "backend", "", doc="backend for traffic that no route matches", example="app"
    )
    filters: tuple[PluginSpec, ...] = option(
        "lines:filter",
        (),
        doc="filters, in the order in which they run",
        example="set-header response X-Served-By lbproxy",
    )
    access_log: LogSpec | None = option(
        "line:log", None, doc="access log of this frontend; overrides the one in [lbproxy]"
    )
    more_logs: tuple[LogSpec, ...] = option(
        "lines:log",
        (),
        doc=(
            "further access logs of this frontend, one per line, in place of those in [lbproxy]; "
            "``off``: none"
        ),
        example="errors.log json if status 5xx",
    )
    maxconn: int = option(
        "int",
        0,
        min=0,
        max=10_000_000,
        workers="split",
        doc="maximum number of client connections; 0: no limit of its own",
    )
    maxconn_per_ip: int = option(
        "int",
        0,
        min=0,
        max=10_000_000,
        doc="maximum number of client connections from one address; 0: no limit",
    )
    allow: tuple[Network | ListName, ...] = option(
        "list:client",
        (),
        doc=(
            "accept only these clients; empty: all; a client behind ``trusted_proxies`` is checked "
            "when its request head is complete, and gets 403"
        ),
        example="10.0.0.0/8 2001:db8::/32",
    )
    deny: tuple[Network | ListName, ...] = option(
        "list:client", (), doc="refuse these clients; evaluated before allow"
    )
    allow_peers: tuple[Network | ListName, ...] = option(
        "list:client",
        (),
        doc=(
            "accept only connections from these addresses, whatever client a proxy reports; "
            "empty: all"
        ),
        example="10.0.0.0/8",
    )
    deny_peers: tuple[Network | ListName, ...] = option(
        "list:client",
        (),
        doc="refuse connections from these addresses; evaluated before allow_peers",
    )
    trusted_proxies: tuple[Network, ...] = option(
        "list:network",
        (),
        http_only=True,
        doc="proxies whose X-Forwarded-For and Forwarded headers are trusted",
    )
    real_ip: str = option(
        "string",
        "",
        http_only=True,
        doc=(
            "header with the client's address, read before X-Forwarded-For and Forwarded; only "
            "from "
            "``trusted_proxies``, removed from other requests"
        ),
        example="CF-Connecting-IP",
    )
    forwarded: tuple[str, ...] = option(
        "list:choice",
        ("x-forwarded",),
        choices=("x-forwarded", "rfc7239", "none"),
        http_only=True,
        doc="headers that report the client's address to servers",
    )
    via: str = option(
        "string",
        "lbproxy",
        http_only=True,
        doc="name to add to Via in both directions; ``none``: leave Via unchanged",
    )
    server_header: str = option(
        "choice",
        "pass",
        choices=("pass", "remove"),
        http_only=True,
        doc="what to do with the Server header of responses",
    )
    upgrade: str = option(
        "choice",
        "websocket",
        choices=("websocket", "any", "none"),
        http_only=True,
        doc="protocols that a client may switch to with Upgrade",
    )
    connect: str = option(
        "choice",
        "deny",
        choices=("deny", "forward"),
        http_only=True,
        doc="refuse CONNECT, or forward it to the servers",
    )
    methods: tuple[str, ...] = option(
        "list:method",
        (),
        http_only=True,
        doc="accept only these request methods, others get 405; empty: all",
        example="GET HEAD POST",
    )
    trace: bool = option(
        "bool",
        False,
        http_only=True,
        doc="forward TRACE requests; ``no``: they get 405",
    )
    max_header_bytes: int = option(
        "size",
        32 * 1024,
        min=1024,
        max=1024 * 1024,
        http_only=True,
        doc="maximum size of a request head; larger ones get 431",
    )
    max_headers: int = option(
        "int",
        100,
        min=1,
        max=10_000,
        http_only=True,
        doc="maximum number of header lines; more get 431",
    )
    max_url: int = option(
        "size",
        8 * 1024,
        min=64,
        max=256 * 1024,
        http_only=True,
        doc="maximum size of the request target; larger ones get 414",
    )
    max_body: int | None = option(
        "size_or_none",
        None,
        http_only=True,
        doc="maximum size of a request body; larger ones get 413; ``none``: no limit",
    )
    max_requests: int = option(
        "int",
        0,
        min=0,
        max=1_000_000_000,
        http_only=True,
        doc="number of requests on one client connection before it is closed; 0: no limit",
    )
    abort_on_close: bool = option(
        "bool",
        True,
        http_only=True,
        doc=(
            "end a request as ``client_gone`` if its client closes its sending side before the "
            "response begins; ``no``: clients that only half-close get their responses"
        ),
    )
    timeout_handshake: float = option(
        "duration",
        10.0,
        min=0.1,
        max=600,
        doc="deadline for PROXY header, ClientHello and TLS handshake together, from the accept",
    )
    timeout_header: float = option(
        "duration",
        10.0,
        min=0.1,
        max=3600,
        http_only=True,
        doc="deadline for a complete request head, from its first byte; later ones get 408",
    )
    timeout_body: float = option(
        "duration",
        30.0,
        min=0.1,
        max=3600,
        http_only=True,
        doc="maximum silence within a request body; longer ones get 408",
    )
    timeout_keepalive: float = option(
        "duration",
        60.0,
        min=0.0,
        max=3600,
        http_only=True,
        doc="maximum wait for the next request; 0: no keep-alive",
    )
    timeout_client: float = option(
        "duration",
        0.0,
        min=0.0,
        max=864000,
        doc=(
            "maximum time without progress while lbproxy waits for a client to read or send; 0: "
            "60 s (http), 1 h (tcp)"
        ),
    )
    timeout_filter: float = option(
        "duration",
        5.0,
        min=0.01,
        max=3600,
        doc="maximum time that an asynchronous filter may delay traffic",
    )
    where: Where = hidden(NOWHERE)

    @property
    def protocol(self) -> Mode:
        """The protocol of clients; a frontend of mode ``corsproxy`` counts as ``http``."""
        return "tcp" if self.mode == "tcp" else "http"
