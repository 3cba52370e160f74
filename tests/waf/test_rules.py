"""The built-in rules: their examples and the corpora."""

from __future__ import annotations

import pytest

pytest.importorskip("re2")

from lbproxy.http.message import RequestHead
from lbproxy.waf.body import body_parts
from lbproxy.waf.engine import Engine
from lbproxy.waf.examples import wrong_examples
from lbproxy.waf.rule import CLASSES, Rule, Zone
from lbproxy.waf.rules import RULES
from lbproxy.waf.target import head_parts, pairs_of
from tests.waf.corpus import FOLDER, judged, samples, share_stopped


def test_every_rule_judges_its_examples_rightly() -> None:
    assert wrong_examples(RULES) == []


def test_a_wrong_example_is_reported() -> None:
    rule = Rule(1, "sqli", "test", "a+", (), ("b",), ("xaay",))
    assert wrong_examples([rule]) == [
        "rule 1 does not find 'b'",
        "rule 1 reports 'xaay' as an attack",
    ]


def test_ids_are_unique_and_classes_known() -> None:
    ids = [rule.id for rule in RULES]
    assert len(set(ids)) == len(ids)
    assert {rule.kind for rule in RULES} == set(CLASSES)
    assert all(rule.attacks and rule.ordinary and rule.message for rule in RULES)


@pytest.mark.parametrize("held", [False, True])
def test_attacks_of_the_corpus_are_stopped_and_ordinary_requests_pass(held: bool) -> None:
    engine = Engine(RULES)
    assert share_stopped(engine, "attacks.txt", held=held) >= 0.97
    assert share_stopped(engine, "ordinary.txt", held=held) <= 0.01


def test_the_second_corpus_was_written_before_the_rules_were_tried_on_it() -> None:
    engine = Engine(RULES)
    assert share_stopped(engine, "attacks_second.txt") >= 0.95
    assert share_stopped(engine, "ordinary_second.txt") <= 0.01


def test_the_third_corpus_has_source_code_and_texts_about_attacks() -> None:
    engine = Engine(RULES)
    assert share_stopped(engine, "attacks_third.txt") >= 0.97
    assert share_stopped(engine, "ordinary_third.txt") <= 0.06


def test_the_fourth_corpus_has_odd_spellings() -> None:
    engine = Engine(RULES)
    assert share_stopped(engine, "attacks_fourth.txt") >= 0.99
    assert share_stopped(engine, "ordinary_fourth.txt") <= 0.03


def test_the_fifth_corpus_has_all_classes_and_passwords_and_queries() -> None:
    engine = Engine(RULES)
    assert share_stopped(engine, "attacks_fifth.txt") >= 0.99
    assert share_stopped(engine, "ordinary_fifth.txt") <= 0.014


def test_the_sixth_corpus_has_logs_tutorials_paths_and_shell_in_texts() -> None:
    engine = Engine(RULES)
    assert share_stopped(engine, "attacks_sixth.txt") >= 0.99
    assert share_stopped(engine, "ordinary_sixth.txt") <= 0.012


def test_of_all_ordinary_requests_one_in_a_hundred_is_stopped_at_most() -> None:
    engine = Engine(RULES)
    names = sorted(path.name for path in FOLDER.glob("ordinary*.txt"))
    chosen = [one for name in names for one in samples(name)]
    stopped = sum(judged(engine, one).score >= 5 for one in chosen)
    assert len(names) == 6 and stopped / len(chosen) < 0.01


@pytest.mark.parametrize(
    "body", [b'{"__proto__": {"a": 1}}', b'{"constructor": {"prototype": {"a": 1}}}']
)
def test_prototypes_in_names_of_json_are_found(body: bytes) -> None:
    parts = {Zone.ARGS: body_parts(body, b"application/json", whole=True)}
    assert Engine(RULES).judge(parts).score >= 5


@pytest.mark.parametrize("name", [b"__proto__.a", b"constructor.prototype.a", b"class.module.a"])
def test_dotted_names_are_judged(name: bytes) -> None:
    assert (f"ARGS_NAMES:{name.decode()}", name) in pairs_of(name + b"=1")


def test_the_corpus_has_three_hundred_of_each() -> None:
    for name in ("attacks.txt", "ordinary.txt"):
        lines = [one.line for one in samples(name)]
        assert len(set(lines)) >= 300


def test_higher_paranoia_has_more_rules_and_finds_no_less() -> None:
    engines = [Engine(RULES, level) for level in (1, 2, 3)]
    assert engines[0].count < engines[1].count < engines[2].count
    for sample in list(samples("attacks.txt"))[::7]:
        scores = [judged(engine, sample).score for engine in engines]
        assert scores == sorted(scores)


def test_an_excluded_part_does_not_hide_another() -> None:
    engine = Engine(RULES)
    parts = {Zone.ARGS: [("ARGS:q", b"' or 1=1--"), ("ARGS:x", b"' or 1=1--")]}

    def excluded(rule: int, part: str) -> bool:
        return part == "ARGS:q"

    assert {hit.part for hit in engine.judge(parts).hits} == {"ARGS:q"}
    assert {hit.part for hit in engine.judge(parts, excluded).hits} == {"ARGS:x"}
    assert not engine.judge({Zone.ARGS: parts[Zone.ARGS][:1]}, excluded).hits
    assert engine.judge({Zone.ARGS: parts[Zone.ARGS][:1]}).hits


def test_many_excluded_parts_do_not_hide_another() -> None:
    engine = Engine(RULES)
    attack = b"' or 1=1--"
    for count in (30, 2000):
        parts = [("ARGS:q", attack)] * count + [("ARGS", b"a\nb"), ("ARGS:x", attack)]
        assert engine.judge({Zone.ARGS: parts}, lambda _, part: part == "ARGS:q").hits
    found = engine.judge({Zone.ARGS: parts[-2:]}, lambda _, part: part == "ARGS:q")
    assert {hit.part for hit in found.hits} == {"ARGS:x"}


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        (b"Accept-Language", b"../../../../etc/passwd", True),
        (b"Accept-Language", b"%2E%2E/%2E%2E/%2E%2E/etc/passwd", True),
        (b"Accept", b"|id", True),
        (b"Authorization", b"Bearer $(id)", True),
        (b"If-None-Match", b"{{7*7}}", True),
        (b"Authorization", b"Bearer eyJhbGciOiJub25lIn0..c2ln", False),
        (b"Authorization", b'Digest realm="a|b", nonce="x..y", uri="/a?b=c"', False),
        (b"Accept", b"text/html, */*;q=0.8", False),
    ],
)
def test_headers_of_fixed_form_are_judged_if_they_are_odd(
    name: bytes, value: bytes, found: bool
) -> None:
    head = RequestHead(b"GET", b"/", [(name, value)])
    assert (Engine(RULES).judge(head_parts(head)).score >= 5) is found
