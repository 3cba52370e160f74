"""Verdicts of the OWASP Core Rule Set, and messages to the processes that judge."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from lbproxy.proxy.features.waf.modsecurity.judge import RuleJudge
from lbproxy.proxy.features.waf.modsecurity.loadout import RuleSource
from lbproxy.proxy.features.waf.modsecurity.messages import (
    LENGTH,
    Match,
    Question,
    RuleAnswer,
    framed,
    read_answer,
    unframed,
    write_answer,
)
from lbproxy.proxy.features.waf.modsecurity.start import PROCESS, environment
from lbproxy.proxy.features.waf.spec import WafSpec
from lbproxy.waf.exclusion import Exclusion
from tests.support.modsecurity import CRS, with_core_rules
from tests.waf.corpus import samples

WHEN = (("path", ("/x",), False),)
SPEC = WafSpec(
    "crs",
    rules=CRS,
    paranoia=1,
    threshold=5,
    responses=True,
    exclude=(
        Exclusion(942100, 942100, "ARGS:q", WHEN),
        Exclusion(913100, 913100, "HEADERS:User-Agent", WHEN),
        Exclusion(941000, 941999, "ARGS:html"),
        Exclusion(930000, 932999, "", WHEN),
    ),
)
ASKED = Question(
    "id",
    ("192.0.2.1", 1234),
    ("192.0.2.2", 80),
    b"GET",
    b"/",
    "1.1",
    ((b"Host", b"www.example.com"), (b"User-Agent", b"Mozilla/5.0"), (b"Accept", b"*/*")),
)
FORM = b"application/x-www-form-urlencoded"
SCRIPT = b"<script>alert(1)</script>"


@pytest.fixture(scope="module")
def judge() -> Iterator[RuleJudge]:
    """The Core Rule Set, loaded once."""
    with_core_rules()
    loadout = RuleSource(SPEC).loadout()
    made = RuleJudge(loadout.parts, loadout.body_limit)
    yield made
    made.close()


def posted(body: bytes, kind: bytes, *more: tuple[bytes, bytes], **facts: Any) -> Question:
    """A POST with this body."""
    headers = (*ASKED.headers, (b"Content-Type", kind), *more)
    return evolve(ASKED, method=b"POST", headers=headers, body=body, **facts)


@pytest.mark.parametrize(
    ("target", "rule"),
    [
        (b"/?q=%27+or+1%3D1--", 942100),
        (b"/?q=%3Cscript%3Ealert(1)%3C/script%3E", 941100),
        (b"/?f=../../../../etc/passwd", 930120),
        (b"/?c=;cat+/etc/passwd", 932160),
        (b"/?u=http://192.0.2.9/shell.php", 931100),
        (b"/?p=%3C?php+system(1)", 933100),
        (b"/?j=java.lang.Runtime", 944130),
        (b"/.git/config", 930130),
        (b"/?h=a%0d%0aSet-Cookie:+a=b", 921120),
    ],
)
def test_an_attack_of_each_class_is_refused_at_paranoia_1(
    judge: RuleJudge, target: bytes, rule: int
) -> None:
    found = judge.judge(evolve(ASKED, target=target))
    assert found.status == 403 and found.score >= 5
    assert rule in {one.id for one in found.matches}


@pytest.mark.parametrize(
    "question",
    [
        ASKED,
        evolve(ASKED, target=b"/search?q=select+a+book&page=2"),
        posted(b"name=O%27Brien", FORM),
        posted(b'{"a": [1, "two"]}', b"application/json"),
        posted(b"<a>1</a>", b"text/xml"),
        posted(b'{"a": 1}', b"application/vnd.api+json"),
        evolve(ASKED, method=b"DELETE"),
        evolve(posted(b'{"a": 1}', b"application/merge-patch+json"), method=b"PATCH"),
    ],
)
def test_ordinary_requests_pass(judge: RuleJudge, question: Question) -> None:
    assert judge.judge(question).status == 0


def test_the_corpus_is_judged_as_documented(judge: RuleJudge) -> None:
    """The figures are in docs/firewall.rst; other versions of the rule set differ a little."""

    def stopped(name: str) -> float:
        found = [
            judge.judge(
                evolve(
                    ASKED,
                    method=one.head.method,
                    target=one.head.target,
                    headers=tuple(one.head.pairs()),
                    body=one.body,
                )
            ).status
            for one in list(samples(name))[::5]
        ]
        return sum(map(bool, found)) / len(found)

    assert stopped("attacks.txt") > 0.65 and stopped("attacks_second.txt") > 0.65
    assert stopped("ordinary.txt") < 0.25 and stopped("ordinary_second.txt") < 0.25


def test_the_set_up_file_decides_on_methods(tmp_path: Path) -> None:
    with_core_rules()
    setup = tmp_path / "setup.conf"
    text = Path("/etc/modsecurity/crs/crs-setup.conf").read_text()
    only = "SecAction \"id:900200,phase:1,nolog,pass,t:none,setvar:'tx.allowed_methods=GET'\"\n"
    setup.write_text(text + only)
    loadout = RuleSource(evolve(SPEC, setup=str(setup))).loadout()
    made = RuleJudge(loadout.parts, loadout.body_limit)
    assert made.judge(evolve(ASKED, method=b"DELETE")).status == 403
    made.close()


def test_matches_name_the_part_and_not_the_value(judge: RuleJudge) -> None:
    found = judge.judge(evolve(ASKED, target=b"/?q=%27+or+1%3D1--+hunter2"))
    assert [(one.id, one.target) for one in found.matches] == [(942100, "ARGS:q")]
    assert "hunter2" not in repr(found)


def test_exclusions_hold_for_their_part_and_condition(judge: RuleJudge) -> None:
    attack = evolve(ASKED, target=b"/?q=%27+or+1%3D1--")
    assert judge.judge(attack).status == 403
    assert judge.judge(evolve(attack, excluded=(0,))).status == 0
    assert judge.judge(attack).status == 403, "it held for one request"
    assert judge.judge(evolve(attack, target=b"/?x=%27+or+1%3D1--", excluded=(0,))).status == 403
    agent = (*ASKED.headers[:1], (b"User-Agent", b"sqlmap/1"), ASKED.headers[2])
    scanner = evolve(ASKED, headers=agent)
    assert judge.judge(scanner).status == 403
    assert judge.judge(evolve(scanner, excluded=(1,))).status == 0
    assert judge.judge(evolve(ASKED, target=b"/?html=%3Cscript%3E")).status == 0
    assert judge.judge(evolve(ASKED, target=b"/?f=../../etc/passwd", excluded=(3,))).status == 0


def test_an_exclusion_holds_for_members_of_json(judge: RuleJudge) -> None:
    kind = b"application/json"
    assert judge.judge(posted(b'{"html": "%b"}' % SCRIPT, kind)).status == 0
    assert judge.judge(posted(b'{"text": "%b"}' % SCRIPT, kind)).status == 403


@pytest.mark.parametrize(
    ("body", "kind", "headers", "status"),
    [
        (b"q=" + SCRIPT, FORM, (), 403),
        (gzip.compress(b"q=" + SCRIPT, mtime=0), FORM, ((b"Content-Encoding", b"gzip"),), 403),
        (gzip.compress(b"q=hello", mtime=0), FORM, ((b"Content-Encoding", b"gzip"),), 0),
        (gzip.compress(b"q", mtime=0)[:9], FORM, ((b"Content-Encoding", b"gzip"),), 400),
        (b"q=hello", FORM, ((b"Content-Encoding", b"br"),), 415),
        (b"q=hello", FORM + b"; charset=nonsense", (), 415),
        ((b'{"q": "%b"}' % SCRIPT).decode().encode("utf-16"), b"application/json", (), 403),
        (b'{"q": ', b"application/json", (), 400),
        (b"no multipart", b"multipart/form-data; boundary=B", (), 400),
    ],
)
def test_bodies(
    judge: RuleJudge, body: bytes, kind: bytes, headers: tuple[Any, ...], status: int
) -> None:
    found = judge.judge(posted(body, kind, *headers))
    assert found.status == status
    assert bool(found.problem) == (status in (400, 415))


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"q": "%b", "r": "' % SCRIPT, b"application/json"),
        (b"q=" + SCRIPT + b"&r=", FORM),
        (
            b'--B\r\nContent-Disposition: form-data; name="q"\r\n\r\n%b' % SCRIPT,
            b"multipart/form-data; boundary=B",
        ),
    ],
)
def test_the_beginning_of_a_body_is_judged(judge: RuleJudge, body: bytes, kind: bytes) -> None:
    assert judge.judge(posted(body, kind, whole=False)).status == 403
    harmless = body.replace(SCRIPT, b"hello")
    assert judge.judge(posted(harmless, kind, whole=False)).status == 0


def test_responses(judge: RuleJudge) -> None:
    leak = b"You have an error in your SQL syntax; check the manual that corresponds to your MySQL"
    html = ((b"Content-Type", b"text/html"),)
    asked = evolve(ASKED, response_status=200, response_headers=html)
    assert judge.judge(evolve(asked, body=b"hello")).status == 0
    found = judge.judge(evolve(asked, body=leak))
    assert (found.status, found.matches[0].target) == (403, "RESPONSE_BODY")
    packed = (*html, (b"Content-Encoding", b"gzip"))
    asked = evolve(asked, response_headers=packed)
    assert judge.judge(evolve(asked, body=gzip.compress(leak, mtime=0))).status == 403
    assert judge.judge(evolve(asked, body=b"damaged")).status == 0


def test_a_judge_leaves_no_descriptor() -> None:
    with_core_rules()
    loadout = RuleSource(SPEC).loadout()
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        made = RuleJudge(loadout.parts, 1024)
        assert made.judge(evolve(ASKED, target=b"/?q=%27+or+1%3D1--")).matches
        made.close()
    # the file with the rules that matched, here and in the library
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 2


PAIRS = st.lists(st.tuples(st.binary(max_size=9), st.binary(max_size=9)), max_size=4).map(tuple)


@given(st.binary(max_size=99), PAIRS, PAIRS, st.booleans(), st.binary(max_size=9))
def test_a_question_is_read_as_it_was_written(
    body: bytes, headers: Any, more: Any, whole: bool, target: bytes
) -> None:
    one = evolve(
        ASKED,
        body=body,
        headers=headers,
        response_headers=more,
        whole=whole,
        target=target,
        excluded=(1, 5),
    )
    message = b"".join(framed(one.fields()))
    assert LENGTH.unpack(message[:4])[0] == len(message) - 4
    assert Question.of(unframed(message[4:])) == one


def test_an_answer_is_read_as_it_was_written() -> None:
    one = RuleAnswer(403, 5, (Match(1, "a", "ARGS:q", 2),), "", 0.5)
    assert read_answer(write_answer(one)[4:]) == one


def test_the_program_checks_rules(tmp_path: Path) -> None:
    with_core_rules()
    for text, status in (("SecRuleEngine On", 0), ("SecNonsense", 1)):
        settings = {"parts": [{"text": text, "file": ""}], "limit": 1024}
        found = subprocess.run(
            [sys.executable, "-m", PROCESS, "check"],
            input=json.dumps(settings).encode(),
            capture_output=True,
            env=environment(),
            timeout=60,
            check=False,
        )
        assert found.returncode == status
        assert (b"SecNonsense" in found.stdout) == bool(status)
