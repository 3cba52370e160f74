"""CONTROL. ``/healthz`` and ``/readyz`` for orchestrators and for balancers in front of lbproxy.

``/healthz`` answers as long as the reactor runs. ``/readyz`` fails before lbproxy serves traffic,
and again from the start of a shutdown. Neither depends on the health of servers: a backend without
servers is no reason to restart lbproxy or to send its other traffic elsewhere.
"""

from __future__ import annotations

from typing import Any

from lbproxy.admin.auth import Role
from lbproxy.admin.route import APICall, APIError, APIRoute, Part
from lbproxy.admin.schema import enum, object_

__all__ = ["PART"]

_STATUS = object_({"status": enum("always", "ok")})


def _alive(call: APICall) -> Any:
    return {"status": "ok"}


def _ready(call: APICall) -> Any:
    balancer = call.balancer
    if not balancer.serving:
        raise APIError(503, "lbproxy is stopping" if balancer.stopping else "lbproxy is starting")
    return {"status": "ok"}


PART = Part(
    "health",
    routes=(
        APIRoute(
            "GET",
            "/healthz",
            Role.READ,
            "200 while the process works",
            _alive,
            _STATUS,
            public="health",
        ),
        APIRoute(
            "GET",
            "/readyz",
            Role.READ,
            "200 while traffic is served; 503 before, and from the start of a shutdown",
            _ready,
            _STATUS,
            public="health",
            errors=("503",),
        ),
    ),
)
