"""CONTROL. The shared store: its state, and the amount of data exchanged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lbproxy.admin.auth import Role
from lbproxy.admin.exposition import Family
from lbproxy.admin.route import APICall, APIRoute, Part
from lbproxy.admin.schema import BOOLEAN, COUNT, NUMBER, STRING, object_
from lbproxy.admin.view import AdminView

__all__ = ["PART"]

_SCHEMA = object_(
    {},
    {
        "place": STRING,
        "up": BOOLEAN,
        "error": STRING,
        "processes_down": COUNT,
        "commands": COUNT,
        "failures": COUNT,
        "connects": COUNT,
        "seconds": NUMBER,
        "keys_sent": COUNT,
        "keys_lost": COUNT,
        "messages": COUNT,
    },
)
_COUNTERS = (
    ("commands", "commands", "Commands sent to the shared store."),
    ("failures", "failures", "Commands that failed, or had no reply in time."),
    ("connects", "connects", "Connections made to the shared store."),
    ("command_seconds", "seconds", "Time that answered commands took, in seconds."),
    ("keys", "keys_sent", "Keys of limits, tracks and bans whose use was sent to other nodes."),
    (
        "keys_lost",
        "keys_lost",
        "Keys whose use was not sent to other nodes: the store was down, or too many waited.",
    ),
    ("messages", "messages", "Messages about bans and lists read from the shared store."),
)


def _state(admin: AdminView) -> dict[str, Any]:
    nodes = admin.balancer.nodes
    return {} if nodes is None else dict(nodes.facts())


def _show(call: APICall) -> Any:
    return _state(call.admin)


def _metrics(admin: AdminView) -> Iterator[Family]:
    facts = _state(admin)
    if not facts:
        return
    yield Family(
        "lbproxy_shared_up",
        "gauge",
        "1 if the shared store answers in all processes, else 0.",
        [("", int(facts["up"] and not facts["processes_down"]))],
    )
    for name, key, help in _COUNTERS:
        yield Family(f"lbproxy_shared_{name}", "counter", help, [("", facts[key])])


PART = Part(
    "shared",
    routes=(
        APIRoute(
            "GET",
            "/api/v1/shared",
            Role.READ,
            "The store that nodes share, with its counters; empty without [shared]",
            _show,
            _SCHEMA,
        ),
    ),
    state=_state,
    schema=_SCHEMA,
    metrics=_metrics,
)
