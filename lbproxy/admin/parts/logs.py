"""CONTROL. The access log as a stream for viewers. Nothing is kept, and without viewers it costs
nothing.

Records go to followers as JSON, whatever format ``access_log`` has, or if it is off. At most
:data:`lbproxy.observe.follow.RATE` a second are sent; the others are counted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lbproxy.admin.auth import Role
from lbproxy.admin.route import APICall, APIRoute, Part, find
from lbproxy.admin.schema import BOOLEAN, string
from lbproxy.admin.stream import AdminStream, Follower, event
from lbproxy.admin.view import AdminView
from lbproxy.observe.follow import LineMaker

__all__ = ["PART", "Tail"]

EVERY = 1.0


class Tail:
    """A viewer of ``frontend``, or of all frontends if it is "".

    ``errors``: only what did not go well.
    """

    def __init__(self, admin: AdminView, follower: Follower, frontend: str, errors: bool) -> None:
        self._admin = admin
        self._follower = follower
        self._frontend = frontend
        self._errors = errors
        self._lines = LineMaker()
        self._call: Any = None
        self._tick()

    def _tick(self) -> None:
        """A new second; and a reload may have made new frontends."""
        self._call = self._admin.reactor.callLater(EVERY, self._tick)
        missed = self._lines.turn()
        if missed:
            self._follower.send(event("missed", {"records": missed}))
        for name, frontend in self._admin.balancer.frontends.items():
            if self._frontend in ("", name) and self.told not in frontend.followers:
                frontend.followers = (*frontend.followers, self.told)

    def told(self, record: Any) -> None:
        """A request or session is over.  Never raises."""
        if self._call is None:
            return  # a connection of before a reload
        if self._errors and self._lines.fine(record):
            return
        line = self._lines.line(record)
        if line is not None:
            self._follower.send(f"event: record\ndata: {line}\n\n".encode())

    def end(self) -> None:
        """Stop following."""
        if self._call is not None:
            self._call.cancel()
            self._call = None
        for frontend in self._admin.balancer.frontends.values():
            frontend.followers = tuple(one for one in frontend.followers if one != self.told)


def _follow(call: APICall) -> Any:
    frontend = call.query.get("frontend", "")
    if frontend:
        find(call.balancer.frontends, frontend, "frontend")

    def begin(follower: Follower) -> Callable[[], None]:
        return Tail(call.admin, follower, frontend, call.query["errors"]).end

    return AdminStream(begin)


PART = Part(
    "logs",
    routes=(
        APIRoute(
            "GET",
            "/api/v1/logs/stream",
            Role.READ,
            "New access records as server-sent events: `record`; `missed` has the number of "
            "omitted records",
            _follow,
            query={
                "frontend": string("only of this frontend"),
                "errors": {**BOOLEAN, "default": False, "description": "only failures"},
            },
            produces="text/event-stream",
        ),
    ),
)
