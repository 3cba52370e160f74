"""DATA. A route as the owner of features, with its state over reloads.

It exists only if a feature belongs to routes (``Feature.owner``). Traffic does not use it: the
hooks of its features are in the :class:`~lbproxy.proxy.policy.RoutePolicy` of the route.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from lbproxy.proxy.feature import Feature, FeatureSet, counts_of, shown, take_over

__all__ = ["RouteOwner", "take_over_routes"]


class RouteOwner:
    """One route of a frontend, or its key ``backend``.

    ``name``: frontend and conditions, ``web: path /login``; unique. ``spec``: the route with the
    keys of the frontend that it does not set. ``position``: its index among the routes of the
    frontend. ``planned``: the features that it gets by :func:`take_over_routes`. ``before``: the
    same route in the previous configuration, whose counts continue.
    """

    def __init__(
        self,
        name: str,
        spec: Any,
        position: int,
        kinds: Sequence[type[Feature[Any]]],
        planned: FeatureSet,
        before: RouteOwner | None,
    ) -> None:
        self.name = name
        self.spec = spec
        self.position = position
        self.kinds = kinds
        self.planned = planned
        self.before = before
        self.counts: dict[str, Any] = counts_of(kinds) if before is None else before.counts
        self.features: dict[str, Feature[Any]] = {}

    def feature_snapshot(self) -> dict[str, Any]:
        """Return the snapshots of its features as plain JSON types."""
        return shown(self)


def take_over_routes(old: Iterable[RouteOwner], new: Iterable[RouteOwner]) -> None:
    """Give routes their planned features. Features of ``old`` that end are closed."""
    gone = list(old)
    for owner in new:
        before, owner.before = owner.before, None
        if before is not None:
            gone.remove(before)
        take_over(owner, {} if before is None else before.features, owner.planned)
    for owner in gone:
        take_over(owner, owner.features, {})
