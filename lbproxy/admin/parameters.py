"""CONTROL. Query parameters and JSON bodies of admin requests, checked against a route's
schemas.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qsl

from lbproxy.admin.route import APIError, APIRoute
from lbproxy.admin.schema import Schema, problem

__all__ = ["read_body", "read_query", "whole_number"]

_FIELDS = 50
_DIGITS = 15


def read_query(text: str, route: APIRoute) -> dict[str, Any]:
    """Return the parameters of a query string, with the route's defaults.

    Raises :class:`APIError` 400.
    """
    values = {
        name: schema["default"] for name, schema in route.query.items() if "default" in schema
    }
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=_FIELDS)
    except ValueError:
        raise APIError(400, "too many parameters") from None
    for name, value in pairs:
        schema = route.query.get(name)
        if schema is None:
            known = ", ".join(route.query) or "none"
            raise APIError(400, f"unknown parameter {name[:100]!r}; known: {known}")
        values[name] = _read_parameter(name, value, schema)
    return values


def _read_parameter(name: str, text: str, schema: Schema) -> Any:
    value: Any = text
    if schema["type"] == "integer":
        digits = text.removeprefix("-")
        if not (digits.isascii() and digits.isdigit() and len(digits) <= _DIGITS):
            raise APIError(400, f"{name} must be a whole number")
        value = int(text)
    elif schema["type"] == "boolean":
        if text not in ("true", "false", "1", "0", "yes", "no"):
            raise APIError(400, f"{name} must be true or false")
        value = text in ("true", "1", "yes")
    wrong = problem(value, schema, name)
    if wrong:
        raise APIError(400, wrong)
    return value


def read_body(data: bytes, route: APIRoute) -> Any:
    """Return the JSON value of a request body; None if the route takes no body.

    Raises :class:`APIError` 400.
    """
    if route.body is None:
        if data.strip() not in (b"", b"{}"):
            raise APIError(400, "this request takes no body")
        return None
    try:
        value = json.loads(data or b"{}", parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise APIError(400, f"the body is not JSON: {error}") from None
    wrong = problem(value, route.body)
    if wrong:
        raise APIError(400, wrong)
    return value


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def whole_number(text: str) -> int:
    """Return a header's value as a number from 0; 0 if it is not a number."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS else 0
