"""CONTROL. The parts of the admin API, one module each. A new one is a module and a line in
:data:`PARTS`.

The parts of features are generated from their declarations (:mod:`lbproxy.admin.parts.features`).
"""

from __future__ import annotations

from lbproxy.admin.parts import (
    alerts,
    backends,
    bans,
    caches,
    certificates,
    challenges,
    configuration,
    core,
    corskeys,
    dashboard,
    drift,
    events,
    firewalls,
    frontends,
    health,
    lists,
    logs,
    metrics,
    process,
    refusals,
    reload,
    servers,
    sessions,
    shared,
    tracks,
    upgrade,
)
from lbproxy.admin.parts.features import part_of
from lbproxy.admin.route import Part
from lbproxy.features import all_features

__all__ = ["PARTS"]

PARTS: tuple[Part, ...] = (
    core.PART,
    health.PART,
    process.PART,
    frontends.PART,
    backends.PART,
    servers.PART,
    sessions.PART,
    *(part_of(kind) for kind in all_features() if kind.part is not None),
    caches.PART,
    caches.OBJECTS,
    firewalls.PART,
    refusals.PART,
    lists.PART,
    challenges.PART,
    corskeys.PART,
    bans.PART,
    tracks.PART,
    shared.PART,
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
"""All parts, in the order of the API's description and of the dashboard."""
