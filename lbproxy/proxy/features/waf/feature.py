"""DATA. ``waf = NAME`` at a route or a frontend."""

from __future__ import annotations

from typing import Any, Self

import attrs

from lbproxy.config.errors import no_section
from lbproxy.http.filter import Phases
from lbproxy.proxy.adminpart import AdminPart
from lbproxy.proxy.feature import Feature, Given
from lbproxy.proxy.features.waf.audit import AuditLog
from lbproxy.proxy.features.waf.counters import WafCounters
from lbproxy.proxy.features.waf.firewall import Firewall
from lbproxy.proxy.features.waf.held import HeldSource
from lbproxy.proxy.features.waf.modsecurity.firewall import RuleFirewall
from lbproxy.proxy.features.waf.modsecurity.held import JudgedSource
from lbproxy.proxy.features.waf.modsecurity.loadout import RuleSource, check_rules
from lbproxy.proxy.features.waf.modsecurity.pool import JudgePool
from lbproxy.proxy.features.waf.spec import WafDeclaration, WafSpec
from lbproxy.proxy.http.source import Source
from lbproxy.proxy.routeowner import RouteOwner
from lbproxy.sharing.local import LocalShared
from lbproxy.waf.engine import NOTHING, Engine, Verdict
from lbproxy.waf.rules import RULES

__all__ = ["Waf"]

_NOTE = "lbproxy.waf"  # in traffic.vars: the verdict about the head


class Waf(WafDeclaration, Feature[RouteOwner]):
    """The firewall of one route: ``firewall`` with the built-in rules, or else ``rules``."""

    name = "waf"
    keys = ("waf",)
    Counters = WafCounters

    def __init__(self, firewall: Firewall | RuleFirewall, *, serves: bool = True) -> None:
        self.firewall = firewall
        self.rules = firewall if isinstance(firewall, RuleFirewall) else None
        self._serves = serves
        self._retired = False

    @classmethod
    def prepare(cls, spec: Any, old: Self | None, given: Given) -> Self | None:
        """See :class:`Feature`.

        Raises ValueError if the section, google-re2, libmodsecurity or the folder of the audit log
        is missing, or if the rules cannot be loaded.
        """
        if spec.waf in ("", "none"):
            return None
        found = {one.name: one for one in given.config.of(WafSpec)}
        wanted = found.get(spec.waf)
        if wanted is None:
            raise no_section("waf", spec.waf, found)
        if old is not None and old.firewall.spec == wanted and not wanted.own:
            return old
        if wanted.audit:
            AuditLog(wanted.audit).check()
        if wanted.rules:
            # a worker's configuration was checked by its master, and a master has no traffic
            single = isinstance(given.shared, LocalShared)
            serves = not single or given.shared.processes == 1
            return cls(RuleFirewall(wanted, _pool(wanted, given, check=single)), serves=serves)
        level = wanted.level
        engine = given.keep("waf engine", str(level), lambda: Engine(RULES, level))
        return cls(Firewall(wanted, engine))

    def around(self, phases: Phases) -> Phases:
        """Return ``phases`` with the check of the head by the built-in rules in front."""
        return phases if self.rules is not None else phases.before(request=self.request)

    def request(self, traffic: Any) -> None:
        """Phase ``request``: judge the head by the built-in rules."""
        found = self._built_in.judge_head(traffic, self.counters)
        if found.hits and traffic.request.length != 0:
            if traffic.vars is None:
                traffic.vars = {}
            traffic.vars[_NOTE] = found

    def source(self, inner: Source) -> Source:
        """See :class:`Feature`."""
        if self.rules is not None:
            return JudgedSource(self.rules, self, inner)
        return HeldSource(self, inner)

    @property
    def _built_in(self) -> Firewall:
        assert isinstance(self.firewall, Firewall)
        return self.firewall

    def start(self) -> None:
        """See :class:`Feature`: start the processes."""
        self._retired = False
        if self.rules is not None and self._serves:
            self.rules.pool.enter(self)

    def retire(self) -> None:
        """See :class:`Feature`: the frontend itself ends, not only this object."""
        self._retired = True

    def close(self) -> None:
        """See :class:`Feature`."""
        if self.rules is not None:
            self.rules.pool.leave(self, now=self._retired)
        if self.firewall.audit is not None:
            self.firewall.audit.close()

    @property
    def body_limit(self) -> int:
        """Number of bytes of a body that are judged."""
        return self.firewall.spec.body_limit

    def over_limit(self) -> None:
        """Note that a body is longer than the judged part. Raises ProxyError if it is refused."""
        self.firewall.over_limit(self.counters)

    def judge_body(self, traffic: Any, data: bytes, whole: bool) -> None:
        """Judge a body, or its beginning. Raises ProxyError if it is refused."""
        limit, length = self.firewall.spec.body_limit, traffic.request.length
        whole = (whole or len(data) == length) and len(data) <= limit
        if not whole and length is None:
            self.over_limit()
        data = data[:limit]
        before: Verdict = traffic.vars.pop(_NOTE, NOTHING) if traffic.vars else NOTHING
        self._built_in.judge_body(traffic, before, data, whole, self.counters)

    def snapshot(self) -> dict[str, Any]:
        """See :class:`Feature`."""
        spec = self.firewall.spec
        return {"name": spec.name, "mode": spec.mode, **attrs.asdict(self.counters)}


def _pool(spec: WafSpec, given: Given, *, check: bool) -> JudgePool:
    """Return the processes for ``spec``: those of another route or of an earlier configuration, or
    new ones.
    """
    source = RuleSource(spec)

    def make() -> JudgePool:
        try:
            loadout = source.loadout()
        except OSError as error:
            raise ValueError(f"rules: {error.filename}: {error.strerror}") from None
        if check:
            check_rules(loadout)
        return JudgePool(source, loadout, given.env.reactor, given.network.wheel)

    return given.keep("waf pool", source.key, make)


Waf.part = AdminPart(
    "waf",
    fields={
        "name": "string",
        "mode": "string",
        **{field.name: "count" for field in attrs.fields(WafCounters)},
    },
)
