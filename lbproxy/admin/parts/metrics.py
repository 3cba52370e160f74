"""CONTROL. ``/metrics``: the metric families of all parts, including those of frontends, backends
and servers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from operator import attrgetter
from typing import Any

from lbproxy.admin.auth import Role
from lbproxy.admin.exposition import (
    OPENMETRICS,
    PROMETHEUS,
    Family,
    Sample,
    accepts_openmetrics,
    labels,
    render,
)
from lbproxy.admin.parts.features import feature_families
from lbproxy.admin.processmetrics import certificate_families, log_families, process_families
from lbproxy.admin.route import APICall, APIRoute, Part, Raw
from lbproxy.admin.view import AdminView
from lbproxy.balance.server import State

__all__ = ["BACKEND_COUNTERS", "FRONTEND_COUNTERS", "PART", "SERVER_COUNTERS", "families"]

_FRONTEND = ("frontend",)
_BACKEND = ("backend",)
_SERVER = ("backend", "server")


def families(admin: AdminView) -> Iterator[Family]:
    """Yield the metrics of all parts."""
    for part in admin.parts:
        if part.metrics is not None:
            yield from part.metrics(admin)


def _metrics(call: APICall) -> Any:
    openmetrics = accepts_openmetrics(call.accept)
    kind = OPENMETRICS if openmetrics else PROMETHEUS
    return Raw(kind, render(families(call.admin), openmetrics=openmetrics))


# -- frontends -----------------------------------------------------------------------------------

FRONTEND_COUNTERS = (
    ("connections", "connections", "Accepted connections, including those refused later."),
    ("refused_connections", "refused", "Connections that ended before they carried traffic."),
    (
        "evicted_connections",
        "evicted",
        "Connections without a request that were closed to make room for others.",
    ),
    ("requests", "requests", "HTTP requests received."),
    (
        "received_bytes",
        "bytes_in",
        "Bytes received from clients: bodies (http) or all bytes (tcp).",
    ),
    ("sent_bytes", "bytes_out", "Bytes sent to clients: bodies (http) or all bytes (tcp)."),
    ("log_errors", "log_errors", "Access log records that could not be formatted."),
)


def _frontends(admin: AdminView) -> Iterator[Family]:
    named = [(labels(frontend=name), one) for name, one in admin.balancer.frontends.items()]
    yield Family(
        "lbproxy_frontend_connections_active",
        "gauge",
        "Open client connections.",
        [(label, one.client_count) for label, one in named],
        _FRONTEND,
    )
    for name, attribute, help in FRONTEND_COUNTERS:
        get = attrgetter(attribute)
        yield Family(
            f"lbproxy_frontend_{name}",
            "counter",
            help,
            [(label, get(one.counters)) for label, one in named],
            _FRONTEND,
        )
    yield Family(
        "lbproxy_frontend_responses",
        "counter",
        "HTTP responses by status class; none: no response was sent.",
        [
            (labels(frontend=one.name, code=f"{n}xx" if n else "none"), one.counters.responses[n])
            for _, one in named
            if one.mode == "http"
            for n in range(6)
        ],
        ("frontend", "code"),
    )
    yield Family(
        "lbproxy_frontend_closes",
        "counter",
        "Requests, sessions and refused connections, by close reason.",
        [
            (labels(frontend=one.name, close=kind.value), count)
            for _, one in named
            for kind, count in one.counters.closes.items()
        ],
        ("frontend", "close"),
    )
    yield Family(
        "lbproxy_frontend_request_seconds",
        "histogram",
        "Duration of requests (http) and sessions (tcp).",
        _histograms(named, "request_seconds"),
        _FRONTEND,
    )


def _histograms(named: Iterable[tuple[str, Any]], attribute: str) -> list[Sample]:
    found = [(label, getattr(one.counters, attribute)) for label, one in named]
    return [(label, histogram) for label, histogram in found if histogram is not None]


# -- backends ------------------------------------------------------------------------------------

BACKEND_COUNTERS = (
    ("retries", "retries", "Retries: further attempts after a failed one."),
    ("redispatches", "redispatches", "Retries that went to another server."),
    ("queued", "queued", "Requests and sessions that entered the queue."),
    (
        "queue_timeouts",
        "queue_timeouts",
        "Requests and sessions that waited timeout_queue for a server.",
    ),
    ("queue_full", "queue_full", "Requests and sessions rejected because the queue was full."),
    ("no_server", "no_server", "Requests and sessions rejected because no server was up."),
    (
        "circuit_open",
        "circuit_open",
        "Requests and sessions rejected because the backend was at its maxconn.",
    ),
)
_BACKEND_TIMES = (
    ("queue_seconds", "Waiting time in the queue; only requests and sessions that waited."),
    ("connect_seconds", "Connect time of new server connections, TLS included."),
    ("response_seconds", "Time from the request sent to the response head."),
)


def _backends(admin: AdminView) -> Iterator[Family]:
    named = [(labels(backend=name), one) for name, one in admin.balancer.backends.items()]
    gauges: tuple[tuple[str, str, Callable[[Any], int]], ...] = (
        ("servers", "Servers in any state.", lambda one: len(one.group.servers)),
        (
            "servers_eligible",
            "Servers that may be picked.",
            lambda one: one.group.eligible_count,
        ),
        (
            "queue_length",
            "Requests and sessions waiting in the queue.",
            lambda one: one.queue.waiting,
        ),
        ("queue_limit", "Limit of the queue (queue).", lambda one: one.queue.limit),
        (
            "idle_connections",
            "Idle pooled connections to servers.",
            lambda one: sum(server.connector.idle for server in one.group.servers.values()),
        ),
    )
    for name, help, count in gauges:
        samples = [(label, count(one)) for label, one in named]
        yield Family(f"lbproxy_backend_{name}", "gauge", help, samples, _BACKEND)
    for name, attribute, help in BACKEND_COUNTERS:
        get = attrgetter(attribute)
        samples = [(label, get(one.counters)) for label, one in named]
        yield Family(f"lbproxy_backend_{name}", "counter", help, samples, _BACKEND)
    yield Family(
        "lbproxy_backend_balancer_errors",
        "counter",
        "Exceptions and invalid picks of the balancer.",
        [(label, one.group.balancer_errors) for label, one in named],
        _BACKEND,
    )
    for name, help in _BACKEND_TIMES:
        samples_ = _histograms(named, name)
        yield Family(f"lbproxy_backend_{name}", "histogram", help, samples_, _BACKEND)


# -- servers -------------------------------------------------------------------------------------

_SERVER_GAUGES = (
    ("up", "1 if the server is up, else 0.", None),
    ("active", "Active requests (http) or sessions (tcp).", "active"),
    ("weight", "Weight, as configured or set at run time.", "full_weight"),
    ("maxconn", "Limit of active requests or sessions; 0: no limit.", "maxconn"),
    ("ejected", "1 while passive health has ejected the server, else 0.", "ejected"),
)
SERVER_COUNTERS = (
    ("picked", "picked", "Picks of the server."),
    ("ok", "ok", "Successful attempts."),
    ("failed", "failed", "Attempts that failed because of the server."),
    ("retried", "retried", "Attempts that were retried."),
    ("connects", "connects", "Connection attempts to the server."),
    ("connect_errors", "connect_errors", "Failed connection attempts."),
    ("reused_connections", "reused", "Requests sent on a pooled connection."),
    ("sent_bytes", "bytes_in", "Bytes sent to the server."),
    ("received_bytes", "bytes_out", "Bytes received from the server."),
    ("checks_failed", "probes_failed", "Failed health checks."),
    ("checks_passed", "probes_ok", "Passed health checks."),
    ("downs", "downs", "Transitions of the server to down."),
    ("ejections", "ejections", "Ejections by passive health."),
)


def _servers(admin: AdminView) -> Iterator[Family]:
    if not admin.metrics_servers:
        return
    named = [
        (labels(backend=backend.name, server=server.name), server)
        for backend in admin.balancer.backends.values()
        for server in backend.group.servers.values()
    ]
    for name, help, attribute in _SERVER_GAUGES:
        samples: Iterable[Sample]
        if attribute is None:
            samples = ((label, int(one.state is State.UP)) for label, one in named)
        else:
            get = attrgetter(attribute)
            samples = ((label, int(read(one))) for read in (get,) for label, one in named)
        yield Family(f"lbproxy_server_{name}", "gauge", help, samples, _SERVER)
    for name, attribute, help in SERVER_COUNTERS:
        get = attrgetter(attribute)
        samples = ((label, read(one.counters)) for read in (get,) for label, one in named)
        yield Family(f"lbproxy_server_{name}", "counter", help, samples, _SERVER)
    yield Family(
        "lbproxy_server_state",
        "gauge",
        "1 for the current state, 0 for the others.",
        (
            (f'{label[:-1]},state="{state.value}"}}', int(now is state))
            for label, one in named
            for now in (one.state,)
            for state in State
        ),
        (*_SERVER, "state"),
    )


def _all(admin: AdminView) -> Iterator[Family]:
    yield from process_families(admin)
    yield from _frontends(admin)
    yield from _backends(admin)
    yield from feature_families(admin)
    yield from _servers(admin)
    yield from certificate_families(admin)
    yield from log_families(admin)


PART = Part(
    "metrics",
    routes=(
        APIRoute(
            "GET",
            "/metrics",
            Role.READ,
            "Metrics in the Prometheus text format, or as OpenMetrics if `Accept` asks for it",
            _metrics,
            produces="text/plain",
            public="metrics",
        ),
    ),
    metrics=_all,
)
