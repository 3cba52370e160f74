"""CONTROL. Backends: numbers of servers, queue and retries."""

from __future__ import annotations

from typing import Any

from lbproxy.admin.auth import Role
from lbproxy.admin.parts.features import feature_fields
from lbproxy.admin.parts.frontends import HISTOGRAM
from lbproxy.admin.route import PAGE, APICall, APIRoute, Column, Panel, Part, find, paged
from lbproxy.admin.schema import COUNT, NUMBER, SCALAR, STRING, mapping, object_, page
from lbproxy.admin.view import AdminView
from lbproxy.balance.server import State
from lbproxy.observe.snapshot import backend_snapshot

__all__ = ["PART"]

_BACKEND = object_(
    {
        "name": STRING,
        "mode": STRING,
        "balance": STRING,
        "servers": COUNT,
        "up": COUNT,
        "usable": {
            **COUNT,
            "description": "servers that are up and have a weight, backups included",
        },
        "eligible": COUNT,
        "active": COUNT,
        "waiting": COUNT,
        "balancer_errors": COUNT,
        "retries": COUNT,
        "redispatches": COUNT,
        "queued": COUNT,
        "queue_timeouts": COUNT,
        "queue_full": COUNT,
        "no_server": COUNT,
    },
    {
        "queue_seconds": HISTOGRAM,
        "connect_seconds": HISTOGRAM,
        "response_seconds": HISTOGRAM,
        **feature_fields("backend"),
    },
)
_BACKEND["additionalProperties"] = SCALAR  # fields of features
_QUEUE = object_(
    {
        "backend": STRING,
        "waiting": COUNT,
        "limit": COUNT,
        "timeout_s": NUMBER,
        "queued": COUNT,
        "queue_timeouts": COUNT,
        "queue_full": COUNT,
    }
)


def row(backend: Any) -> dict[str, Any]:
    """Return a backend as shown in the state."""
    servers = backend.group.servers.values()
    found = backend_snapshot(backend, servers=False)
    found["balance"] = backend.spec.balance.name
    found["servers"] = len(servers)
    found["up"] = sum(server.state is State.UP for server in servers)
    found["usable"] = sum(server.state is State.UP and server.candidate for server in servers)
    found["active"] = sum(server.active for server in servers)
    return found


def _state(admin: AdminView) -> Any:
    return {name: row(backend) for name, backend in admin.balancer.backends.items()}


def _list(call: APICall) -> Any:
    return paged(call, list(call.balancer.backends.values()), row)


def _one(call: APICall) -> Any:
    return row(find(call.balancer.backends, call.path["backend"], "backend"))


def _queues(call: APICall) -> Any:
    return paged(call, list(call.balancer.backends.values()), _queue)


def _queue(backend: Any) -> dict[str, Any]:
    counters = backend.counters
    return {
        "backend": backend.name,
        "waiting": backend.queue.waiting,
        "limit": backend.queue.limit,
        "timeout_s": backend.queue.timeout,
        "queued": counters.queued,
        "queue_timeouts": counters.queue_timeouts,
        "queue_full": counters.queue_full,
    }


PART = Part(
    "backends",
    routes=(
        APIRoute(
            "GET",
            "/api/v1/backends",
            Role.READ,
            "Backends",
            _list,
            page(_BACKEND),
            query=PAGE,
        ),
        APIRoute("GET", "/api/v1/backends/{backend}", Role.READ, "One backend", _one, _BACKEND),
        APIRoute(
            "GET",
            "/api/v1/queues",
            Role.READ,
            "Requests and connections waiting in the queues",
            _queues,
            page(_QUEUE),
            query=PAGE,
        ),
    ),
    state=_state,
    schema=mapping(_BACKEND),
    panels=(
        Panel(
            "Backends",
            "backends",
            (
                Column("name", "Backend"),
                Column("balance", "Balance"),
                Column("up", "Up", "count"),
                Column("servers", "Servers", "count"),
                Column("active", "Active", "count"),
                Column("waiting", "Waiting", "count"),
                Column("retries", "Retries", "count"),
                Column("no_server", "No server", "count"),
            ),
        ),
    ),
)
