"""PURE. The self-test of rules: each has examples of attacks and of ordinary values."""

from __future__ import annotations

from collections.abc import Iterable

from lbproxy.waf.engine import Engine
from lbproxy.waf.rule import Rule, Zone

__all__ = ["wrong_examples"]


def wrong_examples(rules: Iterable[Rule]) -> list[str]:
    """Run the examples of ``rules``. Return a line for each wrong result.

    Raises ValueError for a pattern that cannot be compiled.
    """
    found: list[str] = []
    for rule in rules:
        engine = Engine([rule], rule.paranoia)
        for text in rule.attacks:
            if not _matches(engine, rule, text):
                found.append(f"rule {rule.id} does not find {text!r}")
        for text in rule.ordinary:
            if _matches(engine, rule, text):
                found.append(f"rule {rule.id} reports {text!r} as an attack")
    return found


def _matches(engine: Engine, rule: Rule, text: str) -> bool:
    value = text.encode().replace(b"\n", b" ")
    zone = rule.zones[0] if rule.zones else Zone.ARGS
    return bool(engine.judge({zone: [("", value)]}).hits)
