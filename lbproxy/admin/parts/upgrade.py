"""CONTROL. Upgrade in place: another process takes over the listening sockets."""

from __future__ import annotations

from typing import Any

from lbproxy.admin.auth import Role
from lbproxy.admin.route import APICall, APIRoute, Part
from lbproxy.admin.schema import BOOLEAN, COUNT, STRING, object_

__all__ = ["PART"]


async def _upgrade(call: APICall) -> Any:
    upgrader = call.balancer.upgrader
    if upgrader is None:
        error = "lbproxy runs inside another program: upgrade that program"
        return {"ok": False, "pid": 0, "error": error, "summary": error}
    report = await upgrader.begin()
    call.changes.append(f"upgrade: {report.summary().splitlines()[0]}")
    return {
        "ok": report.ok,
        "pid": report.pid,
        "error": report.error,
        "summary": report.summary(),
    }


PART = Part(
    "upgrade",
    routes=(
        APIRoute(
            "POST",
            "/api/v1/upgrade",
            Role.WRITE,
            "Start the program again with the listening sockets of this process, which then drains "
            "and exits; "
            "if it does not serve within 30 s, `ok` is false and this process continues",
            _upgrade,
            object_({"ok": BOOLEAN, "pid": COUNT, "error": STRING, "summary": STRING}),
        ),
    ),
)
