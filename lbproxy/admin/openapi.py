"""CONTROL. The OpenAPI 3.1 document, generated from the routes.

https://spec.openapis.org/oas/v3.1.0
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lbproxy import __version__
from lbproxy.admin.auth import Role
from lbproxy.admin.route import APIRoute, Part
from lbproxy.admin.schema import STRING, array, object_

__all__ = ["document"]

_ERROR = object_(
    {
        "error": object_(
            {"status": {"type": "integer"}, "message": STRING}, {"nearest": array(STRING)}
        )
    }
)

_ERRORS = {
    "400": "The request is invalid; the message gives the reason",
    "401": "A token is required, or the token is unknown",
    "403": "The role does not allow the request, or it may come from another site",
    "404": "Not found; `nearest` has names that exist",
    "405": "The method is not allowed; see `Allow`",
    "409": "The present state does not allow the request",
    "413": "The body is too long",
    "421": "The Host header is not accepted",
    "503": "Too many streams are open, or lbproxy is not ready",
}


def document(routes: Iterable[APIRoute], parts: Iterable[Part]) -> dict[str, Any]:
    """Return the document for ``routes``, each tagged with its part."""
    owner = {id(route): part.name for part in parts for route in part.routes}
    paths: dict[str, Any] = {}
    for route in routes:
        tag = owner.get(id(route), "core")
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, tag)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "lbproxy",
            "version": __version__,
            "description": 'The admin API. Errors are JSON: {"error": {"status": ..., '
            '"message": ...}}.',
        },
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {"Error": _ERROR},
        },
    }


def _operation(route: APIRoute, tag: str) -> dict[str, Any]:
    content: Any = {route.produces: {"schema": route.answer}}
    found: dict[str, Any] = {
        "operationId": _operation_id(route),
        "summary": route.summary,
        "tags": [tag],
        "x-role": route.role.word,
        "responses": {"200": {"description": "Done", "content": content}, **_errors(route)},
    }
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": STRING} for name in route.names
    ] + [
        {"name": name, "in": "query", "required": False, "schema": schema}
        for name, schema in route.query.items()
    ]
    if parameters:
        found["parameters"] = parameters
    if route.body is not None:
        found["requestBody"] = {
            "required": bool(route.body.get("required")),
            "content": {"application/json": {"schema": route.body}},
        }
    if route.role is not Role.NONE:
        found["security"] = [{"token": []}, {}]
    return found


def _errors(route: APIRoute) -> dict[str, Any]:
    wanted = ["400", "421"]
    if route.role is not Role.NONE:
        wanted += ["401", "403"]
    if route.names:
        wanted.append("404")
    if route.method != "GET":
        wanted += ["409", "413"]
    if route.produces == "text/event-stream":
        wanted.append("503")
    wanted += route.errors
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {code: {"description": _ERRORS[code], "content": content} for code in sorted(wanted)}


def _operation_id(route: APIRoute) -> str:
    words = [
        part.strip("{}").replace(".", "_") for part in route.segments if part not in ("api", "v1")
    ]
    return "_".join([route.method.lower(), *words])
