"""PURE. ``[backend NAME]``, its mirror and its rebalancing."""

from __future__ import annotations

from typing import Final

from attrs import frozen

from lbproxy.model.base import NOWHERE, Mode, PluginSpec, Where, hidden, option
from lbproxy.model.copies import MirrorSpec, RebalanceSpec
from lbproxy.model.discovery import TemplateSpec
from lbproxy.model.server import AgentSpec, CheckSpec, PassiveSpec, ServerSpec

__all__ = ["BackendSpec", "MirrorSpec", "RebalanceSpec", "server_timeout"]

_IDLE_HTTP: Final = 60.0
_IDLE_TCP: Final = 3600.0


@frozen
class BackendSpec:
    """``[backend NAME]``: servers and how they are used."""

    name: str = option("hidden", "", doc="section name")
    mode: Mode = option(
        "choice",
        "",
        choices=("tcp", "http"),
        doc="mode of the backend; only needed if no frontend uses it",
    )
    balance: PluginSpec = option(
        "line:balancer", None, doc="balancer that picks the next server", example="leastconn"
    )
    servers: tuple[ServerSpec, ...] = option(
        "lines:server",
        (),
        workers="shared",
        empty="none",
        doc="servers, one per line; ``none``: only servers that are added at run time",
        example="a 10.0.0.11:8000 weight=3",
    )
    discover: tuple[TemplateSpec, ...] = option(
        "lines:discovery",
        (),
        workers="master",
        doc="servers found by DNS, one line for each name; these lines may stand in ``servers``",
        example="app-{1..10} dns:app.internal:8000",
    )
    sticky: PluginSpec | None = option(
        "line:sticky",
        None,
        doc="send a client to the server that served it before",
        example="cookie LB",
    )
    mirror: MirrorSpec | None = option(
        "line:mirror",
        None,
        http_only=True,
        doc="copy requests to another backend, and optionally compare the responses",
        example="next share=10% compare=status,body",
    )
    check: CheckSpec | None = option(
        "line:check",
        None,
        workers="master",
        doc="active health check; none: servers count as up",
        example="http GET /healthz expect=200",
    )
    passive: PassiveSpec | None = option(
        "line:passive",
        None,
        doc="eject servers by the outcome of their traffic; none: off",
        example="errors=5 eject=10s max_ejected=50%",
    )
    panic: float = option(
        "percent",
        0.0,
        min=0.0,
        max=1.0,
        doc="ignore health when less than this share of a tier is up; 0: never",
        example="30%",
    )
    slow_start: float = option(
        "duration",
        0.0,
        min=0.0,
        max=86400,
        doc=(
            "time in which a server that comes up reaches its full weight, from a tenth; 0: at once"
        ),
        example="30s",
    )
    rebalance: RebalanceSpec | None = option(
        "line:rebalance",
        None,
        doc="move long-lived sessions to servers that are added or get more weight; none: off",
        example="websocket rate=5/s idle=5s",
    )
    agent: AgentSpec | None = option(
        "line:agent",
        None,
        workers="master",
        doc="query a program beside each server for its state and capacity",
        example="9707 every=2s",
    )
    on_down: str = option(
        "choice",
        "keep",
        choices=("keep", "close"),
        doc="what to do with the sessions of a server that goes down",
    )
    filters: tuple[PluginSpec, ...] = option(
        "lines:filter",
        (),
        doc="filters for traffic to this backend, in the order in which they run",
    )
    retries: int = option(
        "int",
        2,
        min=0,
        max=100,
        doc="maximum number of attempts after the first, each at another server if possible",
    )
    retry_on: tuple[str, ...] = option(
        "list:retry",
        ("connect", "reset"),
        http_only=True,
        doc="failures after which a request is retried, if it can be replayed",
        example="connect reset timeout 502 503 504",
    )
    retry_backoff: float = option(
        "duration",
        0.0,
        min=0.0,
        max=60,
        doc=(
            "maximum pause before the first retry at another server, doubled for each retry up "
            "to ten times this; the actual pause is random between 0 and the maximum"
        ),
    )
    timeout_retries: float = option(
        "duration",
        0.0,
        min=0.0,
        max=86400,
        doc=(
            "time after the arrival of the request or tcp connection in which a retry may begin; "
            "0: no limit"
        ),
    )
    max_retries: int = option(
        "int",
        0,
        min=0,
        max=10_000_000,
        workers="split",
        doc="maximum number of requests that are retried at the same time; 0: no limit",
    )
    retry_budget: float = option(
        "percent",
        0.0,
        min=0.0,
        max=1.0,
        doc="maximum number of retries, as a share of the requests of the last 10 s; 0: no limit",
        example="20%",
    )
    retry_floor: float = option(
        "rate",
        10.0,
        min=0.0,
        max=1_000_000,
        workers="split",
        doc="retries that ``retry_budget`` allows regardless of the number of requests",
    )
    hedge: float = option(
        "duration",
        0.0,
        min=0.0,
        max=3600,
        http_only=True,
        doc=(
            "time after which an idempotent request without a response head is also sent to a "
            "second server; the first head wins; 0: never"
        ),
        example="200ms",
    )
    hedge_share: float = option(
        "percent",
        0.1,
        min=0.001,
        max=1.0,
        http_only=True,
        doc=(
            "maximum number of second attempts by ``hedge``, as a share of the requests of the "
            "last 10 s"
        ),
        example="5%",
    )
    maxconn: int = option(
        "int",
        0,
        min=0,
        max=10_000_000,
        workers="split",
        doc=(
            "maximum number of connections (TCP) or requests (HTTP) at all servers together, "
            "including waiting ones; more get 503 at once; 0: no limit"
        ),
    )
    queue: int = option(
        "int",
        1024,
        min=0,
        max=1_000_000,
        workers="split",
        doc="maximum number of requests that wait while every server is at its maxconn; 0: none",
    )
    timeout_queue: float = option(
        "duration", 5.0, min=0.01, max=3600, doc="maximum wait in the queue"
    )
    no_server: str = option(
        "choice",
        "fail",
        choices=("fail", "queue"),
        doc="new traffic while no server is up: ``fail`` at once, or wait in the ``queue``",
    )
    timeout_connect: float = option(
        "duration",
        5.0,
        min=0.01,
        max=3600,
        doc="maximum wait for a connection, TLS handshake included",
    )
    timeout_response: float = option(
        "duration",
        60.0,
        min=0.01,
        max=86400,
        http_only=True,
        doc="maximum wait for the response head once the request is sent",
    )
    timeout_server: float = option(
        "duration",
        0.0,
        min=0.0,
        max=864000,
        doc="maximum silence of a server; 0: 60 s within a response (http), 1 h (tcp)",
    )
    timeout_tunnel: float = option(
        "duration",
        3600.0,
        min=0.01,
        max=864000,
        http_only=True,
        doc="maximum silence in a WebSocket or CONNECT tunnel",
    )
    pool_size: int = option(
        "int",
        256,
        min=0,
        max=100_000,
        http_only=True,
        doc="maximum number of idle connections per server; 0: a new connection for each request",
    )
    pool_min: int = option(
        "int",
        0,
        min=0,
        max=10_000,
        http_only=True,
        doc=(
            "number of idle connections opened in advance to each server that is up; at most "
            "``pool_size``; 0: none"
        ),
        example="4",
    )
    pool_idle: float = option(
        "duration",
        30.0,
        min=0.1,
        max=86400,
        http_only=True,
        doc="time after which an idle connection is closed",
    )
    pool_requests: int = option(
        "int",
        0,
        min=0,
        max=1_000_000_000,
        http_only=True,
        doc="number of requests after which a connection is not reused; 0: no limit",
    )
    reuse: str = option(
        "choice",
        "always",
        choices=("never", "safe", "always"),
        http_only=True,
        doc=(
            "which requests may use a connection that served another client connection: all, all "
            "but the first of a client connection (``safe``), or none"
        ),
    )
    retry_buffer: int = option(
        "size",
        64 * 1024,
        min=0,
        max=16 * 1024 * 1024,
        http_only=True,
        doc="size of the buffer that keeps a request body for retries",
    )
    max_response_header_bytes: int = option(
        "size",
        64 * 1024,
        min=1024,
        max=1024 * 1024,
        http_only=True,
        doc="maximum size of a response head",
    )
    host_header: str = option(
        "string", "", http_only=True, doc="Host header sent to servers; empty: the client's"
    )
    resolve_every: float = option(
        "duration", 30.0, min=1.0, max=86400, doc="interval between look-ups of server names"
    )
    guard: str = option(
        "choice",
        "off",
        choices=("off", "public-only"),
        doc=(
            "``public-only``: servers must have public addresses; a name that resolves to a "
            "private, reserved or own address makes its server down"
        ),
        example="public-only",
    )
    where: Where = hidden(NOWHERE)


def server_timeout(spec: BackendSpec) -> float:
    """Return the seconds that ``timeout_server`` of a backend stands for."""
    return spec.timeout_server or (_IDLE_HTTP if spec.mode == "http" else _IDLE_TCP)
