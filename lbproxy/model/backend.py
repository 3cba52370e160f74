"""PURE. ``[backend NAME]``, its mirror and its rebalancing."""

from __future__ import annotations

from typing import Any

from attrs import frozen

from lbproxy.model.base import NOWHERE, Mode, PluginSpec, Where, hidden, option
from lbproxy.model.server import AgentSpec, CheckSpec, PassiveSpec, ServerSpec

__all__ = ["BackendSpec", "MirrorSpec", "RebalanceSpec"]


@frozen
class MirrorSpec:
    """``mirror = BACKEND options``: copies of requests for another backend.  ``judge``: the predicate, loaded."""

    backend: str = option("backend", doc="where the copies go; in http mode", positional=True)
    share: float = option(
        "percent", 1.0, min=0.0, max=1.0, doc="how many of the requests are copied"
    )
    methods: tuple[str, ...] = option(
        "list:string",
        ("GET", "HEAD", "OPTIONS"),
        doc="which methods are copied; one that changes something will change it twice",
    )
    body: int = option(
        "size",
        64 * 1024,
        min=0,
        max=16 * 1024 * 1024,
        doc="longest request body that is copied; no longer than ``retry_buffer``",
    )
    timeout: float = option(
        "duration", 5.0, min=0.01, max=3600, doc="a copy without a complete answer by then is ended"
    )
    max: int = option(
        "int",
        100,
        min=1,
        max=100_000,
        workers="split",
        doc="most copies at a time; more are dropped and counted",
    )
    header: str = option(
        "string",
        "",
        doc="a header of this name, with the value 1, marks a copy",
        example="X-Mirror",
    )
    compare: tuple[str, ...] = option(
        "list:choice",
        (),
        choices=("status", "headers", "body"),
        doc="what must be the same in both answers; empty: answers are dropped",
        example="status,body",
    )
    ignore: tuple[str, ...] = option(
        "list:string",
        ("Date", "Age", "Expires", "Server", "Set-Cookie", "X-Request-Id"),
        doc="headers that may differ, besides those that frame the message",
    )
    predicate: str = option(
        "string",
        "",
        doc="a function that gets both answers and says whether they differ",
        example="answers.py:differ",
    )
    judge: Any = hidden(None)
    where: Where = hidden(NOWHERE)

    def __attrs_post_init__(self) -> None:
        for word in (*self.methods, *((self.header,) if self.header else ())):
            if not word or not all(
                c.isascii() and (c.isalnum() or c in "!#$%&'*+-.^_`|~") for c in word
            ):
                raise ValueError(f"{word!r} is neither a method nor the name of a header")


@frozen
class RebalanceSpec:
    """``rebalance = PROTOCOL options``: long-lived sessions move when servers come, or weights change."""

    protocol: str = option(
        "choice",
        choices=("tcp", "websocket", "mqtt", "amqp", "postgresql"),
        doc="what the sessions speak; it decides when one may be ended, and with which words",
        positional=True,
    )
    rate: float = option("rate", 5.0, min=0.001, max=10_000, doc="most sessions moved in that time")
    idle: float = option(
        "duration",
        1.0,
        min=0.0,
        max=86400,
        doc="only sessions in which nothing has been sent for so long are moved",
    )
    after: float = option(
        "duration", 2.0, min=0.0, max=86400, doc="pause between the change and the first move"
    )
    tolerance: float = option(
        "percent", 0.05, min=0.0, max=1.0, doc="how far above its share a server may be"
    )
    where: Where = hidden(NOWHERE)


@frozen
class BackendSpec:
    """``[backend NAME]``: servers and how they are used."""

    name: str = option("hidden", "", doc="section name")
    mode: Mode = option(
        "choice",
        "",
        choices=("tcp", "http"),
        doc="as its frontends; only needed for a backend no frontend names",
    )
    balance: PluginSpec = option(
        "line:balancer", None, doc="which server is next", example="leastconn"
    )
    servers: tuple[ServerSpec, ...] = option(
        "lines:server",
        (),
        workers="shared",
        doc="one per line",
        example="a 10.0.0.11:8000 weight=3",
    )
    sticky: PluginSpec | None = option(
        "line:sticky",
        None,
        doc="keep clients with the server they were with before",
        example="cookie LB",
    )
    mirror: MirrorSpec | None = option(
        "line:mirror",
        None,
        http_only=True,
        doc="copy requests to another backend, and compare the answers if asked",
        example="next share=10% compare=status,body",
    )
    check: CheckSpec | None = option(
        "line:check",
        None,
        workers="master",
        doc="active health check; none: servers are taken as up",
        example="http GET /healthz expect=200",
    )
    passive: PassiveSpec | None = option(
        "line:passive",
        None,
        doc="eject servers by how traffic fares with them; none: they are not judged so",
        example="errors=5 eject=10s max_ejected=50%",
    )
    panic: float = option(
        "percent",
        0.0,
        min=0.0,
        max=1.0,
        doc="when less than this share of a tier is up, health is ignored; 0: never",
        example="30%",
    )
    slow_start: float = option(
        "duration",
        0.0,
        min=0.0,
        max=86400,
        doc="a server that comes up reaches its full weight in this time, beginning with a tenth; 0: at once",
        example="30s",
    )
    rebalance: RebalanceSpec | None = option(
        "line:rebalance",
        None,
        doc="move long-lived sessions to servers that come or get more weight; none: they stay where they are",
        example="websocket rate=5/s idle=5s",
    )
    agent: AgentSpec | None = option(
        "line:agent",
        None,
        workers="master",
        doc="ask a program beside each server how much work it wants",
        example="9707 every=2s",
    )
    on_down: str = option(
        "choice",
        "keep",
        choices=("keep", "close"),
        doc="what happens to sessions of a server that goes down",
    )
    filters: tuple[PluginSpec, ...] = option(
        "lines:filter", (), doc="filters for traffic to this backend, in order"
    )
    retries: int = option(
        "int",
        2,
        min=0,
        max=100,
        doc="further attempts after the first, each at another server where possible",
    )
    retry_on: tuple[str, ...] = option(
        "list:retry",
        ("connect", "reset"),
        http_only=True,
        doc="what makes a further attempt, if the request can be sent again",
        example="connect reset timeout 502 503 504",
    )
    retry_backoff: float = option(
        "duration",
        0.0,
        min=0.0,
        max=60,
        doc="longest pause before the first further attempt at another server, doubled each time up to"
        " ten times this; the pause is drawn at random between 0 and that",
    )
    timeout_retries: float = option(
        "duration",
        0.0,
        min=0.0,
        max=86400,
        doc="no further attempt begins later than this after the request, or the tcp connection, came;"
        " 0: no limit",
    )
    max_retries: int = option(
        "int",
        0,
        min=0,
        max=10_000_000,
        workers="split",
        doc="most requests in a further attempt at once; 0: no limit",
    )
    retry_budget: float = option(
        "percent",
        0.0,
        min=0.0,
        max=1.0,
        doc="most further attempts, as a share of the requests of the last 10 s; 0: no limit",
        example="20%",
    )
    retry_floor: float = option(
        "rate",
        10.0,
        min=0.0,
        max=1_000_000,
        workers="split",
        doc="further attempts that ``retry_budget`` allows however few requests there are",
    )
    hedge: float = option(
        "duration",
        0.0,
        min=0.0,
        max=3600,
        http_only=True,
        doc="an idempotent request that has no response head after this goes to a second server too, and the first"
        " head wins; 0: never",
        example="200ms",
    )
    hedge_share: float = option(
        "percent",
        0.1,
        min=0.001,
        max=1.0,
        http_only=True,
        doc="most second attempts by ``hedge``, as a share of the requests of the last 10 s",
        example="5%",
    )
    maxconn: int = option(
        "int",
        0,
        min=0,
        max=10_000_000,
        workers="split",
        doc="most connections (TCP) or requests (HTTP) at all servers together, those that wait included;"
        " over it 503 at once; 0: no limit",
    )
    queue: int = option(
        "int",
        1024,
        min=0,
        max=1_000_000,
        workers="split",
        doc="requests that may wait while every server is at its maxconn; 0: none",
    )
    timeout_queue: float = option(
        "duration", 5.0, min=0.01, max=3600, doc="longest wait in the queue"
    )
    no_server: str = option(
        "choice",
        "fail",
        choices=("fail", "queue"),
        doc="what new traffic does while no server is up: ``fail`` at once, or wait in the queue",
    )
    timeout_connect: float = option(
        "duration",
        5.0,
        min=0.01,
        max=3600,
        doc="longest wait for a connection, TLS handshake included",
    )
    timeout_response: float = option(
        "duration",
        60.0,
        min=0.01,
        max=86400,
        http_only=True,
        doc="longest wait for the response head once the request is sent",
    )
    timeout_server: float = option(
        "duration",
        0.0,
        min=0.0,
        max=864000,
        doc="longest silence of a server; 0: 60 s in mid answer (http), 1 h (tcp)",
    )
    timeout_tunnel: float = option(
        "duration",
        3600.0,
        min=0.01,
        max=864000,
        http_only=True,
        doc="longest silence of a WebSocket or CONNECT tunnel",
    )
    pool_size: int = option(
        "int",
        256,
        min=0,
        max=100_000,
        http_only=True,
        doc="idle connections kept per server; 0: a new one for each request",
    )
    pool_min: int = option(
        "int",
        0,
        min=0,
        max=10_000,
        http_only=True,
        doc="idle connections made ahead and kept to each server that is up; at most ``pool_size``; 0: none",
        example="4",
    )
    pool_idle: float = option(
        "duration",
        30.0,
        min=0.1,
        max=86400,
        http_only=True,
        doc="an idle connection is closed after this long",
    )
    pool_requests: int = option(
        "int",
        0,
        min=0,
        max=1_000_000_000,
        http_only=True,
        doc="requests after which a connection is not used again; 0: no limit",
    )
    retry_buffer: int = option(
        "size",
        64 * 1024,
        min=0,
        max=16 * 1024 * 1024,
        http_only=True,
        doc="body bytes kept so that a request can be sent again",
    )
    max_response_header_bytes: int = option(
        "size", 64 * 1024, min=1024, max=1024 * 1024, http_only=True, doc="largest response head"
    )
    host_header: str = option(
        "string", "", http_only=True, doc="Host sent to servers; empty: the client's"
    )
    resolve_every: float = option(
        "duration", 30.0, min=1.0, max=86400, doc="how often server names are looked up again"
    )
    where: Where = hidden(NOWHERE)
