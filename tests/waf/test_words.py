"""The words of a rule let every alternative of its pattern be tried."""

from __future__ import annotations

import re
from itertools import cycle, islice
from typing import Any

import pytest

pytest.importorskip("re2")

from lbproxy.waf.decode import decoded, view_of
from lbproxy.waf.engine import compiled_pattern
from lbproxy.waf.rule import Rule, View
from lbproxy.waf.rules import RULES

parse: Any = getattr(re, "_parser").parse  # noqa: B009 - it has no public name
LETTERS = "axz019 .-_/'\"=<>();:,$%&@#"
CATEGORIES = {
    "CATEGORY_DIGIT": "7",
    "CATEGORY_WORD": "k",
    "CATEGORY_SPACE": " ",
    "CATEGORY_NOT_WORD": ";",
    "CATEGORY_NOT_SPACE": "k",
    "CATEGORY_NOT_DIGIT": "k",
}


def one_of(items: Any) -> list[str]:
    """Letters of a class in brackets."""
    source = items[1:] if str(items[0][0]) == "NEGATE" else items
    named = "".join(
        chr(value)
        if str(op) == "LITERAL"
        else "".join(map(chr, range(value[0], value[1] + 1)))
        if str(op) == "RANGE"
        else CATEGORIES[str(value)]
        for op, value in source
    )
    if source is items:
        return list(dict.fromkeys(named))[:6]
    return [letter for letter in LETTERS if letter not in named][:3] or ["~"]


def variants(tree: Any, turn: int = 0) -> list[str]:
    """Texts that match a pattern, with each of its alternatives in one of them at least.

    ``turn``: which alternatives meet.
    """
    found = [""]
    for op, value in tree:
        kind = str(op)
        if kind == "LITERAL":
            some = [chr(value)]
        elif kind == "NOT_LITERAL":
            some = [letter for letter in LETTERS if ord(letter) != value][:3]
        elif kind == "IN":
            some = one_of(value)
        elif kind == "BRANCH":
            some = [text for branch in value[1] for text in variants(branch, turn)]
        elif kind == "SUBPATTERN":
            some = variants(value[3], turn)
        elif kind == "MAX_REPEAT":
            least, most, part = value
            some = [text * max(1, least) for text in variants(part, turn)]
            some += [""] if least == 0 and most else []
        else:
            assert kind == "AT", kind
            continue
        count = max(len(found), len(some))
        heads, tails = islice(cycle(found), count), islice(cycle(some), turn, turn + count)
        found = [head + tail for head, tail in zip(heads, tails, strict=True)]
    return found


def untried(rule: Rule) -> list[str]:
    """Texts that the pattern of a rule matches and that have none of its words."""
    search = compiled_pattern(rule.pattern).search
    wrong: list[str] = []
    tree = parse(rule.pattern)
    for text in dict.fromkeys(text for turn in range(9) for text in variants(tree, turn)):
        raw = text.encode()
        form = raw if rule.view is View.RAW else view_of(rule.view, decoded(raw))
        if search(form) and not any(word.encode() in form for word in rule.words):
            wrong.append(text)
    return wrong


@pytest.mark.parametrize("rule", [one for one in RULES if one.words], ids=lambda one: str(one.id))
def test_every_alternative_has_a_word(rule: Rule) -> None:
    assert untried(rule) == []


def test_a_missing_word_is_found() -> None:
    rule = Rule(1, "sqli", "test", r"a+b|[cd] ?(?:e|f)", ("b", "c"), (), ())
    found = untried(rule)
    assert found and all(text.startswith("d") for text in found)
