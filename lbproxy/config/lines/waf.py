"""PURE. Lines of a ``[waf NAME]``: ``exclude`` and ``own``, and functions of other sections."""

from __future__ import annotations

import re
from collections.abc import Sequence
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Final

from lbproxy.config.conditions import dump_conditions, find_if, read_conditions
from lbproxy.config.line import Line, Scope
from lbproxy.config.options import Spot
from lbproxy.config.plugins import find_class
from lbproxy.config.words import Word, quote
from lbproxy.model.filefunction import FileFunction

if TYPE_CHECKING:  # the engine and its rules are imported only for files with a [waf NAME]
    from lbproxy.waf.exclusion import Exclusion

__all__ = ["EXCLUDE", "PREDICATE"]

_IDS: Final = re.compile(r"(\d{1,7})(?:-(\d{1,7}))?")
_FORM: Final = "ID[-ID] [PART] [if CONDITIONS]"


def _read_exclude(words: Sequence[Word], spot: Spot, scope: Scope) -> Exclusion | None:
    from lbproxy.waf.exclusion import PARTS, Exclusion

    at = find_if(words)
    found = _IDS.fullmatch(words[0].text) if words and at else None
    if found is None or at > 2:
        spot.wrong(f"write {_FORM}, such as 942100 ARGS:q if path /search")
        return None
    first, last = int(found[1]), int(found[2] or found[1])
    part = words[1].text if at == 2 else ""
    kind = part.partition(":")[0]
    if part and kind not in PARTS:
        message = f"unknown part {part[:80]!r}; a part is {', '.join(PARTS)}, with :NAME"
        spot.wrong(message, found=kind, known=PARTS)
    conditions = read_conditions(words[at + 1 :], spot, scope) if at < len(words) else ()
    return None if spot.failed else Exclusion(first, last, part, conditions)


def _dump_exclude(spec: Exclusion) -> str:
    words = [str(spec.first) if spec.first == spec.last else f"{spec.first}-{spec.last}"]
    words += [quote(spec.part)] if spec.part else []
    return " ".join(
        [*words, *(["if", *dump_conditions(spec.conditions)] if spec.conditions else [])]
    )


def _read_predicate(words: Sequence[Word], spot: Spot, scope: Scope) -> FileFunction | None:
    if len(words) != 1:
        spot.wrong("write FILE.py:FUNCTION or MODULE:FUNCTION, one per line")
        return None
    name = words[0].text
    function = find_class("predicate", name, spot, scope.resolve)
    if iscoroutinefunction(function):
        spot.wrong(f"{name} is 'async', but its result is not awaited; write 'def'")
    return None if spot.failed else FileFunction(name, function)


EXCLUDE = Line(
    "exclude",
    _read_exclude,
    _dump_exclude,
    words=f"``{_FORM}``, one per line; an example of a part is ``ARGS:q``",
)
PREDICATE = Line(
    "predicate",
    _read_predicate,
    lambda spec: quote(spec.name),
    words="``FILE.py:FUNCTION`` or ``MODULE:FUNCTION``",
)
