"""PURE. The line ``shed``: load limits above which traffic is refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from lbproxy.config import units
from lbproxy.config.errors import Unfit
from lbproxy.config.line import Line, Scope
from lbproxy.config.options import Spot
from lbproxy.config.words import Word
from lbproxy.limits.rules import ShedLimits

__all__ = ["SHED"]

_KINDS: Final = {
    "lag": ("duration", {"min": 0.001, "max": 60}),
    "memory": ("percent", {"min": 0.01, "max": 1}),
    "queue": ("percent", {"min": 0.01, "max": 1}),
}
_FORM: Final = "write LOAD LIMIT, such as lag 50ms, memory 90%, queue 50%"


def _read(words: Sequence[Word], spot: Spot, scope: Scope) -> ShedLimits | None:
    texts = [text for word in words for text in word.text.replace(",", " ").split()]
    found: dict[str, float] = {}
    if not texts or len(texts) % 2:
        spot.wrong(_FORM)
        return None
    for name, text in zip(texts[::2], texts[1::2], strict=True):
        if name not in _KINDS:
            spot.wrong(f"unknown load {name[:80]!r}; {_FORM}", found=name, known=tuple(_KINDS))
            return None
        if name in found:
            spot.wrong(f"{name} appears twice")
            return None
        kind, facts = _KINDS[name]
        try:
            found[name] = units.parse(kind, text, facts)
        except Unfit as error:
            spot.caught(error)
            return None
    return ShedLimits(**found)


def _dump(limits: ShedLimits) -> str:
    found = {name: getattr(limits, name) for name in _KINDS}
    return ", ".join(
        f"{name} {units.dump(_KINDS[name][0], value)}" for name, value in found.items() if value
    )


SHED = Line("shed", _read, _dump, words="``lag TIME``, ``memory SHARE``, ``queue SHARE``")
