"""PURE. One line of ``routes``: ``[not] verb args ... -> backend`` or ``-> action``."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import evolve

from lbproxy.config import units
from lbproxy.config.conditions import dump_conditions, read_conditions
from lbproxy.config.errors import Unfit
from lbproxy.config.line import Line, Scope
from lbproxy.config.masking import masked
from lbproxy.config.options import Spot
from lbproxy.config.plugins import dump_plugin, read_plugin
from lbproxy.config.words import Word, quote
from lbproxy.http.condition import VERBS
from lbproxy.model import Condition, PluginSpec, RouteSpec

__all__ = ["ACTIONS", "ROUTE", "dump_route"]

ACTIONS = ("redirect", "reply")
"""Filters that may replace the backend of a route."""

PRIORITIES = {"min": -9, "max": 9}
"""Classes of a queue; the default is 0."""


def _read(words: Sequence[Word], spot: Spot, scope: Scope) -> RouteSpec | None:
    """Return the route, or None with its errors reported."""
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
    """Return the target without ``priority=N``, and N."""
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
    return read_conditions(words, spot, scope)


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
    """Return the line of a route; its ``text`` is the same without secrets."""
    out = dump_conditions(spec.conditions)
    target = dump_plugin(spec.action) if spec.action is not None else [quote(spec.backend)]
    if spec.priority:
        target.append(f"priority={spec.priority}")
    return " ".join((*(out or ["default"]), "->", *target))


def _rows() -> list[tuple[str, str]]:
    return [
        (
            f"{verb} {facts.usage}",
            f"{facts.doc[:1].upper()}{facts.doc[1:]}. Mode: {', '.join(sorted(facts.modes))}.",
        )
        for verb, facts in VERBS.items()
    ]


_INTRO = """\
``[not] CONDITION ARGUMENTS ... -> BACKEND`` or ``-> redirect STATUS URL`` or ``-> reply STATUS
TEXT``. All conditions must hold; the first matching route wins. ``-> BACKEND priority=N`` (-9 to 9,
default 0) sets the class in the backend's queue; lower numbers are served first. ``default ->
BACKEND`` takes all remaining traffic. Conditions:"""

ROUTE = Line(
    "route",
    _read,
    dump_route,
    words="route lines (see `route line`)",
    intro=_INTRO,
    rows=_rows,
)
