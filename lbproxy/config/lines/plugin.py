"""PURE. Lines with a plugin: ``balance``, ``sticky`` and ``filters``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from attrs import evolve

from lbproxy.config.conditions import dump_conditions, find_if, read_conditions
from lbproxy.config.line import Line, Scope
from lbproxy.config.options import Spot
from lbproxy.config.plugins import dump_plugin, read_plugin
from lbproxy.config.words import Word
from lbproxy.model import PluginSpec

__all__ = ["BALANCER", "DEFAULT_BALANCER", "FILTER", "STICKY"]

DEFAULT_BALANCER = "roundrobin"
"""Balancer of a backend without ``balance``."""


def _reader(kind: str) -> Callable[[Sequence[Word], Spot, Scope], PluginSpec | None]:
    def read(words: Sequence[Word], spot: Spot, scope: Scope) -> PluginSpec | None:
        return read_plugin(kind, words, spot, scope.resolve)

    return read


def _dump(spec: Any) -> str:
    return " ".join(dump_plugin(spec))


BALANCER = Line(
    "balancer",
    _reader("balancer"),
    _dump,
    words="a balancer and its options",
    default=lambda value: DEFAULT_BALANCER,
)
STICKY = Line(
    "sticky",
    _reader("sticky"),
    _dump,
    words="a kind of stickiness and its options (see `Stickiness`)",
)


def _read_filter(words: Sequence[Word], spot: Spot, scope: Scope) -> PluginSpec | None:
    """Read ``NAME words options [if CONDITIONS]``."""
    at = find_if(words)
    spec = read_plugin("filter", words[:at], spot, scope.resolve)
    if spec is None or at == len(words):
        return spec
    conditions = read_conditions(words[at + 1 :], spot, scope, response=True)
    return None if spot.failed else evolve(spec, conditions=conditions)


def _dump_filter(spec: Any) -> str:
    words = dump_plugin(spec, ("if",))
    if spec.conditions:
        words += ["if", *dump_conditions(spec.conditions)]
    return " ".join(words)


FILTER = Line(
    "filter",
    _read_filter,
    _dump_filter,
    words="filters and their options, one per line, optionally followed by ``if`` and conditions"
    " as in a `route line`",
)
