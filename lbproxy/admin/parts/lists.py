"""CONTROL. Lists of addresses: their size and state, questions and changes."""

from __future__ import annotations

from typing import Any

from lbproxy.admin.auth import Role
from lbproxy.admin.route import APICall, APIError, APIRoute, Column, Panel, Part, find
from lbproxy.admin.schema import BOOLEAN, COUNT, STRING, array, mapping, object_, string
from lbproxy.admin.view import AdminView
from lbproxy.proxy.features.listing.feature import Listing
from lbproxy.proxy.features.listing.source import ListSource

__all__ = ["PART"]

_FIELDS = {
    "name": STRING,
    "ranges": COUNT,
    "bytes": COUNT,
    "loaded": BOOLEAN,
    "error": STRING,
    "added": array(STRING),
    "removed": array(STRING),
}
_ADDRESS = {"address": string("an address, a prefix or a range FIRST-LAST", 100)}


def _sources(admin: AdminView) -> dict[str, ListSource]:
    found: dict[str, ListSource] = {}
    for frontend in admin.balancer.frontends.values():
        feature = Listing.of(frontend)
        if feature is not None:
            found.update(feature.sources)
    return found


def _facts(one: ListSource) -> dict[str, Any]:
    return {
        "name": one.spec.name,
        "ranges": len(one.list.source),
        "bytes": one.list.source.bytes,
        "loaded": one.list.loaded,
        "error": one.error,
        "added": list(one.list.added),
        "removed": list(one.list.removed),
    }


def _state(admin: AdminView) -> Any:
    return {name: _facts(one) for name, one in _sources(admin).items()}


def _every(call: APICall) -> Any:
    return list(_state(call.admin).values())


def _has(call: APICall) -> Any:
    one = find(_sources(call.admin), call.path["list"], "list")
    return {"contains": call.query.get("address", "") in one.list}


def _edit(call: APICall, verb: Any) -> Any:
    one = find(_sources(call.admin), call.path["list"], "list")
    address = call.body["address"]
    try:
        one.edit(verb, address)
    except ValueError as error:
        raise APIError(400, str(error)) from None
    call.changes.append(f"list {one.spec.name}: {verb} {address}")
    return _facts(one)


def _route(verb: str, summary: str) -> APIRoute:
    return APIRoute(
        "POST",
        f"/api/v1/lists/{{list}}/{verb}",
        Role.WRITE,
        summary,
        lambda call: _edit(call, verb),
        object_(_FIELDS),
        body=object_(_ADDRESS),
    )


PART = Part(
    "lists",
    routes=(
        APIRoute(
            "GET",
            "/api/v1/lists",
            Role.READ,
            "Every list of addresses, its size, and what operators have changed",
            _every,
            array(object_(_FIELDS)),
        ),
        APIRoute(
            "GET",
            "/api/v1/lists/{list}/contains",
            Role.READ,
            "Whether an address is in the list",
            _has,
            object_({"contains": BOOLEAN}),
            query=_ADDRESS,
        ),
        _route("add", "Add an address, a prefix or a range"),
        _route("remove", "Take an address, a prefix or a range out"),
    ),
    state=_state,
    schema=mapping(object_(_FIELDS)),
    panels=(
        Panel(
            "Lists",
            "lists",
            (
                Column("name", "List"),
                Column("ranges", "Ranges", "count"),
                Column("bytes", "Size", "bytes"),
                Column("error", "Error"),
            ),
        ),
    ),
)
