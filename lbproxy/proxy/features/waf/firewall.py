"""DATA. One ``[waf NAME]`` with the built-in rules: verdicts about heads and bodies."""

from __future__ import annotations

from typing import Any

from lbproxy.errors import Kind
from lbproxy.http.conditional import Conditions
from lbproxy.http.message import RequestHead
from lbproxy.proxy.features.waf.acting import Acting, words_of
from lbproxy.proxy.features.waf.audit import matched
from lbproxy.proxy.features.waf.counters import WafCounters
from lbproxy.proxy.features.waf.spec import WafSpec
from lbproxy.waf.body import BrokenBody, body_headers, body_parts, inflated
from lbproxy.waf.engine import Engine, Verdict
from lbproxy.waf.exclusion import excluder
from lbproxy.waf.rule import Zone
from lbproxy.waf.target import Parts, head_parts, with_body

__all__ = ["Firewall"]


class Firewall(Acting):
    """Judges requests by ``spec``. Its methods raise ProxyError for a refusal."""

    def __init__(self, spec: WafSpec, engine: Engine) -> None:
        super().__init__(spec)
        self._engine = engine
        self._exclude = [(one, Conditions(one.conditions)) for one in spec.exclude]

    def judge_head(self, traffic: Any, counters: WafCounters) -> Verdict:
        """Judge a request without its body."""
        counters.requests += 1
        head: RequestHead = traffic.request
        parts = head_parts(head)
        found = self._engine.judge(parts, excluder(self._exclude, traffic))
        if self.spec.own and head.length == 0:
            found += self.own(traffic, b"", parts)
        self._act(traffic, found, counters)
        return found

    def judge_body(
        self, traffic: Any, before: Verdict, data: bytes, whole: bool, counters: WafCounters
    ) -> None:
        """Judge ``data``, the beginning of a body or the ``whole``.

        ``before``: the verdict about the head.
        """
        head: RequestHead = traffic.request
        try:
            kind, coding = body_headers(head.pairs())
            if coding and data:
                data, whole = inflated(data, coding, self.spec.body_limit, whole=whole)
                if not whole:
                    self.over_limit(counters)
            parts: Parts = {Zone.ARGS: body_parts(data, kind, whole=whole) if data else []}
        except BrokenBody as error:
            counters.broken += 1
            self.refuse(traffic, Kind.BAD_REQUEST, str(error), error.status)
            return
        found = self._engine.judge(parts, excluder(self._exclude, traffic))
        if self.spec.own:
            found += self.own(traffic, data, with_body(head_parts(head), parts[Zone.ARGS]))
        if found.hits or before.hits:
            self._act(traffic, before + found, counters, before)

    def _act(
        self, traffic: Any, found: Verdict, counters: WafCounters, before: Verdict | None = None
    ) -> None:
        """Count the matches, and refuse a request that reaches the threshold."""
        known = () if before is None else before.hits
        for hit in found.hits:
            if hit not in known:
                counters.note(hit.rule.kind)
        refused = found.score >= self.spec.limit
        if before is not None or traffic.request.length == 0 or (refused and self.blocks):
            self.note(traffic, matched(found.hits), found.score, refused=refused)
        if not refused:
            return
        reached = before is not None and before.score >= self.spec.limit
        if self.blocks:
            counters.blocked += 1
        elif not reached:
            counters.detected += 1
        self.refuse(traffic, Kind.BLOCKED, words_of(found.score, found.hits))
