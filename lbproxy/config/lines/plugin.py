"""PURE. Lines that name a plugin: ``balance``, ``sticky`` and ``filters``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

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
FILTER = Line("filter", _reader("filter"), _dump, words="filters and their options, one per line")
