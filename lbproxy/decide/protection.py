"""CONTROL. The limits and bans that a request is subject to, for ``lbproxy explain``."""

from __future__ import annotations

from collections.abc import Iterator

from lbproxy.config.lines.limits import LIMIT_USE
from lbproxy.decide.path import DryTraffic
from lbproxy.errors import ProxyError
from lbproxy.http.conditional import Conditions
from lbproxy.http.route import Route
from lbproxy.model import Config, FrontendSpec
from lbproxy.proxy.features.banning.spec import BanSpec
from lbproxy.proxy.features.limiting.spec import LimitSpec, limit_words

__all__ = ["protections"]


def protections(
    config: Config, spec: FrontendSpec, route: Route | None, traffic: DryTraffic
) -> Iterator[str]:
    """Yield a line for each limit and ban of a frontend, and for the limits of the route."""
    limits = {one.name: one for one in config.of(LimitSpec)}
    own: tuple[str, ...] = ()
    if route is not None and route.index < len(spec.routes):
        own = getattr(spec.routes[route.index], "limits", None) or ()
    if own == ("none",):
        yield "limits none: the route lifts all limits of requests"
    else:
        nodes = config.shared.on
        for use in getattr(spec, "limits", ()):
            here = _holds(use.conditions, traffic)
            yield _limit(limits[use.name], LIMIT_USE.dump(use), here, nodes)
        for name in own:
            if name in limits:
                yield _limit(limits[name], name, "", nodes)
    bans = {one.name: one for one in config.of(BanSpec)}
    for name in getattr(spec, "bans", ()):
        if name in bans:
            yield _ban(bans[name])


def _limit(spec: LimitSpec, words: str, here: str, nodes: bool) -> str:
    where = " at all nodes together" if nodes and spec.nodes and spec.rate is not None else ""
    limit = f"{limit_words(spec)}{where}, for each {spec.key}"
    return f"limit {words}: {limit}; then {spec.action.kind}{here}"


def _ban(spec: BanSpec) -> str:
    after = ""
    if spec.after is not None:
        count = f"{spec.after.amount:g} in {spec.after.seconds:g} s"
        after = f" after {count} ({' '.join(spec.on)}),"
    first, last = spec.time
    return f"ban {spec.name}:{after} for {first:g} s to {last:g} s; then {spec.action.kind}"


def _holds(conditions: tuple[tuple[str, tuple[str, ...], bool], ...], traffic: DryTraffic) -> str:
    if not conditions:
        return ""
    try:
        return "" if Conditions(conditions).hold(traffic) else " (not here)"
    except ProxyError:
        return " (refused with 400: the path is ambiguous)"
