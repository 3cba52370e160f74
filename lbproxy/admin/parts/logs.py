"""CONTROL. The access log as a stream for viewers. Nothing is stored, and it costs nothing without
viewers.

Records are sent to followers as JSON, regardless of the format of ``access_log``, and even if it is
off. At most :data:`lbproxy.observe.follow.RATE` per second are sent; the others are counted.
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

    ``errors``: show only failures.
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
        """Start a new second, and follow frontends that a reload has created."""
        self._call = self._admin.reactor.callLater(EVERY, self._tick)
        missed = self._lines.turn()
        if missed:
            self._follower.send(event("missed", {"records": missed}))
        for name, frontend in self._admin.balancer.frontends.items():
            if self._frontend in ("", name) and self.told not in frontend.followers:
                frontend.followers = (*frontend.followers, self.told)

    def told(self, record: Any) -> None:
        """Handle the record of a finished request or session. Never raises."""
        if self._call is None:
            return  # a connection from before a reload
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
                "frontend": string("only for this frontend"),
                "errors": {**BOOLEAN, "default": False, "description": "only failures"},
            },
            produces="text/event-stream",
        ),
    ),
)
