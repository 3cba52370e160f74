"""CONTROL. Lists of addresses: size, state, look-ups and changes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from typing import Any

from lbproxy.admin.auth import Role
from lbproxy.admin.route import APICall, APIError, APIRoute, Column, Panel, Part, Raw, find
from lbproxy.admin.schema import BOOLEAN, COUNT, STRING, array, mapping, object_, string
from lbproxy.admin.view import AdminView
from lbproxy.proxy.features.listing.feature import Listing
from lbproxy.proxy.features.listing.source import ListSource

__all__ = ["PART"]

_LAST = 100
"""Maximum number of additions and removals of a list in the state and in the response to a change:
the last ones. A list may have 100,000 of each, which take 40 ms.
"""

_SLICE = 1000
"""Maximum number of additions or removals written in one turn of the reactor."""

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
    for feature in Listing.among(admin.balancer.frontends).values():
        found.update(feature.sources)
    return found


def _facts(one: ListSource) -> dict[str, Any]:
    return {
        "name": one.spec.name,
        "ranges": len(one.list.source),
        "bytes": one.list.source.bytes,
        "loaded": one.list.loaded,
        "error": one.error,
        "added": _last(one.list.added),
        "removed": _last(one.list.removed),
    }


def _last(edits: dict[str, Any]) -> list[str]:
    return list(islice(reversed(edits), _LAST))[::-1]


def _state(admin: AdminView) -> Any:
    return {name: _facts(one) for name, one in _sources(admin).items()}


def _every(call: APICall) -> Any:
    return Raw("application/json", _texts(list(_sources(call.admin).values())))


def _texts(sources: list[ListSource]) -> Iterator[bytes]:
    """Yield the lists with all changes as JSON, in slices."""
    before = b"["
    for one in sources:
        edits = {"added": list(one.list.added), "removed": list(one.list.removed)}
        facts = {name: fact for name, fact in _facts(one).items() if name not in edits}
        yield before + json.dumps(facts)[:-1].encode()
        for name, texts in edits.items():
            yield b', "%s": [' % name.encode()
            for at in range(0, len(texts), _SLICE):
                some = json.dumps(texts[at : at + _SLICE])[1:-1]
                yield (b", " if at else b"") + some.encode()
            yield b"]"
        before = b"}, "
    yield b"[]" if before == b"[" else b"}]"


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
        _route("remove", "Remove an address, a prefix or a range"),
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
