"""CONTROL. The last refusals with their reasons."""

from __future__ import annotations

from typing import Any

from lbproxy.admin.auth import Role
from lbproxy.admin.route import PAGE, APICall, APIError, APIRoute, Part, paged
from lbproxy.admin.schema import COUNT, NUMBER, STRING, object_, page, string
from lbproxy.admin.view import AdminView
from lbproxy.proxy.features.refusals import Refusals

__all__ = ["PART"]

_TEXTS = ("request_id", "frontend", "route", "backend", "client_ip", "method", "host", "path")
_REFUSAL = object_(
    {
        "at": NUMBER,
        **dict.fromkeys(_TEXTS, STRING),
        "status": COUNT,
        "close": STRING,
        "detail": STRING,
        "seconds": NUMBER,
    }
)


def _newest_first(admin: AdminView) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for one in Refusals.among(admin.balancer.frontends).values():
        found += [*reversed(one.last), *reversed(one.ended)]
    return sorted(found, key=lambda record: -record["at"])


def _list(call: APICall) -> Any:
    found = _newest_first(call.admin)
    client = call.query.get("client", "")
    if client:
        found = [one for one in found if one["client_ip"] == client]
    return paged(call, found, lambda one: one)


def _one(call: APICall) -> Any:
    wanted = call.path["id"]
    for one in _newest_first(call.admin):
        if one["request_id"] == wanted:
            return one
    raise APIError(404, f"request {wanted[:100]!r} is not among the last refusals")


PART = Part(
    "refusals",
    routes=(
        APIRoute(
            "GET",
            "/api/v1/refusals",
            Role.READ,
            "The last requests, sessions and connections that were refused, the newest first",
            _list,
            page(_REFUSAL),
            query={"client": string("only for this address"), **PAGE},
        ),
        APIRoute(
            "GET",
            "/api/v1/refusals/{id}",
            Role.READ,
            "One refusal",
            _one,
            _REFUSAL,
        ),
    ),
)
