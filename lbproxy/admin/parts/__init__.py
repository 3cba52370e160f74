"""CONTROL. The features on the admin side, one module each; a new one is a module and a line in :data:`PARTS`."""

from __future__ import annotations

from lbproxy.admin.parts import (
    alerts,
    backends,
    certificates,
    configuration,
    core,
    dashboard,
    drift,
    events,
    frontends,
    logs,
    metrics,
    mirror,
    process,
    rebalancing,
    reload,
    servers,
    sessions,
    sticky,
    upgrade,
)
from lbproxy.admin.route import Part

__all__ = ["PARTS"]

PARTS: tuple[Part, ...] = (
    core.PART,
    process.PART,
    frontends.PART,
    backends.PART,
    servers.PART,
    sessions.PART,
    rebalancing.PART,
    sticky.PART,
    mirror.PART,
    certificates.PART,
    configuration.PART,
    reload.PART,
    upgrade.PART,
    drift.PART,
    events.PART,
    logs.PART,
    alerts.PART,
    metrics.PART,
    dashboard.PART,
)
"""All of them, in the order of the API's description and of the dashboard."""
