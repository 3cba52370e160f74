"""CONTROL. The firing alerts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lbproxy.admin.auth import Role
from lbproxy.admin.exposition import Family
from lbproxy.admin.route import APICall, APIRoute, Part
from lbproxy.admin.schema import ANY, BOOLEAN, COUNT, NUMBER, STRING, array, mapping, object_
from lbproxy.admin.view import AdminView

__all__ = ["PART"]

_ALERT = object_(
    {
        "name": STRING,
        "subject": STRING,
        "severity": STRING,
        "text": STRING,
        "since": NUMBER,
        "facts": mapping(ANY),
    }
)
_SHOWN = {"on": BOOLEAN, "sent": COUNT, "failed": COUNT}


def _rows(admin: AdminView) -> list[dict[str, Any]]:
    alerter = admin.balancer.alerter
    return [
        {
            "name": alert.name,
            "subject": alert.subject,
            "severity": alert.finding.severity.value,
            "text": alert.finding.text,
            "since": round(alerter.unix(alert.since)),
            "facts": dict(alert.finding.facts),
        }
        for alert in alerter.active
    ]


def _counts(admin: AdminView) -> dict[str, Any]:
    alerter = admin.balancer.alerter
    return {"on": alerter.on, "sent": alerter.sent, "failed": alerter.failed}


def _state(admin: AdminView) -> Any:
    firing = {f"{row['name']} {row['subject']}".strip(): row for row in _rows(admin)}
    return {**_counts(admin), "firing": firing}


def _list(call: APICall) -> Any:
    return {**_counts(call.admin), "items": _rows(call.admin)}


def _metrics(admin: AdminView) -> Iterator[Family]:
    alerter = admin.balancer.alerter
    yield Family("lbproxy_alerts_firing", "gauge", "Firing alerts.", [("", len(alerter.active))])
    yield Family(
        "lbproxy_alert_notices_failed", "counter", "Alert notices that could not be delivered.",
        [("", alerter.failed)],
    )  # fmt: skip


PART = Part(
    "alerts",
    routes=(
        APIRoute(
            "GET",
            "/api/v1/alerts",
            Role.READ,
            "Firing alerts, the oldest first; `on` is false without [alerts]",
            _list,
            object_({**_SHOWN, "items": array(_ALERT)}),
        ),
    ),
    state=_state,
    schema=object_({**_SHOWN, "firing": mapping(_ALERT)}),
    metrics=_metrics,
)
