"""CONTROL. Drift: changes by operators at run time, which differ from the configuration."""

from __future__ import annotations

from typing import Any

from lbproxy.admin.auth import Role
from lbproxy.admin.route import APICall, APIError, APIRoute, Part, find
from lbproxy.admin.schema import COUNT, MAYBE_STRING, STRING, array, object_, string
from lbproxy.admin.view import AdminView

__all__ = ["PART"]

_DRIFT = object_(
    {
        "backend": STRING,
        "server": STRING,
        "what": STRING,
        "configured": STRING,
        "running": STRING,
        "line": STRING,
        "text": STRING,
    }
)
_STATE = object_({"count": COUNT, "file": MAYBE_STRING, "error": STRING})


def _state(admin: AdminView) -> Any:
    changing = admin.balancer.changing
    file = changing.file
    return {
        "count": len(changing.drift()) if changing.changes else 0,
        "file": file.path if file is not None else None,
        "error": file.error if file is not None else "",
    }


def _list(call: APICall) -> Any:
    found = [one.as_dict() for one in call.balancer.changing.drift()]
    return {"items": found, **_state(call.admin)}


def _reset(call: APICall) -> Any:
    backend, server = call.query.get("backend", ""), call.query.get("server", "")
    if server and not backend:
        raise APIError(400, "server requires backend")
    if backend:
        owner = find(call.balancer.backends, backend, "backend")
        known = [name for of, name in call.balancer.changing.changes.names() if of == backend]
        if server and server not in owner.group.servers and server not in known:
            raise APIError(404, f"no server {server!r} in backend {backend!r}")
    undone = call.balancer.changing.reset(backend, server)
    call.changes.extend(f"{one.text} undone" for one in undone)
    return {"undone": [one.as_dict() for one in undone]}


PART = Part(
    "drift",
    routes=(
        APIRoute(
            "GET",
            "/api/v1/drift",
            Role.READ,
            "Run-time changes that differ from the configuration; `line` is the configuration line "
            "with the change",
            _list,
            object_({"items": array(_DRIFT), **_STATE["properties"]}),
        ),
        APIRoute(
            "DELETE",
            "/api/v1/drift",
            Role.WRITE,
            "Undo run-time changes; servers return to the configuration",
            _reset,
            object_({"undone": array(_DRIFT)}),
            query={
                "backend": string("only for this backend"),
                "server": string("only for this server of the backend"),
            },
        ),
    ),
    state=_state,
    schema=_STATE,
)
