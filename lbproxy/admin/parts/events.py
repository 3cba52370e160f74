"""CONTROL. Events of servers, listeners, certificates and operators: the last ones, or as a
stream.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lbproxy.admin.auth import Role
from lbproxy.admin.route import APICall, APIRoute, Part
from lbproxy.admin.schema import ANY, COUNT, NUMBER, STRING, array, integer, mapping, object_
from lbproxy.admin.stream import AdminStream, Follower, event

__all__ = ["PART"]

_EVENT = object_(
    {
        "number": COUNT,
        "at": NUMBER,
        "kind": STRING,
        "severity": STRING,
        "subject": STRING,
        "text": STRING,
        "facts": mapping(ANY),
    }
)


def _list(call: APICall) -> Any:
    events = call.balancer.events
    found = events.since(call.query["since"], call.query["limit"])
    return {"items": [one.as_dict() for one in found], "last": events.last}


def _follow(call: APICall) -> Any:
    events = call.balancer.events
    since = call.last_event or call.query["since"]

    def begin(follower: Follower) -> Callable[[], None]:
        def tell(one: Any) -> None:
            follower.send(event("event", one.as_dict(), one.number))

        for one in events.since(since, call.query["limit"]):
            tell(one)
        end: Callable[[], None] = events.subscribe(tell)
        return end

    return AdminStream(begin)


_QUERY = {
    "since": integer("only events after this number", 0, 2**53, 0),
    "limit": integer("maximum number of past events", 1, 1000, 100),
}

PART = Part(
    "events",
    routes=(
        APIRoute(
            "GET",
            "/api/v1/events",
            Role.READ,
            "The last events, the oldest first",
            _list,
            object_({"items": array(_EVENT), "last": COUNT}),
            query=_QUERY,
        ),
        APIRoute(
            "GET",
            "/api/v1/events/stream",
            Role.READ,
            "The last events, then new ones as they happen, as server-sent events; supports "
            "`Last-Event-ID`",
            _follow,
            query=_QUERY,
            produces="text/event-stream",
        ),
    ),
)
