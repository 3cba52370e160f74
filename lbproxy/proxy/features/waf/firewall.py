"""DATA. One ``[waf NAME]`` at work: verdicts about heads and bodies."""

from __future__ import annotations

from typing import Any, Final

from twisted.logger import Logger
from twisted.python.failure import Failure

from lbproxy.errors import Kind, ProxyError
from lbproxy.http.conditional import Conditions
from lbproxy.http.message import RequestHead
from lbproxy.proxy.features.waf.counters import WafCounters
from lbproxy.proxy.features.waf.spec import WafSpec
from lbproxy.proxy.ratelog import Quiet
from lbproxy.waf.body import BrokenBody, body_parts, inflated
from lbproxy.waf.engine import Engine, Verdict
from lbproxy.waf.exclusion import excluder
from lbproxy.waf.own import WafRequest, own_hit
from lbproxy.waf.rule import Zone
from lbproxy.waf.target import Parts, head_parts

__all__ = ["Firewall"]

SHOWN: Final = 5
"""Rules that a log line names."""

_quiet: Final = Quiet(Logger(__name__))


class Firewall:
    """Judges requests as ``spec`` says.  Its methods raise ProxyError for a refusal."""

    def __init__(self, spec: WafSpec, engine: Engine) -> None:
        self.spec = spec
        self.blocks = spec.mode == "block"
        self._engine = engine
        self._exclude = [(one, Conditions(one.conditions)) for one in spec.exclude]

    def judge_head(self, traffic: Any, counters: WafCounters) -> Verdict:
        """Judge a request without its body."""
        counters.requests += 1
        head: RequestHead = traffic.request
        parts = head_parts(head)
        found = self._engine.judge(parts, excluder(self._exclude, traffic))
        if self.spec.own and head.length == 0:
            found += self._own(traffic, b"", parts)
        self._act(traffic, found, counters)
        return found

    def judge_body(
        self, traffic: Any, before: Verdict, data: bytes, whole: bool, counters: WafCounters
    ) -> None:
        """Judge ``data``, the beginning of a body or the ``whole``; ``before``: of the head."""
        head: RequestHead = traffic.request
        kind = head.header(b"content-type") or b""
        coding = head.header(b"content-encoding") or b""
        try:
            if coding:
                data, whole = inflated(data, coding, self.spec.body_limit, whole=whole)
                if not whole:
                    self.over_limit(counters)
            parts: Parts = {Zone.ARGS: body_parts(data, kind, whole=whole)}
        except BrokenBody as error:
            counters.broken += 1
            self._refuse(traffic, Kind.BAD_REQUEST, str(error), error.status)
            return
        found = self._engine.judge(parts, excluder(self._exclude, traffic))
        if self.spec.own:
            found += self._own(traffic, data, {**head_parts(head), **parts})
        if found.hits:
            self._act(traffic, before + found, counters, before)

    def over_limit(self, counters: WafCounters) -> None:
        """A body is longer than what is judged: count it, and refuse it if so configured."""
        counters.over_limit += 1
        if self.blocks and self.spec.over_limit == "reject":
            detail = f"waf {self.spec.name}: the body is longer than body_limit"
            raise ProxyError(Kind.BODY_TOO_LARGE, detail)

    def _act(
        self, traffic: Any, found: Verdict, counters: WafCounters, before: Verdict | None = None
    ) -> None:
        """Count, and refuse what reaches the threshold."""
        known = () if before is None else before.hits
        for hit in found.hits:
            if hit not in known:
                counters.note(hit.rule.kind)
        if found.score < self.spec.threshold:
            return
        reached = before is not None and before.score >= self.spec.threshold
        if self.blocks:
            counters.blocked += 1
        elif not reached:
            counters.detected += 1
        self._refuse(traffic, Kind.BLOCKED, words_of(found))

    def _refuse(self, traffic: Any, kind: Kind, why: str, status: int = 0) -> None:
        if self.blocks:
            error = ProxyError(kind, f"waf {self.spec.name}: {why}", status)
            error.reference = traffic.request_id
            raise error
        traffic.detail = f"waf {self.spec.name} would refuse: {why}"

    def _own(self, traffic: Any, body: bytes, parts: Parts) -> Verdict:
        """Ask the functions of the operator; one that raises says nothing."""
        request = WafRequest(traffic.request, traffic.client_ip, body, parts)
        hits = []
        for number, one in enumerate(self.spec.own):
            try:
                hit = own_hit(number, one.name, one.function(request))
            except BaseException:  # of any class: traffic goes on
                _quiet.failure(one.name, "waf: function {name} failed", Failure(), name=one.name)
                continue
            if hit is not None:
                hits.append(hit)
        return Verdict(tuple(hits))


def words_of(found: Verdict) -> str:
    """Return the score and the rules, for the log."""
    names = ", ".join(str(hit) for hit in found.hits[:SHOWN])
    more = len(found.hits) - SHOWN
    return f"score {found.score}: {names}{f' and {more} more' if more > 0 else ''}"
