"""CONTROL. The features of backends, frontends and routes: one line each.

The order is that of the traffic: the hooks of a later feature surround those of an earlier one. An
installed package adds its own features by entry points of the group ``lbproxy.features``; they come
last, by name.

This module imports declarations, and a class only when traffic needs it, so that reading a
configuration does not import Twisted.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from attrs import frozen

from lbproxy.config.declaration import Declaration, FrontendDeclaration
from lbproxy.config.keys import add_keys, add_route_options
from lbproxy.config.sections import SECTIONS
from lbproxy.entrypoints import forget_packages, installed
from lbproxy.proxy.features.adapting.spec import AdaptiveDeclaration
from lbproxy.proxy.features.banning.spec import BanDeclaration
from lbproxy.proxy.features.caching.spec import CacheDeclaration
from lbproxy.proxy.features.challenge.spec import ChallengeDeclaration
from lbproxy.proxy.features.corsproxy.spec import CorsDeclaration
from lbproxy.proxy.features.limiting.spec import LimitDeclaration
from lbproxy.proxy.features.listing.spec import ListDeclaration
from lbproxy.proxy.features.pacing.spec import PacingDeclaration
from lbproxy.proxy.features.shedding.spec import ShedDeclaration
from lbproxy.proxy.features.tracking.spec import TrackDeclaration
from lbproxy.proxy.features.waf.spec import WafDeclaration

if TYPE_CHECKING:
    from lbproxy.proxy.feature import Feature

__all__ = [
    "FEATURES",
    "GROUP",
    "BuiltIn",
    "Kind",
    "all_features",
    "declarations",
    "declare_keys",
    "features_of",
    "forget_installed",
    "kind_of",
]

Kind = type["Feature[Any]"]


@frozen
class BuiltIn:
    """A feature of lbproxy: its name, ``module:Class``, and its declaration.

    Features whose keys are in :mod:`lbproxy.model` have no declaration.
    """

    name: str
    target: str
    declares: type[Declaration] = Declaration

    def load(self) -> Kind:
        """Import the class."""
        module, _, name = self.target.partition(":")
        found: Kind = getattr(import_module(module), name)
        return found


FEATURES: tuple[BuiltIn, ...] = (
    BuiltIn("retry_limit", "lbproxy.proxy.features.retries:Retries"),
    BuiltIn("passive", "lbproxy.proxy.features.ejector:Ejector"),
    BuiltIn("slow_start", "lbproxy.proxy.features.slowstart:SlowStart"),
    BuiltIn("rebalance", "lbproxy.proxy.features.rebalancer:Rebalancer"),
    BuiltIn("sticky", "lbproxy.proxy.features.stickiness:Stickiness"),
    BuiltIn("mirror", "lbproxy.proxy.features.mirror:Mirror"),
    BuiltIn("hedge", "lbproxy.proxy.features.hedge:Hedging"),
    BuiltIn(
        "adaptive_concurrency",
        "lbproxy.proxy.features.adapting.feature:Adapting",
        AdaptiveDeclaration,
    ),
    BuiltIn("pool_min", "lbproxy.proxy.features.prewarm:Warmer"),
    BuiltIn("agent", "lbproxy.checks.agents:Agents"),
    BuiltIn("discover", "lbproxy.checks.dnsservers:DNSServers"),
    BuiltIn("refusals", "lbproxy.proxy.features.refusals:Refusals", FrontendDeclaration),
    BuiltIn("cache", "lbproxy.proxy.features.caching.feature:Caching", CacheDeclaration),
    BuiltIn("waf", "lbproxy.proxy.features.waf.feature:Waf", WafDeclaration),
    BuiltIn("lists", "lbproxy.proxy.features.listing.feature:Listing", ListDeclaration),
    BuiltIn("shed", "lbproxy.proxy.features.shedding.feature:Shedding", ShedDeclaration),
    BuiltIn("pacing", "lbproxy.proxy.features.pacing.feature:Pacing", PacingDeclaration),
    BuiltIn(
        "challenge", "lbproxy.proxy.features.challenge.feature:Challenge", ChallengeDeclaration
    ),
    BuiltIn("geoip", "lbproxy.proxy.features.locating.feature:Locating", FrontendDeclaration),
    BuiltIn("limits", "lbproxy.proxy.features.limiting.feature:Limiting", LimitDeclaration),
    BuiltIn("tracks", "lbproxy.proxy.features.tracking.feature:Tracking", TrackDeclaration),
    BuiltIn("bans", "lbproxy.proxy.features.banning.feature:Banning", BanDeclaration),
    BuiltIn("corsproxy", "lbproxy.proxy.features.corsproxy.feature:CorsProxy", CorsDeclaration),
)

GROUP = "lbproxy.features"
"""Entry points of features in other packages."""


def declare_keys() -> None:
    """Add the sections of all features, and their keys to other sections. A second call does
    nothing.
    """
    declared = declarations().values()
    for section in (section for one in declared for section in one.sections):
        SECTIONS.setdefault(section.kind, section)
    for owner in ("frontend", "backend", "route"):
        keys = [one.Keys for one in declared if one.owner == owner]
        if owner == "backend":
            keys += [one.BackendKeys for one in declared]
        add_keys(owner, *(one for one in keys if one is not None))
    add_route_options(*(one.RouteKeys for one in declared if one.RouteKeys is not None))


def declarations() -> dict[str, type[Declaration]]:
    """Return the declarations of all features by name, including those of installed packages."""
    built_in = {one.name: one.declares for one in FEATURES}
    return {**built_in, **{kind.name: kind for kind in _installed()}}


@cache
def all_features() -> tuple[Kind, ...]:
    """Return :data:`FEATURES` and those of installed packages."""
    return (*(built_in.load() for built_in in FEATURES), *_installed())


def kind_of(name: str) -> Kind:
    """Return the feature of this name. Raises KeyError."""
    return {kind.name: kind for kind in all_features()}[name]


def features_of(owner: str) -> tuple[Kind, ...]:
    """Return the features that a ``frontend``, a ``backend`` or a ``route`` can have."""
    return tuple(kind for kind in all_features() if kind.owner == owner)


@cache
def _installed() -> tuple[Kind, ...]:
    """Return the features of installed packages. One that cannot be loaded, or whose name is taken,
    is ignored with a warning.
    """
    taken = {built_in.name for built_in in FEATURES}
    found: dict[str, Kind] = {}
    for point in sorted(installed(GROUP), key=lambda point: point.name):
        try:
            kind = point.load()
        except Exception as error:
            _warn("feature {name} cannot be loaded: {error}", name=point.name, error=error)
            continue
        if kind.name in taken or kind.name in found:
            _warn("feature {name} is not used: the name is taken", name=kind.name)
        else:
            found[kind.name] = kind
    return tuple(found.values())


def _warn(text: str, **values: Any) -> None:
    from twisted.logger import Logger

    Logger(namespace=__name__).warn(text, **values)


def forget_installed() -> None:
    """Search for installed packages again at the next call, for tests that install one."""
    forget_packages()
    _installed.cache_clear()
    all_features.cache_clear()
