"""DATA. Actions after a verdict, for both kinds of firewall: refuse the request, or only log it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from twisted.logger import Logger
from twisted.python.failure import Failure

from lbproxy.errors import Kind, ProxyError
from lbproxy.proxy.features.waf.audit import AuditEntry, AuditLog, MatchedRule
from lbproxy.proxy.features.waf.counters import WafCounters
from lbproxy.proxy.features.waf.spec import WafSpec
from lbproxy.proxy.ratelog import Quiet
from lbproxy.waf.engine import Verdict
from lbproxy.waf.own import WafRequest, own_hit
from lbproxy.waf.target import Parts

__all__ = ["Acting", "words_of"]

SHOWN: Final = 5
"""Maximum number of rules in a log line."""

_quiet: Final = Quiet(Logger(__name__))


class Acting:
    """Base class of firewalls. Its methods raise ProxyError for a refusal."""

    def __init__(self, spec: WafSpec) -> None:
        self.spec = spec
        self.blocks = spec.mode == "block"
        self.audit = AuditLog(spec.audit) if spec.audit else None

    def over_limit(self, counters: WafCounters) -> None:
        """Count a body that is longer than the judged part, and refuse it if so configured."""
        counters.over_limit += 1
        if self.blocks and self.spec.over_limit == "reject":
            detail = f"waf {self.spec.name}: the body is longer than body_limit"
            raise ProxyError(Kind.BODY_TOO_LARGE, detail)

    def refuse(self, traffic: Any, kind: Kind, why: str, status: int = 0) -> None:
        """Refuse the request in mode ``block``, else add a note to the access log."""
        if self.blocks:
            error = ProxyError(kind, f"waf {self.spec.name}: {why}", status)
            error.reference = traffic.request_id
            raise error
        traffic.detail = f"waf {self.spec.name} would refuse: {why}"

    def note(
        self,
        traffic: Any,
        rules: Sequence[MatchedRule],
        score: int,
        *,
        refused: bool,
        phase: str = "request",
    ) -> None:
        """Write the audit log."""
        if self.audit is None or not (rules or refused):
            return
        action = ("blocked" if self.blocks else "detected") if refused else "passed"
        finding = AuditEntry(action, score, self.spec.limit, tuple(rules), phase)
        self.audit.write(self.spec.name, traffic, finding, traffic.frontend.wheel.wall())

    def own(self, traffic: Any, body: bytes, parts: Parts) -> Verdict:
        """Call the operator's functions. A function that raises has no verdict."""
        request = WafRequest(traffic.request, traffic.client_ip, body, parts)
        hits = []
        for number, one in enumerate(self.spec.own):
            try:
                hit = own_hit(number, one.name, one.function(request))
            except BaseException:  # of any class: traffic continues
                _quiet.failure(one.name, "waf: function {name} failed", Failure(), name=one.name)
                continue
            if hit is not None:
                hits.append(hit)
        return Verdict(tuple(hits))


def words_of(score: int, names: Sequence[Any]) -> str:
    """Return the score and the rules, for the log."""
    more = len(names) - SHOWN
    text = ", ".join(map(str, names[:SHOWN]))
    return f"score {score}: {text}{f' and {more} more' if more > 0 else ''}"
