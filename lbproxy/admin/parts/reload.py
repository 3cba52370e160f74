"""CONTROL. Reload of the configuration."""

from __future__ import annotations

from typing import Any

from lbproxy.admin.auth import Role
from lbproxy.admin.route import APICall, APIRoute, Part
from lbproxy.admin.schema import ANY, BOOLEAN, COUNT, NUMBER, STRING, array, object_

__all__ = ["PART"]

_REPORT = object_(
    {
        "ok": BOOLEAN,
        "dry_run": BOOLEAN,
        "errors": array(STRING),
        "changes": array(ANY),
        "sessions": COUNT,
        "kept": COUNT,
        "leaving": array(object_({"what": STRING, "sessions": COUNT})),
        "drain_s": NUMBER,
        "seconds": NUMBER,
        "restart": array(STRING),
        "summary": STRING,
        "text": STRING,
    }
)


async def _reload(call: APICall) -> Any:
    report = await call.admin.reloads.reload(dry_run=bool(call.query.get("dry_run")))
    if report.ok and not report.dry_run:
        call.changes.append("reload")
    return {**report.as_json(), "text": report.text()}


PART = Part(
    "reload",
    routes=(
        APIRoute(
            "POST",
            "/api/v1/reload",
            Role.WRITE,
            "Read and apply the configuration file again; if it is invalid, `ok` is false and "
            "nothing changes",
            _reload,
            _REPORT,
            query={"dry_run": {"type": "boolean", "description": "only report the changes"}},
        ),
    ),
)
