"""PURE. One line of ``routes``: ``[not] verb args ... -> backend`` or ``-> action``."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from attrs import evolve

from lbproxy.config.conditions import dump_conditions, read_conditions
from lbproxy.config.line import Line, Scope
from lbproxy.config.masking import masked
from lbproxy.config.options import Spot, dump_options, option_fields, read_options
from lbproxy.config.plugins import dump_plugin, read_plugin
from lbproxy.config.words import Word, quote
from lbproxy.http.condition import VERBS
from lbproxy.model import Condition, PluginSpec, RouteSpec

__all__ = ["ACTIONS", "ROUTE", "dump_route", "route_line"]

ACTIONS = ("redirect", "reply")
"""Filters that may replace the backend of a route."""


def _read(
    cls: type[RouteSpec], words: Sequence[Word], spot: Spot, scope: Scope
) -> RouteSpec | None:
    """Return the route, or None with its errors reported."""
    arrow = next((i for i, w in enumerate(words) if w.is_bare and w.text == "->"), -1)
    if arrow < 0:
        spot.wrong("'->' is missing: write conditions -> backend")
        return None
    conditions = _conditions(words[:arrow], spot, scope)
    backend, action, options = _target(cls, words[arrow + 1 :], spot, scope)
    if spot.failed:
        return None
    spec = cls(conditions, backend, action, where=spot.where, **options)
    return evolve(spec, text=dump_route(masked(spec)))


def _conditions(words: Sequence[Word], spot: Spot, scope: Scope) -> tuple[Condition, ...]:
    if len(words) == 1 and words[0].is_bare and words[0].text == "default":
        return ()
    if not words:
        spot.wrong("no condition precedes '->'; write 'default' for all traffic")
    return read_conditions(words, spot, scope)


def _target(
    cls: type[RouteSpec], words: Sequence[Word], spot: Spot, scope: Scope
) -> tuple[str, PluginSpec | None, dict[str, Any]]:
    """Return the backend and its options, or an action."""
    if not words:
        spot.wrong("a backend or an action is missing after '->'")
        return "", None, {}
    name, rest = words[0].text, words[1:]
    if name in scope.names("backend"):
        fields = option_fields(cls)
        for word in rest:
            if word.option() is None and word.text not in fields:
                spot.wrong(f"unexpected word {word.text!r} after backend {name!r}", found=word.text)
                return "", None, {}
        values = read_options(cls, rest, spot)
        _fits(cls, values, spot, scope)
        return name, None, values
    if name in ACTIONS:
        return "", read_plugin("filter", words, spot, scope.resolve), {}
    if all(word.option() is not None for word in rest):
        known = (*sorted(scope.names("backend")), *ACTIONS)
        spot.wrong(f"there is no backend {name!r}", found=name, known=known)
    else:
        spot.wrong(f"unknown action {name!r}", found=name, known=ACTIONS)
    return "", None, {}


def _fits(cls: type[RouteSpec], values: dict[str, Any], spot: Spot, scope: Scope) -> None:
    """Report options that have no meaning in tcp mode."""
    fields = option_fields(cls)
    for name in values:
        if scope.mode == "tcp" and fields[name].metadata.get("http_only"):
            spot.wrong(f"option {name!r} is only for http mode, and this frontend is tcp")


def dump_route(spec: RouteSpec) -> str:
    """Return the line of a route; its ``text`` is the same without secrets."""
    out = dump_conditions(spec.conditions)
    target = dump_plugin(spec.action) if spec.action is not None else [quote(spec.backend)]
    target += dump_options(spec)
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
TEXT``. All conditions must hold; the first matching route wins. ``default -> BACKEND`` takes all
remaining traffic. Options may follow the backend. Options and conditions:"""


def route_line(cls: type[RouteSpec]) -> Line:
    """Return the line of routes whose class is ``cls``."""
    return Line(
        "route",
        partial(_read, cls),
        dump_route,
        words="route lines (see `route line`)",
        intro=_INTRO,
        options=cls,
        rows=_rows,
    )


ROUTE = route_line(RouteSpec)
