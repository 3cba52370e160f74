"""CONTROL. Sticky sessions: which client belongs to which server; and forgetting it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import asdict

from lbproxy.admin.auth import Role
from lbproxy.admin.route import APIError, Call, Column, Panel, Part, Route, find
from lbproxy.admin.schema import (
    BOOLEAN,
    COUNT,
    NUMBER,
    STRING,
    array,
    integer,
    mapping,
    maybe,
    object_,
    string,
)

if TYPE_CHECKING:
    from lbproxy.admin.server import Admin

__all__ = ["PART", "SNAPSHOT"]

_ENTRY = object_({"key": STRING, "server": STRING, "expires_s": NUMBER})
_TABLE = object_(
    {
        "entries": COUNT,
        "size": COUNT,
        "created": COUNT,
        "evicted": COUNT,
        "expired": COUNT,
    }
)
_COUNTS = {
    "kind": STRING,
    "kept": COUNT,
    "moved": COUNT,
    "lent": COUNT,
    "cookies": COUNT,
}
SNAPSHOT = object_(_COUNTS, {"table": _TABLE})
"""Of a backend with ``sticky``."""

_STICKY = object_(
    {
        **_COUNTS,
        "table": maybe(_TABLE),
        "items": array(_ENTRY),
        "more": BOOLEAN,
    }
)
_ROW = object_({"backend": STRING, **_COUNTS}, dict(_TABLE["properties"]))


def _backend(call: Call) -> Any:
    """The one in the path, if clients are sticky there."""
    backend = find(call.balancer.backends, call.path["backend"], "backend")
    if backend.sticky is None:
        raise APIError(409, f"backend {backend.name!r} has no sticky in its configuration")
    return backend


def _list(call: Call) -> Any:
    backend = _backend(call)
    limit = call.query["limit"]
    known = call.balancer.sticky_entries(backend.name, limit)
    shown = {"table": None, **backend.sticky.snapshot()}
    return {
        **shown,
        "items": [{**asdict(one), "expires_s": round(one.expires_s, 3)} for one in known],
        "more": shown["table"] is not None and shown["table"]["entries"] > len(known),
    }


def _forget(call: Call) -> Any:
    backend = _backend(call)
    if backend.sticky.table is None:
        raise APIError(
            409,
            f"sticky = {backend.sticky.name} keeps no table: its cookies are void while a server is in maint",
        )
    server = call.query.get("server", "")
    if server:
        find(backend.group.servers, server, f"server of {backend.name}")
    return {"forgotten": call.balancer.clear_sticky(backend.name, server)}


def _state(admin: Admin) -> Any:
    rows = {}
    for name, backend in admin.balancer.backends.items():
        if backend.sticky is not None:
            found = backend.sticky.snapshot()
            rows[name] = {"backend": name, **found.pop("table", {}), **found}
    return rows


PART = Part(
    "sticky",
    routes=(
        Route(
            "GET",
            "/api/v1/backends/{backend}/sticky",
            Role.READ,
            "Which client belongs to which server, the one seen last first; secrets among the keys are digests",
            _list,
            _STICKY,
            query={"limit": integer("most items in the answer", 1, 1000, 100)},
        ),
        Route(
            "DELETE",
            "/api/v1/backends/{backend}/sticky",
            Role.WRITE,
            "Forget it: these clients are balanced as if they were new",
            _forget,
            object_({"forgotten": COUNT}),
            query={"server": string("only who belongs to this server")},
        ),
    ),
    state=_state,
    schema=mapping(_ROW),
    panels=(
        Panel(
            "Sticky sessions",
            "sticky",
            (
                Column("backend", "Backend"),
                Column("kind", "Kind"),
                Column("entries", "Clients known", "count"),
                Column("size", "Room", "count"),
                Column("kept", "Kept", "count"),
                Column("moved", "Moved", "count"),
                Column("lent", "Lent", "count"),
                Column("evicted", "Evicted", "count"),
            ),
        ),
    ),
)
