"""CONTROL. Firewalls: their refusals by class of rule."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs

from lbproxy.admin.auth import Role
from lbproxy.admin.exposition import Family, labels
from lbproxy.admin.route import PAGE, APICall, APIRoute, Column, Panel, Part, paged
from lbproxy.admin.schema import COUNT, STRING, mapping, object_, page
from lbproxy.admin.view import AdminView
from lbproxy.proxy.features.waf.counters import WafCounters
from lbproxy.proxy.features.waf.feature import Waf
from lbproxy.waf.rule import CLASSES

__all__ = ["PART"]

_COUNTS = tuple(field.name for field in attrs.fields(WafCounters))
_FIREWALL = object_({"name": STRING, "mode": STRING, **dict.fromkeys(_COUNTS, COUNT)})


def _firewalls(admin: AdminView) -> dict[str, dict[str, Any]]:
    """Return the sums over all routes of each firewall, by its name."""
    found: dict[str, dict[str, Any]] = {}
    for one in Waf.among(admin.balancer.routes).values():
        row = one.snapshot()
        known = found.setdefault(row["name"], {**row, **dict.fromkeys(_COUNTS, 0)})
        for name in _COUNTS:
            known[name] += row[name]
    return found


def _list(call: APICall) -> Any:
    return paged(call, list(_firewalls(call.admin).values()), lambda row: row)


def _metrics(admin: AdminView) -> Iterator[Family]:
    found = _firewalls(admin)
    if not found:
        return
    for field, help_text in _HELP.items():
        samples = [(labels(waf=name), float(row[field])) for name, row in found.items()]
        yield Family(f"lbproxy_waf_{field}", "counter", help_text, samples)
    yield Family(
        "lbproxy_waf_matches",
        "counter",
        "Matches of rules, by class of attack.",
        [
            (labels(**{"waf": name, "class": kind}), float(row[kind]))
            for name, row in found.items()
            for kind in (*CLASSES, "own")
        ],
    )


_HELP = {
    "requests": "Requests inspected by the firewall.",
    "blocked": "Requests refused by the firewall.",
    "detected": "Requests that mode block would have refused.",
    "broken": "Bodies that do not match their head, or cannot be decoded.",
    "over_limit": "Bodies longer than body_limit.",
    "unjudged": "Requests and responses for which the processes of 'rules' returned no verdict.",
}

PART = Part(
    "firewalls",
    routes=(
        APIRoute(
            "GET",
            "/api/v1/firewalls",
            Role.READ,
            "Every firewall in use, with its counters",
            _list,
            page(_FIREWALL),
            query=PAGE,
        ),
    ),
    state=_firewalls,
    schema=mapping(_FIREWALL),
    metrics=_metrics,
    panels=(
        Panel(
            "Firewalls",
            "firewalls",
            (
                Column("name", "Firewall"),
                Column("mode", "Mode"),
                Column("requests", "Requests/s", "rate"),
                Column("blocked", "Blocked", "count"),
                Column("detected", "Detected", "count"),
                *(Column(kind, kind.capitalize(), "count") for kind in (*CLASSES, "own")),
            ),
        ),
    ),
)
