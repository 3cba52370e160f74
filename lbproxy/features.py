"""CONTROL. The features of backends, frontends and routes: one line each.

The order is that in which they see traffic: the hooks of a later one surround those of an earlier
one.  An installed package adds features of its own by entry points of the group
``lbproxy.features``; they come last, by name.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points
from typing import Any

from twisted.logger import Logger

from lbproxy.checks.agents import Agents
from lbproxy.checks.dnsservers import DNSServers
from lbproxy.config.keys import add_keys
from lbproxy.config.sections import SECTIONS
from lbproxy.proxy.feature import Feature
from lbproxy.proxy.features.caching.feature import Caching
from lbproxy.proxy.features.ejector import Ejector
from lbproxy.proxy.features.hedge import Hedging
from lbproxy.proxy.features.mirror import Mirror
from lbproxy.proxy.features.prewarm import Warmer
from lbproxy.proxy.features.rebalancer import Rebalancer
from lbproxy.proxy.features.retries import Retries
from lbproxy.proxy.features.slowstart import SlowStart
from lbproxy.proxy.features.stickiness import Stickiness

__all__ = ["FEATURES", "GROUP", "Kind", "all_features", "declare_keys", "features_of"]

_log = Logger()

Kind = type[Feature[Any]]

FEATURES: tuple[Kind, ...] = (
    Retries,
    Ejector,
    SlowStart,
    Rebalancer,
    Stickiness,
    Mirror,
    Hedging,
    Warmer,
    Agents,
    DNSServers,
    Caching,
)

GROUP = "lbproxy.features"
"""Entry points of features in other packages."""


def declare_keys() -> None:
    """Add the sections of all features, and their keys to other sections; harmless the second
    time.
    """
    for kind in all_features():
        for section in kind.sections:
            SECTIONS.setdefault(section.kind, section)
        if kind.Keys is not None:
            add_keys(kind.owner, kind.Keys)


@cache
def all_features() -> tuple[Kind, ...]:
    """:data:`FEATURES`, and those of installed packages; one that cannot be loaded is left out with
    a warning.
    """
    found = {kind.name: kind for kind in FEATURES}
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        try:
            kind = point.load()
        except Exception as error:
            _log.warn("feature {name} cannot be loaded: {error}", name=point.name, error=error)
            continue
        if kind.name in found:
            _log.warn("feature {name} is not used: the name is taken", name=kind.name)
        else:
            found[kind.name] = kind
    return tuple(found.values())


def features_of(owner: str) -> tuple[Kind, ...]:
    """The features that a ``frontend``, a ``backend`` or a ``route`` could have."""
    return tuple(kind for kind in all_features() if kind.owner == owner)
