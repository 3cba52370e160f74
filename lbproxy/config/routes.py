"""PURE. One line of ``routes``: ``[not] verb args ... -> backend`` or ``-> action``.

The verbs and their meaning are :mod:`lbproxy.http.route`'s; here a line is only taken apart.  The word
after a verb always belongs to it, so ``header host x`` asks for a header; further words belong to it
until the next bare verb, ``not`` or ``->``.  A quoted word is never a verb.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from attrs import evolve, frozen

from lbproxy.config import units
from lbproxy.config.errors import Unfit
from lbproxy.config.model import Mode, PluginSpec, RouteSpec
from lbproxy.config.options import Spot
from lbproxy.config.plugins import Resolve, dump_plugin, read_plugin
from lbproxy.config.words import Word, quote

__all__ = ["ACTIONS", "RouteRules", "dump_route", "read_route"]

ACTIONS = ("redirect", "reply")
"""Filters that may stand in the place of a backend."""

PRIORITIES = {"min": -9, "max": 9}
"""Classes of a queue; the default is 0."""

Condition = tuple[str, tuple[str, ...], bool]


@frozen
class RouteRules:
    """What a route line is checked against.

    ``check(verb, args, mode)`` raises ValueError for a condition that makes no sense.
    """

    verbs: Sequence[str]
    check: Callable[[str, tuple[str, ...], Mode], None]
    backends: Collection[str]
    resolve: Resolve


def read_route(
    words: Sequence[Word], spot: Spot, mode: Mode, rules: RouteRules
) -> RouteSpec | None:
    """The route, or None with its mistakes reported."""
    arrow = next((i for i, w in enumerate(words) if w.is_bare and w.text == "->"), -1)
    if arrow < 0:
        spot.wrong("'->' is missing: write conditions -> backend")
        return None
    conditions = _conditions(words[:arrow], spot, mode, rules)
    target, priority = _priority(words[arrow + 1 :], spot, rules)
    backend, action = _target(target, spot, rules)
    if spot.failed:
        return None
    spec = RouteSpec(conditions, backend, action, where=spot.where, priority=priority)
    return evolve(spec, text=dump_route(spec, rules.verbs))


def _priority(words: Sequence[Word], spot: Spot, rules: RouteRules) -> tuple[Sequence[Word], int]:
    """What is left of the target without ``priority=N``, and N."""
    pair = words[1].option() if len(words) == 2 else None
    if pair is None or pair[0] != "priority" or words[0].text not in rules.backends:
        return words, 0
    try:
        return words[:1], units.parse("int", pair[1], PRIORITIES)
    except Unfit as error:
        spot.caught(error, "priority")
        return words[:1], 0


def _conditions(
    words: Sequence[Word], spot: Spot, mode: Mode, rules: RouteRules
) -> tuple[Condition, ...]:
    if len(words) == 1 and words[0].is_bare and words[0].text == "default":
        return ()
    if not words:
        spot.wrong("there is no condition before '->'; write 'default' for everything")
    out: list[Condition] = []
    at = 0
    while at < len(words):
        negated = words[at].is_bare and words[at].text == "not"
        at += negated
        if at >= len(words):
            spot.wrong("'not' stands before nothing")
            break
        verb = words[at]
        if not (verb.is_bare and verb.text in rules.verbs):
            _unknown_verb(verb, spot, rules)
            break
        end = _end_of_arguments(words, at + 1, rules.verbs)
        condition = (verb.text, tuple(w.text for w in words[at + 1 : end]), bool(negated))
        try:
            rules.check(condition[0], condition[1], mode)
        except ValueError as error:
            spot.caught(error)
        out.append(condition)
        at = end
    return tuple(out)


def _unknown_verb(word: Word, spot: Spot, rules: RouteRules) -> None:
    if word.is_bare and word.text == "default":
        spot.wrong("'default' stands alone, without conditions")
        return
    spot.wrong(
        f"unknown condition {word.text!r}", found=word.text, known=(*rules.verbs, "default", "not")
    )


def _end_of_arguments(words: Sequence[Word], at: int, verbs: Sequence[str]) -> int:
    first = at
    while at < len(words):
        word = words[at]
        if at > first and word.is_bare and (word.text in verbs or word.text == "not"):
            break
        at += 1
    return at


def _target(words: Sequence[Word], spot: Spot, rules: RouteRules) -> tuple[str, PluginSpec | None]:
    if not words:
        spot.wrong("a backend or an action is missing after '->'")
        return "", None
    name = words[0].text
    if len(words) == 1 and name in rules.backends:
        return name, None
    if name in ACTIONS:
        return "", read_plugin("filter", words, spot, rules.resolve)
    known = (*sorted(rules.backends), *ACTIONS)
    if len(words) == 1:
        spot.wrong(f"there is no backend {name!r}", found=name, known=known)
    elif name in rules.backends:
        spot.wrong(f"unexpected word {words[1].text!r} after backend {name!r}", found=words[1].text)
    else:
        spot.wrong(f"unknown action {name!r}", found=name, known=ACTIONS)
    return "", None


def dump_route(spec: RouteSpec, verbs: Collection[str]) -> str:
    """The line :func:`read_route` reads; also the ``text`` of a route."""
    out: list[str] = []
    for verb, args, negated in spec.conditions:
        out.extend(("not", verb) if negated else (verb,))
        for i, arg in enumerate(args):
            reserved = arg == "->" or (i > 0 and (arg == "not" or arg in verbs))
            out.append(quote(arg, force=reserved))
    target = dump_plugin(spec.action) if spec.action is not None else [quote(spec.backend)]
    if spec.priority:
        target.append(f"priority={spec.priority}")
    return " ".join((*(out or ["default"]), "->", *target))
