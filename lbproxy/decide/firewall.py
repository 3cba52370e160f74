"""CONTROL. The firewalls of a configuration, for requests without a body and without a server."""

from __future__ import annotations

from collections.abc import Iterable

from lbproxy.config.model import Config, FrontendSpec
from lbproxy.decide.path import DryTraffic
from lbproxy.http.conditional import Conditions
from lbproxy.http.message import RequestHead
from lbproxy.http.route import Route
from lbproxy.proxy.features.waf.modsecurity.judge import RuleJudge
from lbproxy.proxy.features.waf.modsecurity.loadout import RuleSource
from lbproxy.proxy.features.waf.modsecurity.messages import Match, Question
from lbproxy.proxy.features.waf.modsecurity.question import question_of
from lbproxy.proxy.features.waf.spec import WafSpec
from lbproxy.waf.engine import Engine, MissingEngine
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
        self._judges: dict[str, RuleJudge] = {}
        self.any = bool(self._specs)

    def verdict(self, name: str, traffic: DryTraffic) -> str:
        """Return what a firewall does with the head of a request: its mode and the rules, or "".

        MissingEngine without google-re2 or libmodsecurity, and for rules that cannot be loaded."""
        spec, head = self._specs.get(name), traffic.request
        if spec is None or not isinstance(head, RequestHead):
            return ""
        if spec.rules:
            found = self._judge(spec).judge(_question(spec, traffic))
            return f"{spec.mode} {_matches(found.matches)}" if found.status else ""
        engine = self._engines.get(spec.level)
        if engine is None:
            engine = self._engines[spec.level] = Engine(RULES, spec.level)
        pairs = [(one, Conditions(one.conditions)) for one in spec.exclude]
        verdict = engine.judge(head_parts(head), excluder(pairs, traffic))
        if verdict.score < spec.limit:
            return ""
        return f"{spec.mode} {' '.join(f'{hit.rule.id}({hit.part})' for hit in verdict.hits)}"

    def _judge(self, spec: WafSpec) -> RuleJudge:
        """Return the rules of a folder, loaded into this process: it has no traffic."""
        judge = self._judges.get(spec.name)
        if judge is None:
            try:
                loadout = RuleSource(spec).loadout()
                judge = self._judges[spec.name] = RuleJudge(loadout.parts, loadout.body_limit)
            except (OSError, ValueError) as error:
                raise MissingEngine(f"waf {spec.name}: {error}") from None
        return judge


def _question(spec: WafSpec, traffic: DryTraffic) -> Question:
    held = [
        number
        for number, one in enumerate(spec.exclude)
        if one.conditions and Conditions(one.conditions).hold(traffic)
    ]
    return question_of(traffic, tuple(held))


def _matches(matches: Iterable[Match]) -> str:
    return " ".join(f"{one.id}({one.target})" for one in matches)
