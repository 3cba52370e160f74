"""CONTROL. Sessions.

TCP sessions, tunnels and requests that run on a server, and an operation to end one of them.
"""

from __future__ import annotations

from typing import Any

from attrs import asdict

from lbproxy.admin.auth import Role
from lbproxy.admin.route import APICall, APIError, APIRoute, Part, find
from lbproxy.admin.schema import COUNT, NUMBER, STRING, array, integer, object_, string

__all__ = ["PART"]

_SESSION = object_(
    {
        "id": STRING,
        "backend": STRING,
        "server": STRING,
        "frontend": STRING,
        "kind": STRING,
        "client_ip": STRING,
        "client_port": COUNT,
        "age_s": NUMBER,
        "bytes_in": COUNT,
        "bytes_out": COUNT,
        "request": STRING,
    }
)


async def _list(call: APICall) -> Any:
    query = call.query
    backend, server = query.get("backend", ""), query.get("server", "")
    if backend:
        owner = find(call.balancer.backends, backend, "backend")
        if server:
            find(owner.group.servers, server, f"server of {backend}")
    elif server:
        raise APIError(400, "server requires backend")
    limit = query["limit"]
    found = await call.balancer.all_sessions(
        backend,
        server,
        frontend=query.get("frontend", ""),
        client=query.get("client", ""),
        limit=limit + 1,
    )
    shown = [{**asdict(view), "age_s": round(view.age_s, 3)} for view in found[:limit]]
    return {"items": shown, "more": len(found) > limit}


async def _kill(call: APICall) -> Any:
    if not await call.balancer.end_session(call.path["id"]):
        raise APIError(404, "no such session; it may have ended")
    call.changes.append(f"session {call.path['id'][:100]} ended")
    return {"killed": 1}


PART = Part(
    "sessions",
    routes=(
        APIRoute(
            "GET",
            "/api/v1/sessions",
            Role.READ,
            "Running sessions, the oldest first on each server",
            _list,
            object_({"items": array(_SESSION), "more": {"type": "boolean"}}),
            query={
                "backend": string("only for this backend"),
                "server": string("only for this server of the backend"),
                "frontend": string("only for this frontend"),
                "client": string("only for this client address"),
                "limit": integer("maximum number of items in the response", 1, 1000, 100),
            },
        ),
        APIRoute(
            "DELETE",
            "/api/v1/sessions/{id}",
            Role.WRITE,
            "End one session",
            _kill,
            object_({"killed": COUNT}),
        ),
    ),
)
