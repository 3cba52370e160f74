"""CONTROL. Mirrors: how many requests were copied, and how the answers differed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lbproxy.admin.auth import Role
from lbproxy.admin.route import APIError, Call, Column, Panel, Part, Route, find
from lbproxy.admin.schema import COUNT, NUMBER, STRING, array, integer, mapping, object_

if TYPE_CHECKING:
    from lbproxy.admin.server import Admin

__all__ = ["PART", "SNAPSHOT"]

_COUNTS = {
    "backend": STRING,
    "running": COUNT,
    "copied": COUNT,
    "answered": COUNT,
    "failed": COUNT,
    "busy": COUNT,
    "too_large": COUNT,
    "same": COUNT,
    "different": COUNT,
    "status": COUNT,
    "headers": COUNT,
    "body": COUNT,
    "predicate": COUNT,
}
_DIFFERENCE = object_(
    {
        "age_s": NUMBER,
        "method": STRING,
        "path": STRING,
        "server": STRING,
        "copy_server": STRING,
        "what": array(STRING),
    }
)
SNAPSHOT = object_(_COUNTS)
"""Of a backend with ``mirror``; ``backend`` is where its copies go."""

_MIRROR = object_({**_COUNTS, "differences": array(_DIFFERENCE)})
_ROW = object_({"name": STRING, **_COUNTS})


def _show(call: Call) -> Any:
    balancer = call.balancer
    backend = find(balancer.backends, call.path["backend"], "backend")
    if backend.mirror is None:
        raise APIError(409, f"backend {backend.name!r} has no mirror in its configuration")
    now = balancer.network.wheel.now()
    known = balancer.mirror_differences(backend.name)  # workers tell theirs late, and mixed up
    last = sorted(known, key=lambda one: one.at, reverse=True)[: call.query["limit"]]
    return {
        **backend.mirror.snapshot(),
        "differences": [
            {
                "age_s": round(max(0.0, now - one.at), 3),
                "method": one.method,
                "path": one.path,
                "server": one.server,
                "copy_server": one.copy_server,
                "what": list(one.what),
            }
            for one in last
        ],
    }


def _state(admin: Admin) -> Any:
    return {
        name: {"name": name, **backend.mirror.snapshot()}
        for name, backend in admin.balancer.backends.items()
        if backend.mirror is not None
    }


PART = Part(
    "mirrors",
    routes=(
        Route(
            "GET",
            "/api/v1/backends/{backend}/mirror",
            Role.READ,
            "What was copied to the mirror, and the last differences, the newest first",
            _show,
            _MIRROR,
            query={"limit": integer("most differences in the answer", 1, 50, 50)},
        ),
    ),
    state=_state,
    schema=mapping(_ROW),
    panels=(
        Panel(
            "Mirrors",
            "mirrors",
            (
                Column("name", "Backend"),
                Column("backend", "Mirror"),
                Column("copied", "Copied", "count"),
                Column("failed", "Failed", "count"),
                Column("same", "Same", "count"),
                Column("different", "Different", "count"),
                Column("busy", "Too many", "count"),
                Column("too_large", "Too large", "count"),
            ),
        ),
    ),
)
