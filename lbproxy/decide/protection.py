"""CONTROL. The limits, bans, challenge and shedding that a request is subject to.

``lbproxy explain`` shows them, and ``lbproxy replay`` compares challenge and shedding.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lbproxy.challenge.crawlers import claimed_crawler
from lbproxy.challenge.page import takes_html
from lbproxy.config.lines.limits import LIMIT_USE
from lbproxy.config.lines.shedding import SHED
from lbproxy.decide.path import DryTraffic
from lbproxy.errors import ProxyError
from lbproxy.http.conditional import Conditions
from lbproxy.http.route import Route
from lbproxy.model import Config, FrontendSpec
from lbproxy.proxy.features.banning.spec import BanSpec
from lbproxy.proxy.features.limiting.spec import LimitSpec, limit_words

__all__ = ["challenge_of", "is_challenged", "protections", "shed_of"]


def protections(
    config: Config, spec: FrontendSpec, route: Route | None, traffic: DryTraffic
) -> Iterator[str]:
    """Yield a line for each limit and ban of a frontend, for the limits of the route, and for
    challenge and shedding.
    """
    limits = {one.name: one for one in config.of(LimitSpec)}
    own: tuple[str, ...] = _route_option(spec, route, "limits") or ()
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
    challenge = challenge_of(spec, route, traffic)
    if challenge:
        yield f"challenge {challenge}"
    shed = shed_of(spec, route, traffic)
    if shed:
        yield f"shed {shed}"


def is_challenged(spec: FrontendSpec) -> bool:
    """Return whether a frontend challenges any of its requests."""
    return any(getattr(one, "challenge", None) not in (None, "off") for one in (spec, *spec.routes))


def challenge_of(spec: FrontendSpec, route: Route | None, traffic: DryTraffic) -> str:
    """Return what the challenge does with a request that brings no pass; "" without one."""
    if traffic.request is None or not is_challenged(spec):
        return ""
    own = _route_option(spec, route, "challenge")
    mode = own or spec.challenge  # type: ignore[attr-defined]
    if mode == "off":
        return "off: the route is exempt" if own == "off" else ""
    if route is not None and route.action is not None:
        return f"{mode}: not here, lbproxy answers itself"
    try:
        if any(Conditions(one).hold(traffic) for one in spec.challenge_except):  # type: ignore[attr-defined]
            return f"{mode}: not here (challenge_except)"
    except ProxyError:
        return f"{mode}: refused with 400, the path is ambiguous"
    when = "while the alert attack fires, " if mode == "alert" else ""
    crawler = claimed_crawler(traffic.request.header_values(b"user-agent"))
    if crawler is not None and spec.challenge_crawlers:  # type: ignore[attr-defined]
        return f"{mode}: {when}passes if DNS confirms that it is a crawler of {crawler.name}"
    page = takes_html(traffic.request.method, traffic.request.header(b"accept"))
    return f"{mode}: {when}403 with {'a page' if page else 'a text'} unless it has a pass"


def shed_of(spec: FrontendSpec, route: Route | None, traffic: DryTraffic) -> str:
    """Return when a request may be shed; "" without load shedding."""
    limits = getattr(spec, "shed", None)
    if limits is None or traffic.request is None:
        return ""
    words = SHED.dump(limits)
    if _route_option(spec, route, "shed") is False:
        return f"{words}: not here (shed=no)"
    if route is not None and route.action is not None:
        return f"{words}: not here, lbproxy answers itself"
    return f"{words}: beyond it a share of such requests gets 503"


def _route_option(spec: FrontendSpec, route: Route | None, name: str) -> Any:
    """Return an option of a route as configured, None without one."""
    if route is None or route.index >= len(spec.routes):
        return None
    return getattr(spec.routes[route.index], name, None)


def _limit(spec: LimitSpec, words: str, here: str, nodes: bool) -> str:
    where = " at all nodes together" if nodes and spec.nodes else ""
    key = spec.key if spec.key_function is None else f"result of {spec.key_function.name}"
    limit = f"{limit_words(spec)}{where}, for each {key}"
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
