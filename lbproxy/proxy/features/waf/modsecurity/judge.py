"""DATA. Rules loaded into libmodsecurity, and verdicts about requests.

A process has one judge, because the exclusions of a request are passed in the environment. The
library writes the rules that matched to :mod:`a file
<lbproxy.proxy.features.waf.modsecurity.matchlog>`. The lines of its log callback mix its own texts
with those of the client, so they cannot be parsed reliably.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from time import perf_counter
from typing import Any, Final

from attrs import frozen

from lbproxy.proxy.features.waf.modsecurity.bindings import Intervention, Library, Transaction
from lbproxy.proxy.features.waf.modsecurity.directives import (
    BROKEN_IDS,
    ENVIRONMENT,
    FIRST_ID,
    PARTIAL,
)
from lbproxy.proxy.features.waf.modsecurity.matchlog import MatchLog
from lbproxy.proxy.features.waf.modsecurity.messages import Match, Question, RuleAnswer
from lbproxy.proxy.features.waf.modsecurity.segments import removed_at_end
from lbproxy.waf.body import BrokenBody, body_headers, in_utf8, inflated

__all__ = ["RuleJudge", "RulePart"]

MOST_MATCHES: Final = 20
"""Maximum number of matches in an answer."""

_POINTS: Final = {0: 5, 1: 5, 2: 5, 3: 4, 4: 3, 5: 2}
"""Points that the Core Rule Set adds to the score for a severity."""

_TARGET: Final = re.compile(r"against variable `([A-Z_]+(?::[^`']{1,100})?)' \(Value: `")
_FOUND: Final = re.compile(r" found within ([A-Z_]+(?::[^:\s]{1,100})?)")
_NAME: Final = re.compile(r"[\w.\-\[\]$]{1,100}")
_SCORE: Final = re.compile(r"Total (?:Inbound )?(?:Outbound )?Score: (\d{1,6})")
_BOUNDARY: Final = re.compile(rb'boundary="?([^";,\s]{1,200})"?', re.IGNORECASE)


@frozen
class RulePart:
    """A file of directives, or directives as ``text``."""

    text: str = ""
    file: str = ""


class RuleJudge:
    """Judges requests by rules.

    ``parts``: the rules, in loading order. ``limit``: maximum number of bytes of a body. Raises
    MissingLibrary, or RulesError with the file and line.
    """

    def __init__(
        self, parts: Iterable[RulePart], limit: int, library: Library | None = None
    ) -> None:
        self._limit = limit
        self._rules = None
        try:
            self._library = library or Library()
            self._log = MatchLog(self._library)
            self._rules = self._library.rule_set()
            with removed_at_end():  # rules may name further logs
                for part in parts:
                    if part.file:
                        self._rules.add_file(part.file)
                    else:
                        self._rules.add(part.text)
                self._rules.add(self._log.directives)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Free the rules."""
        if self._rules is not None:
            self._rules.close()
            self._rules = None

    def judge(self, question: Question) -> RuleAnswer:
        """Return the verdict about a request, or about a response."""
        begin = perf_counter()
        try:
            body, whole, headers = self._readable(question)
        except BrokenBody as error:
            return RuleAnswer(error.status, problem=str(error), seconds=perf_counter() - begin)
        words = [PARTIAL] if not whole else []
        os.environ[ENVIRONMENT] = f",{','.join([*map(str, question.excluded), *words])},"
        found = self._run(question, body, headers)
        matches = list(self._log.take())
        return _answer(found, matches, perf_counter() - begin)

    def _readable(self, question: Question) -> tuple[bytes, bool, list[tuple[bytes, bytes]]]:
        """Return the decoded body in UTF-8, whether it is complete, and the headers to match."""
        if question.response_status:
            return b"", True, list(question.headers)
        body, whole = question.body, question.whole
        kind, coding = body_headers(question.headers) if body else (b"", b"")
        headers, framed = [], False
        for name, value in question.headers:
            low = name.lower()
            if low == b"content-encoding" and body:
                continue
            framed = framed or low in (b"content-length", b"transfer-encoding")
            headers.append((low, value))
        if not body:
            return body, whole, headers
        if coding:
            body, whole = inflated(body, coding, self._limit, whole=whole)
        if not framed:
            headers.append((b"content-length", b"%d" % len(question.body)))
        if not kind.lower().startswith(b"multipart/"):
            return in_utf8(body, kind), whole, headers
        if not whole:
            boundary = _BOUNDARY.search(kind)
            body += b"\r\n--%b--\r\n" % boundary[1] if boundary else b""
        return body, whole, headers

    def _run(
        self, question: Question, body: bytes, headers: Sequence[tuple[bytes, bytes]]
    ) -> Intervention | None:
        assert self._rules is not None
        run = self._rules.transaction(question.name)
        try:
            run.connection(question.client, question.server)
            run.request_line(question.method, question.target, question.version)
            run.request_headers(headers)
            found = run.intervention()
            if question.response_status:
                return self._run_response(run, question)
            if found is None:
                run.request_body(body)
                found = run.intervention()
            return found
        finally:
            run.close()

    def _run_response(self, run: Transaction, question: Question) -> Intervention | None:
        body = question.body
        for name, value in question.response_headers:
            if name.lower() == b"content-encoding":
                try:
                    body, _ = inflated(body, value, self._limit, whole=question.whole)
                except BrokenBody:
                    body = b""  # left to the server
        run.response_headers(question.response_status, question.response_headers)
        found = run.intervention()
        if found is None:
            run.response_body(body)
            found = run.intervention()
        return found


def _answer(
    intervention: Intervention | None, messages: Iterable[dict[str, Any]], seconds: float
) -> RuleAnswer:
    matches: list[Match] = []
    score, told = 0, -1
    problem = ""
    for one in messages:
        details = one["details"]
        rule, severity = int(details["ruleId"] or 0), int(details["severity"] or 2)
        words = str(one["message"])[:200]
        if rule in BROKEN_IDS:
            problem = words
            continue
        if _is_evaluation(rule):
            found = _SCORE.search(words)
            told = max(told, int(found[1]) if found else -1)
            continue
        score += _POINTS.get(severity, 0)
        if len(matches) < MOST_MATCHES:
            matches.append(Match(rule, words, _target(details), severity))
    if told >= 0:
        score = told
    status = 0
    if intervention is not None:
        status = intervention.status if 400 <= intervention.status < 600 else 403
    return RuleAnswer(status, score, tuple(matches), problem if status == 400 else "", seconds)


def _is_evaluation(rule: int) -> bool:
    """Return whether a rule only compares or reports scores (949, 959 and 980 of the CRS)."""
    return rule // 1000 in (949, 959, 980) or rule >= FIRST_ID


def _target(details: dict[str, Any]) -> str:
    """Return the name of the part that matched, without its value."""
    found = _TARGET.search(str(details["match"])) or _FOUND.search(str(details["data"]))
    if not found:
        return ""
    kind, _, name = found[1].partition(":")
    return found[1] if _NAME.fullmatch(name) else kind  # an unusual name may be a value
