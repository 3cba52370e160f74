"""PURE. Lines of ``mirror`` and ``rebalance``."""

from __future__ import annotations

from collections.abc import Sequence

from lbproxy.config.line import Line, Scope, dump_words, options_line
from lbproxy.config.options import Spot, construct, read_options
from lbproxy.config.plugins import find_class
from lbproxy.config.words import Word
from lbproxy.model import MirrorSpec, RebalanceSpec

__all__ = ["MIRROR", "REBALANCE"]


def _read_mirror(words: Sequence[Word], spot: Spot, scope: Scope) -> MirrorSpec | None:
    """Read ``BACKEND options`` and load the predicate."""
    values = read_options(MirrorSpec, words, spot)
    name = values.get("predicate")
    judge = find_class("predicate", name, spot, scope.resolve) if name else None
    if spot.failed:
        return None
    values.update(judge=judge, where=spot.where)
    made: MirrorSpec | None = construct(MirrorSpec, values, spot, "mirror")
    return made


MIRROR = Line(
    "mirror",
    _read_mirror,
    dump_words,
    words="a mirror line (see `mirror line`)",
    intro="``BACKEND`` and options:",
    options=MirrorSpec,
)
REBALANCE = options_line(
    "rebalance",
    RebalanceSpec,
    words="a rebalance line (see `rebalance line`)",
    intro="``PROTOCOL`` and options:",
)
