"""CONTROL. Frontends: their listeners, traffic and routes."""

from __future__ import annotations

from typing import Any

from lbproxy.admin.auth import Role
from lbproxy.admin.parts.features import feature_fields
from lbproxy.admin.route import PAGE, APICall, APIRoute, Column, Panel, Part, find, paged
from lbproxy.admin.schema import (
    BOOLEAN,
    COUNT,
    MAYBE_STRING,
    NUMBER,
    SCALAR,
    STRING,
    array,
    mapping,
    object_,
    page,
)
from lbproxy.admin.view import AdminView
from lbproxy.observe.snapshot import frontend_snapshot

__all__ = ["HISTOGRAM", "PART"]

HISTOGRAM = object_(
    {"counts": array(COUNT), "total": NUMBER},
    doc="Histogram of durations: one count for each of the `bounds` in `process`, and one for "
    "longer durations",
)
_FRONTEND = object_(
    {
        "name": STRING,
        "mode": STRING,
        "listen": array(STRING),
        "active_connections": COUNT,
        "maxconn": COUNT,
        "connections": COUNT,
        "refused": COUNT,
        "evicted": COUNT,
        "requests": COUNT,
        "responses": mapping(COUNT),
        "bytes_in": COUNT,
        "bytes_out": COUNT,
        "closes": mapping(COUNT),
        "log_errors": COUNT,
    },
    {"request_seconds": HISTOGRAM, **feature_fields("frontend")},
)
_FRONTEND["additionalProperties"] = SCALAR  # fields of features
_ROUTE = object_(
    {
        "frontend": STRING,
        "position": COUNT,
        "route": STRING,
        "backend": MAYBE_STRING,
        "action": MAYBE_STRING,
        "default": BOOLEAN,
    },
    feature_fields("route"),
)
_ROUTE["additionalProperties"] = SCALAR  # fields of features


def row(balancer: Any, frontend: Any) -> dict[str, Any]:
    """Return a frontend as shown in the state."""
    found = frontend_snapshot(frontend)
    found["maxconn"] = frontend.spec.maxconn
    found["listen"] = [
        str(listener.address) if listener.address is not None else listener.spec.endpoint
        for listener in balancer.listeners
        if listener.frontend is frontend
    ]
    return found


def _state(admin: AdminView) -> Any:
    balancer = admin.balancer
    return {name: row(balancer, frontend) for name, frontend in balancer.frontends.items()}


def _list(call: APICall) -> Any:
    frontends = list(call.balancer.frontends.values())
    return paged(call, frontends, lambda one: row(call.balancer, one))


def _one(call: APICall) -> Any:
    frontend = find(call.balancer.frontends, call.path["frontend"], "frontend")
    return row(call.balancer, frontend)


def _routes(call: APICall) -> Any:
    found = []
    for frontend in call.balancer.frontends.values():
        spec = frontend.spec
        owners = {one.position: one for one in frontend.routes}
        for position, route in enumerate(spec.routes):
            found.append((spec, position, route, owners.get(position)))
        if spec.backend:
            last = len(spec.routes)
            found.append((spec, last, None, owners.get(last)))
    return paged(call, found, lambda item: _route(*item))


def _route(spec: Any, position: int, route: Any, owner: Any) -> dict[str, Any]:
    action = route.action.name if route is not None and route.action is not None else None
    return {
        "frontend": spec.name,
        "position": position,
        "route": route.text if route is not None else f"default -> {spec.backend}",
        "backend": (route.backend if route is not None else spec.backend) or None,
        "action": action,
        "default": route is None or not route.conditions,
        **({} if owner is None else owner.feature_snapshot()),
    }


PART = Part(
    "frontends",
    routes=(
        APIRoute(
            "GET",
            "/api/v1/frontends",
            Role.READ,
            "Frontends",
            _list,
            page(_FRONTEND),
            query=PAGE,
        ),
        APIRoute(
            "GET",
            "/api/v1/frontends/{frontend}",
            Role.READ,
            "One frontend",
            _one,
            _FRONTEND,
        ),
        APIRoute(
            "GET",
            "/api/v1/routes",
            Role.READ,
            "The routes of all frontends, in the order of evaluation",
            _routes,
            page(_ROUTE),
            query=PAGE,
        ),
    ),
    state=_state,
    schema=mapping(_FRONTEND),
    panels=(
        Panel(
            "Frontends",
            "frontends",
            (
                Column("name", "Frontend"),
                Column("mode", "Mode"),
                Column("active_connections", "Connections", "count"),
                Column("requests", "Requests", "rate"),
                Column("bytes_in", "In", "rate"),
                Column("bytes_out", "Out", "rate"),
                Column("refused", "Refused", "count"),
            ),
        ),
    ),
)
