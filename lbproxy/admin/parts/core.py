"""CONTROL. The parts of the admin API that belong to no feature.

These are the state of all parts, its stream, the API's description, and the panels.
"""

from __future__ import annotations

from typing import Any

from attrs import asdict

from lbproxy.admin.auth import Role
from lbproxy.admin.openapi import document
from lbproxy.admin.route import APICall, APIRoute, Part, Raw
from lbproxy.admin.schema import ANY, NUMBER, STRING, array, mapping, object_

__all__ = ["PART"]

_PANEL = object_(
    {
        "title": STRING,
        "rows": STRING,
        "columns": array(object_({"key": STRING, "title": STRING, "unit": STRING})),
    }
)
_WHO = object_({"name": STRING, "role": STRING})


def _state(call: APICall) -> Any:
    return Raw("application/json", call.admin.states.slices())


def _stream(call: APICall) -> Any:
    return call.admin.states.stream()


def _openapi(call: APICall) -> Any:
    return document(call.admin.table.routes, call.admin.parts)


def _panels(call: APICall) -> Any:
    return {"panels": [asdict(panel) for part in call.admin.parts for panel in part.panels]}


def _who(call: APICall) -> Any:
    return {"name": call.who.name, "role": call.who.role.word}


PART = Part(
    "core",
    routes=(
        APIRoute(
            "GET",
            "/api/v1/state",
            Role.READ,
            "The complete state: an object for each part",
            _state,
            {**mapping(ANY), "properties": {"at": NUMBER}, "required": ["at"]},
        ),
        APIRoute(
            "GET",
            "/api/v1/stream",
            Role.READ,
            "The state as server-sent events: the complete `state`, then every second `patch`, "
            "a JSON Merge Patch (RFC 7396)",
            _stream,
            produces="text/event-stream",
        ),
        APIRoute(
            "GET",
            "/api/v1/panels",
            Role.READ,
            "Tables for a dashboard, generated from the state",
            _panels,
            object_({"panels": array(_PANEL)}),
        ),
        APIRoute("GET", "/api/v1/whoami", Role.READ, "The caller's name and role", _who, _WHO),
        APIRoute(
            "GET",
            "/api/v1/openapi.json",
            Role.READ,
            "This description of the API, as OpenAPI 3.1",
            _openapi,
            mapping(ANY),
        ),
    ),
)
