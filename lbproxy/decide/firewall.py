"""CONTROL. The firewalls of a configuration, for requests without a body that nobody serves."""

from __future__ import annotations

from lbproxy.config.model import Config, FrontendSpec
from lbproxy.decide.path import DryTraffic
from lbproxy.http.conditional import Conditions
from lbproxy.http.message import RequestHead
from lbproxy.http.route import Route
from lbproxy.proxy.features.waf.spec import WafSpec
from lbproxy.waf.engine import Engine
from lbproxy.waf.exclusion import excluder
from lbproxy.waf.rules import RULES
from lbproxy.waf.target import head_parts

__all__ = ["DryFirewalls", "waf_name"]


def waf_name(spec: FrontendSpec, route: Route | None) -> str:
    """Return the name of the firewall of a route, "" without one."""
    own = None
    if route is not None and route.index < len(spec.routes):
        own = getattr(spec.routes[route.index], "waf", None)
    found: str = getattr(spec, "waf", "") if own is None else own
    return "" if found == "none" else found


class DryFirewalls:
    """The sections ``[waf NAME]``; :attr:`any` is false if there is none."""

    def __init__(self, config: Config) -> None:
        self._specs: dict[str, WafSpec] = {one.name: one for one in config.of(WafSpec)}
        self._engines: dict[int, Engine] = {}
        self.any = bool(self._specs)

    def verdict(self, name: str, traffic: DryTraffic) -> str:
        """Return what a firewall does with the head of a request: its mode and the rules, or "".

        MissingEngine without google-re2."""
        spec, head = self._specs.get(name), traffic.request
        if spec is None or not isinstance(head, RequestHead):
            return ""
        engine = self._engines.get(spec.paranoia)
        if engine is None:
            engine = self._engines[spec.paranoia] = Engine(RULES, spec.paranoia)
        pairs = [(one, Conditions(one.conditions)) for one in spec.exclude]
        found = engine.judge(head_parts(head), excluder(pairs, traffic))
        if found.score < spec.threshold:
            return ""
        return f"{spec.mode} {' '.join(f'{hit.rule.id}({hit.part})' for hit in found.hits)}"
