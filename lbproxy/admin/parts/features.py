"""CONTROL. The features of backends in the admin API: routes, state, panels and metrics from their
declarations.

The declarations are :class:`lbproxy.proxy.adminpart.AdminPart` and the fields of
:attr:`lbproxy.proxy.feature.Feature.Counters`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import attrs

from lbproxy.admin.auth import Role
from lbproxy.admin.exposition import Family, labels
from lbproxy.admin.route import APICall, APIError, APIRoute, Panel, Part, find
from lbproxy.admin.schema import (
    BOOLEAN,
    COUNT,
    NUMBER,
    STRING,
    Schema,
    array,
    integer,
    mapping,
    maybe,
    object_,
    string,
)
from lbproxy.admin.view import AdminView
from lbproxy.features import Kind, all_features
from lbproxy.proxy.adminpart import AdminPart, Argument, Fields, Many, Maybe, Operation
from lbproxy.proxy.guarding import ask

__all__ = ["feature_families", "feature_fields", "part_of", "schema_of"]

_WORDS = {"string": STRING, "count": COUNT, "number": NUMBER, "boolean": BOOLEAN}


def schema_of(kind: Any) -> Schema:
    """Return the JSON Schema of a kind of value."""
    if isinstance(kind, str):
        return _WORDS[kind]
    if isinstance(kind, Many):
        return mapping(schema_of(kind.kind))
    if isinstance(kind, Maybe):
        return maybe(schema_of(kind.kind))
    if isinstance(kind, list):
        return array(schema_of(kind[0]))
    needed = {name: schema_of(one) for name, one in kind.items() if not name.endswith("?")}
    optional = {name[:-1]: schema_of(one) for name, one in kind.items() if name.endswith("?")}
    return object_(needed, optional)


def feature_fields(owner: str) -> dict[str, Schema]:
    """Return the fields that features add to a ``backend`` or a ``frontend``."""
    found: dict[str, Schema] = {}
    for kind in all_features():
        if kind.owner == owner and kind.has_snapshot() and kind.part is not None:
            found[kind.name] = maybe(schema_of(kind.part.fields))
    return found


def part_of(kind: Kind) -> Part:
    """Return the part of the admin API that a feature declares."""
    part = kind.part
    assert part is not None
    panel = Panel(part.title, part.state, part.columns)
    return Part(
        part.name,
        routes=tuple(_route(kind, operation) for operation in part.operations),
        state=_state(kind) if part.state else None,
        schema=mapping(schema_of(_row_fields(kind, part))) if part.state else {},
        panels=(panel,) if part.columns else (),
    )


def _owners(admin: AdminView, owner: str) -> dict[str, Any]:
    found: dict[str, Any] = getattr(admin.balancer, f"{owner}s")
    return found


# -- state -------------------------------------------------------------------------------------


def _row_fields(kind: Kind, part: AdminPart) -> Fields:
    return {part.owner_key: "string", **(part.row or part.fields)}


def _state(kind: Kind) -> Callable[[AdminView], Any]:
    part = kind.part
    assert part is not None
    key = part.owner_key

    def state(admin: AdminView) -> Any:
        return {
            name: {key: name, **ask({}, one.row)}
            for name, owner in _owners(admin, kind.owner).items()
            if (one := kind.of(owner)) is not None
        }

    return state


# -- routes ------------------------------------------------------------------------------------


def _route(kind: Kind, operation: Operation) -> APIRoute:
    def handle(call: APICall) -> Any:
        owner = find(_owners(call.admin, kind.owner), call.path[kind.owner], kind.owner)
        if kind.of(owner) is None:
            raise APIError(
                409, f"{kind.owner} {owner.name!r} has no {kind.name} in its configuration"
            )
        for name, argument in operation.arguments.items():
            if argument.kind == "server" and call.query.get(name):
                find(owner.group.servers, call.query[name], f"server of {owner.name}")
        try:
            answer = call.balancer.operate(
                kind.owner, owner.name, kind.name, operation.key, dict(call.query)
            )
        except ValueError as error:
            raise APIError(409, str(error)) from None
        if operation.method != "GET":
            call.changes.append(_change(owner.name, operation, call.query, answer))
        return answer

    return APIRoute(
        operation.method,
        f"/api/v1/{kind.owner}s/{{{kind.owner}}}/{operation.path}",
        Role.READ if operation.method == "GET" else Role.WRITE,
        operation.summary,
        handle,
        schema_of(operation.answer),
        query={name: _parameter(one) for name, one in operation.arguments.items()},
    )


def _change(owner: str, operation: Operation, query: Mapping[str, Any], answer: Any) -> str:
    """Describe the effect of an operation: its arguments, and the numbers in its response."""
    words = [f"{name}={value}" for name, value in query.items()]
    counts = [f"{value} {name}" for name, value in answer.items() if isinstance(value, int)]
    return f"{' '.join([owner, operation.path, *words])}: {', '.join(counts) or 'done'}"


def _parameter(argument: Argument) -> Schema:
    if argument.kind == "server":
        return string(argument.doc)
    return integer(argument.doc, argument.low, argument.high, argument.default)


# -- metrics -----------------------------------------------------------------------------------


def feature_families(admin: AdminView) -> Iterator[Family]:
    """Yield the counters of features that have a help text."""
    for kind in all_features():
        if kind.Counters is None:
            continue
        owners = _owners(admin, kind.owner).values()
        for one in attrs.fields(kind.Counters):
            help = one.metadata.get("help")
            if help:
                samples = [
                    (labels(**{kind.owner: owner.name}), getattr(owner.counts[kind.name], one.name))
                    for owner in owners
                ]
                yield Family(
                    f"lbproxy_{kind.owner}_{one.name}", "counter", help, samples, (kind.owner,)
                )
