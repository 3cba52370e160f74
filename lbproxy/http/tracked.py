"""PURE. The condition ``track NAME > N``: the count of a ``[track NAME]`` for this client."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from typing import Any, Final

from lbproxy.http.context import Compiled, RouteContext

__all__ = ["compile_track", "track_of"]

_FORM: Final = re.compile(r"([^<>=]+)(>=|<=|>|<|=)([0-9]{1,15})")
_COMPARE: Final[dict[str, Callable[[Any, Any], bool]]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "=": operator.eq,
}


def _parts(args: Sequence[str]) -> tuple[str, str, int]:
    found = _FORM.fullmatch("".join(args)) if len(args) <= 3 else None
    if found is None:
        raise ValueError(f"track {' '.join(args)[:80]}: write NAME > NUMBER (or >=, <, <=, =)")
    return found[1], found[2], int(found[3])


def track_of(args: Sequence[str]) -> str:
    """Return the name of the ``[track NAME]`` in a condition. Raises ValueError."""
    return _parts(args)[0]


def _count(context: RouteContext, name: str) -> float:
    track = context.frontend.tracks.get(name) if context.frontend is not None else None
    return 0.0 if track is None else float(track.value(context))


def compile_track(args: Sequence[str]) -> Compiled:
    """Compile ``track NAME > N``. A track without counts is 0."""
    name, sign, number = _parts(args)
    compare = _COMPARE[sign]
    return (
        lambda context, path: compare(_count(context, name), number),
        lambda context, path: f"{_count(context, name):g}",
    )
