"""CONTROL. ``/healthz`` and ``/readyz``: what orchestrators and balancers in front of lbproxy ask.

``/healthz`` answers as long as the reactor turns.  ``/readyz`` fails before lbproxy serves traffic
and from the moment it stops.  The health of servers affects neither: a backend without servers is
no reason to restart lbproxy or to send its other traffic elsewhere.
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
            "200 while traffic is served; 503 before, and from the beginning of a shutdown",
            _ready,
            _STATUS,
            public="health",
            errors=("503",),
        ),
    ),
)
