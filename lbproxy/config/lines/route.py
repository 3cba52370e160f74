"""PURE. One line of ``routes``: ``[not] verb args ... -> backend`` or ``-> action``.

The verbs and their meaning are those of :mod:`lbproxy.http.condition`; here a line is only taken apart.  The word
after a verb always belongs to it, so ``header host x`` asks for a header; further words belong to it
until the next bare verb, ``not`` or ``->``.  A quoted word is never a verb.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import evolve

from lbproxy.config import units
from lbproxy.config.errors import Unfit
from lbproxy.config.line import Line, Scope
from lbproxy.config.masking import masked
from lbproxy.config.options import Spot
from lbproxy.config.plugins import dump_plugin, read_plugin
from lbproxy.config.words import Word, quote
from lbproxy.http.condition import VERBS, check_condition
from lbproxy.model import PluginSpec, RouteSpec
from lbproxy.model.secrets import mask_condition

__all__ = ["ACTIONS", "ROUTE", "dump_route"]

ACTIONS = ("redirect", "reply")
"""Filters that may stand in the place of a backend."""

PRIORITIES = {"min": -9, "max": 9}
"""Classes of a queue; the default is 0."""

Condition = tuple[str, tuple[str, ...], bool]


def _read(words: Sequence[Word], spot: Spot, scope: Scope) -> RouteSpec | None:
    """The route, or None with its mistakes reported."""
    arrow = next((i for i, w in enumerate(words) if w.is_bare and w.text == "->"), -1)
    if arrow < 0:
        spot.wrong("'->' is missing: write conditions -> backend")
        return None
    conditions = _conditions(words[:arrow], spot, scope)
    target, priority = _priority(words[arrow + 1 :], spot, scope)
    backend, action = _target(target, spot, scope)
    if spot.failed:
        return None
    spec = RouteSpec(conditions, backend, action, where=spot.where, priority=priority)
    return evolve(spec, text=dump_route(masked(spec)))


def _priority(words: Sequence[Word], spot: Spot, scope: Scope) -> tuple[Sequence[Word], int]:
    """What is left of the target without ``priority=N``, and N."""
    pair = words[1].option() if len(words) == 2 else None
    if pair is None or pair[0] != "priority" or words[0].text not in scope.names("backend"):
        return words, 0
    try:
        return words[:1], units.parse("int", pair[1], PRIORITIES)
    except Unfit as error:
        spot.caught(error, "priority")
        return words[:1], 0


def _conditions(words: Sequence[Word], spot: Spot, scope: Scope) -> tuple[Condition, ...]:
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
        if not (verb.is_bare and verb.text in VERBS):
            _unknown_verb(verb, spot, scope)
            break
        end = _end_of_arguments(words, at + 1)
        condition = (verb.text, tuple(w.text for w in words[at + 1 : end]), bool(negated))
        for shown, arg in zip(mask_condition(*condition[:2]), condition[1], strict=True):
            if shown != arg:
                spot.hide(arg)
        try:
            check_condition(condition[0], condition[1], scope.mode)
        except ValueError as error:
            spot.caught(error)
        out.append(condition)
        at = end
    return tuple(out)


def _unknown_verb(word: Word, spot: Spot, scope: Scope) -> None:
    if word.is_bare and word.text == "default":
        spot.wrong("'default' stands alone, without conditions")
        return
    spot.wrong(
        f"unknown condition {word.text!r}", found=word.text, known=(*VERBS, "default", "not")
    )


def _end_of_arguments(words: Sequence[Word], at: int) -> int:
    first = at
    while at < len(words):
        word = words[at]
        if at > first and word.is_bare and (word.text in VERBS or word.text == "not"):
            break
        at += 1
    return at


def _target(words: Sequence[Word], spot: Spot, scope: Scope) -> tuple[str, PluginSpec | None]:
    if not words:
        spot.wrong("a backend or an action is missing after '->'")
        return "", None
    name = words[0].text
    if len(words) == 1 and name in scope.names("backend"):
        return name, None
    if name in ACTIONS:
        return "", read_plugin("filter", words, spot, scope.resolve)
    known = (*sorted(scope.names("backend")), *ACTIONS)
    if len(words) == 1:
        spot.wrong(f"there is no backend {name!r}", found=name, known=known)
    elif name in scope.names("backend"):
        spot.wrong(f"unexpected word {words[1].text!r} after backend {name!r}", found=words[1].text)
    else:
        spot.wrong(f"unknown action {name!r}", found=name, known=ACTIONS)
    return "", None


def dump_route(spec: RouteSpec) -> str:
    """The line of a route; its ``text`` is this without secrets."""
    out: list[str] = []
    for verb, args, negated in spec.conditions:
        out.extend(("not", verb) if negated else (verb,))
        for i, arg in enumerate(args):
            reserved = arg == "->" or (i > 0 and (arg == "not" or arg in VERBS))
            out.append(quote(arg, force=reserved))
    target = dump_plugin(spec.action) if spec.action is not None else [quote(spec.backend)]
    if spec.priority:
        target.append(f"priority={spec.priority}")
    return " ".join((*(out or ["default"]), "->", *target))


def _rows() -> list[tuple[str, str]]:
    return [
        (
            f"{verb} {facts.usage}",
            f"{facts.doc[:1].upper()}{facts.doc[1:]}.  Mode: {', '.join(sorted(facts.modes))}.",
        )
        for verb, facts in VERBS.items()
    ]


_INTRO = """\
``[not] CONDITION ARGUMENTS ... -> BACKEND`` or ``-> redirect STATUS URL`` or ``-> reply STATUS TEXT``.  All conditions
must hold; the first route that fits wins.  ``-> BACKEND priority=N`` (-9 to 9, default 0): the class in the backend's
queue, lower ones are served first.  ``default -> BACKEND`` takes what is left.  Conditions:"""

ROUTE = Line(
    "route",
    _read,
    dump_route,
    words="route lines (see `route line`)",
    intro=_INTRO,
    rows=_rows,
)
