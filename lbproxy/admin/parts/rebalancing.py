"""CONTROL. Rebalancing: long-lived sessions move to where there is room, on demand."""

from __future__ import annotations

from typing import Any

from lbproxy.admin.auth import Role
from lbproxy.admin.route import APIError, Call, Part, Route, find
from lbproxy.admin.schema import COUNT, STRING, mapping, object_

__all__ = ["PART"]

_PLAN = object_({"backend": STRING, "sessions": COUNT, "moves": mapping(COUNT)})


def _rebalance(call: Call) -> Any:
    backend = find(call.balancer.backends, call.path["backend"], "backend")
    try:
        begun = call.balancer.rebalance(backend.name)
    except ValueError as error:
        raise APIError(409, str(error)) from None
    return {
        "backend": begun.backend,
        "sessions": sum(begun.moves.values()),
        "moves": begun.moves,
    }


PART = Part(
    "rebalancing",
    routes=(
        Route(
            "POST",
            "/api/v1/backends/{backend}/rebalance",
            Role.WRITE,
            "Begin to move long-lived sessions to servers with room",
            _rebalance,
            _PLAN,
        ),
    ),
)
