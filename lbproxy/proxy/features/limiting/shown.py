"""DATA. The rows and fields of the feature ``limits`` in the admin API and the dashboard."""

from __future__ import annotations

from typing import Any

from lbproxy.proxy.adminpart import AdminPart, Column, Many
from lbproxy.proxy.features.limiting.limit import Limit
from lbproxy.proxy.features.limiting.tally import LimitTally

__all__ = ["PART", "TALLY", "gauges_of", "sum_of"]

TALLY = ("asked", "refused", "delayed", "logged", "waiting")


def gauges_of(tally: LimitTally, limit: Limit) -> dict[str, Any]:
    """Return the numbers of one limit in this process."""
    return {
        **tally.numbers(),
        "waiting": sum(limit.waiting.values()) + limit.held,
        "refused_keys": dict(limit.refused),
    }


def sum_of(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Return the sum of the numbers of one limit in two processes; ``other`` may be empty."""
    found = {key: one[key] + other.get(key, 0) for key in TALLY}
    keys = dict(one["refused_keys"])
    for key, count in other.get("refused_keys", {}).items():
        keys[key] = keys.get(key, 0) + count
    return {**found, "refused_keys": keys}


PART = AdminPart(
    "limits",
    title="Limits",
    owner_key="frontend",
    fields={
        "limits": Many(
            {"rate": "string", **dict.fromkeys(TALLY, "count"), "refused_keys": Many("count")}
        )
    },
    row={"limits": "string", **dict.fromkeys(TALLY, "count")},
    columns=(
        Column("frontend", "Frontend"),
        Column("limits", "Limits"),
        Column("asked", "LimitCheck", "count"),
        Column("refused", "Refused", "count"),
        Column("delayed", "Delayed", "count"),
        Column("waiting", "Waiting", "count"),
    ),
    state="limits",
)
