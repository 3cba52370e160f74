"""CONTROL. ``/metrics``: the metric families of all parts; and those of frontends, backends and servers."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterable, Iterator
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from lbproxy import __version__
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
from lbproxy.admin.parts.process import descriptors, resident_bytes
from lbproxy.admin.route import Call, Part, Raw, Route
from lbproxy.balance.server import State

if TYPE_CHECKING:
    from lbproxy.admin.server import Admin

__all__ = ["BACKEND_COUNTERS", "FRONTEND_COUNTERS", "PART", "SERVER_COUNTERS", "families"]

_FRONTEND = ("frontend",)
_BACKEND = ("backend",)
_SERVER = ("backend", "server")


def families(admin: Admin) -> Iterator[Family]:
    """Every metric of every part."""
    for part in admin.parts:
        if part.metrics is not None:
            yield from part.metrics(admin)


def _metrics(call: Call) -> Any:
    openmetrics = accepts_openmetrics(call.accept)
    kind = OPENMETRICS if openmetrics else PROMETHEUS
    return Raw(kind, render(families(call.admin), openmetrics=openmetrics))


# -- the process ------------------------------------------------------------------------------------


def _process(admin: Admin) -> Iterator[Family]:
    total, times = admin.balancer.total, os.times()
    build = labels(version=__version__)
    yield Family("lbproxy_build_info", "gauge", "Always 1.", [(build, 1)], ("version",))
    yield _one("process_start_time_seconds", "gauge", "Start, Unix time.", admin.started)
    yield _one(
        "process_cpu_seconds",
        "counter",
        "Processor time of the process, user and system.",
        round(times.user + times.system, 2),
    )
    yield _one("process_resident_memory_bytes", "gauge", "Memory in RAM.", resident_bytes())
    yield _one("process_open_fds", "gauge", "Open descriptors.", descriptors())
    yield _one(
        "lbproxy_connections", "gauge", "Client connections now, of all frontends.", total.active
    )
    yield _one(
        "lbproxy_connections_limit", "gauge", "Most client connections (maxconn).", total.maxconn
    )
    yield _one(
        "lbproxy_reactor_lag_seconds",
        "gauge",
        "How late the last timer of the reactor ran: the longest anything had to wait.",
        round(admin.lag.last, 6),
    )
    yield _one(
        "lbproxy_reactor_lag_max_seconds",
        "gauge",
        "The largest lag within the last minute.",
        round(admin.lag.worst, 6),
    )
    yield _one(
        "lbproxy_admin_streams", "gauge", "Who follows events or the state.", admin.followers
    )
    generations = gc.get_stats()
    yield Family(
        "python_gc_collections",
        "counter",
        "Runs of the garbage collector.",
        [(labels(generation=str(i)), one["collections"]) for i, one in enumerate(generations)],
        ("generation",),
    )


def _one(name: str, kind: Any, help: str, value: float) -> Family:
    return Family(name, kind, help, [("", value)])


# -- frontends --------------------------------------------------------------------------------------

FRONTEND_COUNTERS = (
    ("connections", "connections", "Connections accepted, those refused later included."),
    ("refused_connections", "refused", "Connections that ended before they carried traffic."),
    ("requests", "requests", "HTTP requests."),
    ("received_bytes", "bytes_in", "From clients: bodies (http) or all bytes (tcp)."),
    ("sent_bytes", "bytes_out", "To clients: bodies (http) or all bytes (tcp)."),
    ("log_errors", "log_errors", "Records that the access log failed to take."),
)


def _frontends(admin: Admin) -> Iterator[Family]:
    named = [(labels(frontend=name), one) for name, one in admin.balancer.frontends.items()]
    yield Family(
        "lbproxy_frontend_connections_active",
        "gauge",
        "Client connections now.",
        [(label, len(one.clients)) for label, one in named],
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
        "HTTP responses by class; none: the client got none.",
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
        "How requests, sessions and refused connections ended.",
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
        "How long requests (http) and sessions (tcp) took, from first to last.",
        _histograms(named, "request_seconds"),
        _FRONTEND,
    )


def _histograms(named: Iterable[tuple[str, Any]], attribute: str) -> list[Sample]:
    found = [(label, getattr(one.counters, attribute)) for label, one in named]
    return [(label, histogram) for label, histogram in found if histogram is not None]


# -- backends ---------------------------------------------------------------------------------------

BACKEND_COUNTERS = (
    ("retries", "retries", "Further attempts after a failed one."),
    ("redispatches", "redispatches", "Retries that went to another server."),
    ("queued", "queued", "Requests and sessions that had to wait for a server."),
    ("queue_timeouts", "queue_timeouts", "Waits in vain."),
    ("queue_full", "queue_full", "Sent away because the queue was full."),
    ("no_server", "no_server", "Sent away because no server was up."),
    ("circuit_open", "circuit_open", "Sent away because the backend was at its maxconn."),
    ("rebalanced", "rebalanced", "Sessions ended so that their clients go to another server."),
    ("retries_refused", "retries_refused", "Retries that max_retries or retry_budget forbade."),
    ("hedges", "hedges", "Second attempts because the first had no answer in time."),
    ("hedges_won", "hedges_won", "Second attempts whose answer came first."),
    ("hedges_refused", "hedges_refused", "Second attempts without a server or over a limit."),
)
_BACKEND_TIMES = (
    ("queue_seconds", "Waits in the queue; who did not wait is not in it."),
    ("connect_seconds", "Connections made to servers, TLS included; pooled ones are not in it."),
    ("response_seconds", "From a request, sent, to the head of its response."),
)


def _backends(admin: Admin) -> Iterator[Family]:
    named = [(labels(backend=name), one) for name, one in admin.balancer.backends.items()]
    gauges: tuple[tuple[str, str, Callable[[Any], int]], ...] = (
        ("servers", "Servers, whatever their state.", lambda one: len(one.group.servers)),
        (
            "servers_eligible",
            "Servers that may be picked now.",
            lambda one: one.group.eligible_count,
        ),
        ("queue_length", "Who waits for a server now.", lambda one: len(one.queue)),
        ("queue_limit", "Places in the queue.", lambda one: one.queue.limit),
        (
            "idle_connections",
            "Pooled connections to servers that wait for their next request.",
            lambda one: sum(map(len, one.pools.values())),
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
        "Exceptions and wrong answers of the balancer.",
        [(label, one.group.balancer_errors) for label, one in named],
        _BACKEND,
    )
    for name, help in _BACKEND_TIMES:
        samples_ = _histograms(named, name)
        yield Family(f"lbproxy_backend_{name}", "histogram", help, samples_, _BACKEND)


# -- servers ----------------------------------------------------------------------------------------

_SERVER_GAUGES = (
    ("up", "1: takes new traffic as far as health and operators go.", None),
    ("active", "Requests (http) or sessions (tcp) on it now.", "active"),
    ("weight", "Its share of the traffic, as configured or set.", "full_weight"),
    ("maxconn", "Its limit of active ones; 0: none.", "maxconn"),
    ("ejected", "1: passive health has taken it out for a while.", "ejected"),
)
SERVER_COUNTERS = (
    ("picked", "picked", "Times it was chosen."),
    ("ok", "ok", "Attempts that went well."),
    ("failed", "failed", "Attempts that failed and were its fault."),
    ("retried", "retried", "Attempts that were tried again elsewhere."),
    ("connects", "connects", "Connections begun."),
    ("connect_errors", "connect_errors", "Connections that could not be made."),
    ("reused_connections", "reused", "Requests on a pooled connection."),
    ("sent_bytes", "bytes_in", "From clients to the server."),
    ("received_bytes", "bytes_out", "From the server to clients."),
    ("checks_failed", "probes_failed", "Health checks that failed."),
    ("checks_passed", "probes_ok", "Health checks that passed."),
    ("downs", "downs", "Times it went down."),
    ("ejections", "ejections", "Times passive health took it out."),
)


def _servers(admin: Admin) -> Iterator[Family]:
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
        "1 at the state it is in.",
        (
            (f'{label[:-1]},state="{state.value}"}}', int(now is state))
            for label, one in named
            for now in (one.state,)
            for state in State
        ),
        (*_SERVER, "state"),
    )


def _certificates(admin: Admin) -> Iterator[Family]:
    pairs = {pair.source: pair for pair in admin.balancer.key_pairs()}
    yield Family(
        "lbproxy_certificate_expiry_seconds",
        "gauge",
        "When a certificate in use ends, Unix time.",
        [(labels(certificate=source), pair.expires) for source, pair in pairs.items()],
        ("certificate",),
    )


def _all(admin: Admin) -> Iterator[Family]:
    yield from _process(admin)
    yield from _frontends(admin)
    yield from _backends(admin)
    yield from _servers(admin)
    yield from _certificates(admin)


PART = Part(
    "metrics",
    routes=(
        Route(
            "GET",
            "/metrics",
            Role.READ,
            "Metrics in the Prometheus text format, or as OpenMetrics if `Accept` asks for it",
            _metrics,
            produces="text/plain",
        ),
    ),
    metrics=_all,
)
