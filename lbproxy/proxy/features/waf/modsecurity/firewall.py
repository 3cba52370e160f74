"""DATA. One ``[waf NAME]`` with ``rules``: questions to the processes, and actions on answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from attrs import evolve
from twisted.logger import Logger

from lbproxy.errors import Kind, ProxyError
from lbproxy.http.conditional import Conditions
from lbproxy.http.message import RequestHead, ResponseHead
from lbproxy.proxy.features.waf.acting import Acting, words_of
from lbproxy.proxy.features.waf.audit import MatchedRule, matched
from lbproxy.proxy.features.waf.counters import WafCounters
from lbproxy.proxy.features.waf.modsecurity.ask import Ask
from lbproxy.proxy.features.waf.modsecurity.messages import Question, RuleAnswer
from lbproxy.proxy.features.waf.modsecurity.pool import JudgePool
from lbproxy.proxy.features.waf.modsecurity.question import question_of
from lbproxy.proxy.features.waf.spec import WafSpec
from lbproxy.proxy.ratelog import Quiet
from lbproxy.waf.body import BrokenBody, body_headers, body_parts, inflated
from lbproxy.waf.engine import NOTHING, Verdict
from lbproxy.waf.target import head_parts, with_body

__all__ = ["RuleFirewall"]

Done = Callable[[RuleAnswer | None, str], None]

_CLASSES: Final = {
    911: "protocol", 912: "protocol", 913: "scanner", 920: "protocol", 921: "protocol",
    922: "protocol", 930: "traversal", 931: "rfi", 932: "command", 933: "code", 934: "code",
    941: "xss", 942: "sqli", 943: "code", 944: "code",
}  # fmt: skip
"""Classes of the Core Rule Set by the first three digits of an id; all others are ``own``."""

_quiet: Final = Quiet(Logger(__name__))


class RuleFirewall(Acting):
    """Judges requests by ``spec``, with the processes of ``pool``."""

    def __init__(self, spec: WafSpec, pool: JudgePool) -> None:
        super().__init__(spec)
        self.pool = pool
        self._exclude = [
            (number, Conditions(one.conditions))
            for number, one in enumerate(spec.exclude)
            if one.conditions
        ]

    def ask(self, traffic: Any, body: bytes, whole: bool, done: Done) -> Ask | None:
        """Ask about a request; see :meth:`JudgePool.ask`."""
        return self.pool.ask(self._question(traffic, body, whole), done)

    def _question(self, traffic: Any, body: bytes, whole: bool) -> Question:
        excluded = [number for number, conditions in self._exclude if conditions.hold(traffic)]
        return question_of(traffic, tuple(excluded), body, whole)

    def ask_response(
        self,
        traffic: Any,
        head: ResponseHead,
        body: bytes,
        whole: bool,
        done: Done,
    ) -> Ask | None:
        """Ask about a response; see :meth:`JudgePool.ask`."""
        question = self._question(traffic, body, whole)
        pairs = tuple(head.pairs())
        return self.pool.ask(
            evolve(question, response_status=head.status, response_headers=pairs), done
        )

    def act(
        self,
        traffic: Any,
        body: bytes,
        whole: bool,
        answer: RuleAnswer | None,
        why: str,
        counters: WafCounters,
    ) -> None:
        """Act on the answer about a request; None: no answer because of ``why``.

        Raises ProxyError for a refusal.
        """
        if answer is None:
            self._unjudged(traffic, why, counters)
            answer = RuleAnswer()
        if answer.problem and answer.status:
            counters.broken += 1
            self.refuse(traffic, Kind.BAD_REQUEST, answer.problem, answer.status)
            return
        for one in answer.matches:
            counters.note(kind_of(one.id))
        rules = [MatchedRule(one.id, one.message, one.target) for one in answer.matches]
        score, status = answer.score, answer.status
        if self.spec.own:
            own = self._own_verdict(traffic, body, whole)
            for hit in own.hits:
                counters.note(hit.rule.kind)
            rules += matched(own.hits)
            score += own.score
            if own.hits and score >= self.spec.limit:
                status = status or 403
        self.note(traffic, rules, score, refused=bool(status))
        if status:
            self._refused(traffic, score, rules, status, counters)

    def act_on_response(
        self, traffic: Any, answer: RuleAnswer | None, why: str, counters: WafCounters
    ) -> None:
        """Act on the answer about a response. Raises ProxyError for a refusal."""
        if answer is None:
            self._unjudged(traffic, why, counters)
            return
        for one in answer.matches:
            counters.note(kind_of(one.id))
        rules = [MatchedRule(one.id, one.message, one.target) for one in answer.matches]
        self.note(traffic, rules, answer.score, refused=bool(answer.status), phase="response")
        if answer.status:
            self._refused(traffic, answer.score, rules, 403, counters, "response ")

    def _refused(
        self,
        traffic: Any,
        score: int,
        rules: list[MatchedRule],
        status: int,
        counters: WafCounters,
        what: str = "",
    ) -> None:
        if self.blocks:
            counters.blocked += 1
        else:
            counters.detected += 1
        self.refuse(traffic, Kind.BLOCKED, what + words_of(score, rules), status)

    def _unjudged(self, traffic: Any, why: str, counters: WafCounters) -> None:
        """Let a request without a verdict pass, or refuse it, as configured."""
        counters.unjudged += 1
        name = self.spec.name
        _quiet.warn(name, "waf {name}: a request is not judged: {why}", name=name, why=why)
        if self.blocks and self.spec.on_error == "closed":
            error = ProxyError(Kind.FILTER_TIMEOUT, f"waf {name}: {why}", 503)
            error.reference = traffic.request_id
            raise error
        traffic.detail = f"waf {name}: not judged: {why}"

    def _own_verdict(self, traffic: Any, body: bytes, whole: bool) -> Verdict:
        """Call the operator's functions, with the same parts as for the built-in rules."""
        head: RequestHead = traffic.request
        parts = head_parts(head)
        if body:
            try:
                kind, coding = body_headers(head.pairs())
                if coding:
                    body, whole = inflated(body, coding, self.spec.body_limit, whole=whole)
                parts = with_body(parts, body_parts(body, kind, whole=whole))
            except BrokenBody:
                return NOTHING  # the rules have already let the request pass
        return self.own(traffic, body, parts)


def kind_of(rule: int) -> str:
    """Return the class of a rule, for the counters."""
    return _CLASSES.get(rule // 1000, "own")
