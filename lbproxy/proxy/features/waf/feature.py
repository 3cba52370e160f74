"""DATA. ``waf = NAME`` at a route or a frontend."""

from __future__ import annotations

from typing import Any, Self

import attrs

from lbproxy.http.filter import Phases
from lbproxy.proxy.adminpart import AdminPart
from lbproxy.proxy.feature import Feature, Given
from lbproxy.proxy.features.waf.counters import WafCounters
from lbproxy.proxy.features.waf.firewall import Firewall
from lbproxy.proxy.features.waf.held import HeldSource
from lbproxy.proxy.features.waf.spec import WafDeclaration, WafSpec
from lbproxy.proxy.http.source import Source
from lbproxy.proxy.routeowner import RouteOwner
from lbproxy.waf.engine import NOTHING, Engine, Verdict
from lbproxy.waf.rules import RULES

__all__ = ["Waf"]

_NOTE = "lbproxy.waf"  # in traffic.vars: the verdict about the head


class Waf(WafDeclaration, Feature[RouteOwner]):
    """The firewall of one route."""

    name = "waf"
    keys = ("waf",)
    Counters = WafCounters

    def __init__(self, firewall: Firewall) -> None:
        self.firewall = firewall

    @classmethod
    def prepare(cls, spec: Any, old: Self | None, given: Given) -> Self | None:
        """See :class:`Feature`.  ValueError for a section that does not exist, and without
        google-re2.
        """
        if spec.waf in ("", "none"):
            return None
        found = {one.name: one for one in given.config.of(WafSpec)}
        wanted = found.get(spec.waf)
        if wanted is None:
            raise ValueError(f"there is no [waf {spec.waf}]")
        if old is not None and old.firewall.spec == wanted and not wanted.own:
            return old
        level = wanted.paranoia
        engine = given.keep("waf engine", str(level), lambda: Engine(RULES, level))
        return cls(Firewall(wanted, engine))

    def around(self, phases: Phases) -> Phases:
        """``phases`` with the verdict about the head first."""
        return phases.before(request=self.request)

    def request(self, traffic: Any) -> None:
        """Phase ``request``: judge the head."""
        found = self.firewall.judge_head(traffic, self.counters)
        if found.hits and traffic.request.length != 0:
            if traffic.vars is None:
                traffic.vars = {}
            traffic.vars[_NOTE] = found

    def source(self, inner: Source) -> Source:
        """See :class:`Feature`."""
        return HeldSource(self, inner)

    @property
    def body_limit(self) -> int:
        """Bytes of a body that are judged."""
        return self.firewall.spec.body_limit

    def over_limit(self) -> None:
        """A body is longer than what is judged; ProxyError if it is refused."""
        self.firewall.over_limit(self.counters)

    def judge_body(self, traffic: Any, data: bytes, whole: bool) -> None:
        """Judge a body, or its beginning; ProxyError if it is refused."""
        limit, length = self.firewall.spec.body_limit, traffic.request.length
        whole = (whole or len(data) == length) and len(data) <= limit
        if not whole and length is None:
            self.over_limit()
        data = data[:limit]
        before: Verdict = traffic.vars.pop(_NOTE, NOTHING) if traffic.vars else NOTHING
        self.firewall.judge_body(traffic, before, data, whole, self.counters)

    def snapshot(self) -> dict[str, Any]:
        """See :class:`Feature`."""
        spec = self.firewall.spec
        return {"name": spec.name, "mode": spec.mode, **attrs.asdict(self.counters)}


Waf.part = AdminPart(
    "waf",
    fields={
        "name": "string",
        "mode": "string",
        **{field.name: "count" for field in attrs.fields(WafCounters)},
    },
)
