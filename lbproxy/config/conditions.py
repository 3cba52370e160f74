"""PURE. Conditions in the words of routes: before ``->``, and after the ``if`` of a filter.

:mod:`lbproxy.http.condition` defines the verbs and their meaning; this module only separates words.
The word after a verb always belongs to it, so ``header host x`` tests a header. Further words
belong to it until the next bare verb or ``not``. A quoted word is never a verb.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress

from lbproxy.config.foreign import foreign_condition
from lbproxy.config.line import Scope
from lbproxy.config.options import Spot
from lbproxy.config.words import Word, quote
from lbproxy.http.condition import VERBS, check_condition, track_of
from lbproxy.model import Condition
from lbproxy.model.secrets import mask_condition

__all__ = ["dump_conditions", "find_if", "read_conditions"]


def _is_verb(word: Word) -> bool:
    return word.is_bare and (word.text in VERBS or word.text == "not")


def find_if(words: Sequence[Word]) -> int:
    """Return the index of the ``if`` that begins conditions, or ``len(words)``.

    It is bare, and a verb or ``not`` follows.
    """
    for at in range(1, len(words) - 1):
        if words[at].is_bare and words[at].text == "if" and _is_verb(words[at + 1]):
            return at
    return len(words)


def read_conditions(
    words: Sequence[Word], spot: Spot, scope: Scope, *, response: bool = False
) -> tuple[Condition, ...]:
    """Return the conditions; errors go to ``spot``.

    ``response``: conditions about the response are allowed.
    """
    out: list[Condition] = []
    at = 0
    while at < len(words):
        negated = words[at].is_bare and words[at].text == "not"
        at += negated
        if at >= len(words):
            spot.wrong("no condition follows 'not'")
            break
        verb = words[at]
        if not (verb.is_bare and verb.text in VERBS):
            _unknown_verb(verb, spot)
            break
        end = _end_of_arguments(words, at + 1)
        args = tuple(word.text for word in words[at + 1 : end])
        for shown, arg in zip(mask_condition(verb.text, args), args, strict=True):
            if shown != arg:
                spot.hide(arg)
        try:
            check_condition(verb.text, args, scope.mode, response=response)
        except ValueError as error:
            spot.caught(error)
        if verb.text == "client":
            _lists(args, spot, scope)
        elif verb.text == "track":
            _track(args, spot, scope)
        out.append((verb.text, args, bool(negated)))
        at = end
    if len(out) > 1 and not spot.failed:
        _contradiction(out, spot)
    return tuple(out)


def _contradiction(conditions: Sequence[Condition], spot: Spot) -> None:
    """Report conditions that exclude each other."""
    from lbproxy.http.contradiction import excluded

    found = excluded(conditions)
    if found is None:
        return
    one, two = (" ".join(dump_conditions([_masked(condition)])) for condition in found)
    hint = ""
    if found[0][0] not in ("cookie", "header", "query") and not found[0][2] and not found[1][2]:
        hint = f"; write '{one} {' '.join(two.split()[1:])}' if either may hold"
    spot.wrong(f"never matches: all conditions must hold, and '{one}' excludes '{two}'{hint}")


def _masked(condition: Condition) -> Condition:
    verb, args, negated = condition
    return verb, tuple(mask_condition(verb, args)), negated


def _lists(args: Sequence[str], spot: Spot, scope: Scope) -> None:
    """Report lists that do not exist."""
    names = scope.names("list")
    for arg in args:
        name = arg.removeprefix("list:")
        if name != arg and name not in names:
            spot.wrong(f"there is no list {name!r}", found=name, known=sorted(names))


def _track(args: Sequence[str], spot: Spot, scope: Scope) -> None:
    """Report a track that does not exist."""
    with suppress(ValueError):  # reported already
        name, known = track_of(args), scope.names("track")
        if name not in known:
            spot.wrong(f"there is no track {name!r}", found=name, known=sorted(known))


def _unknown_verb(word: Word, spot: Spot) -> None:
    if word.is_bare and word.text == "default":
        spot.wrong("'default' cannot be combined with conditions")
        return
    message, here = f"unknown condition {word.text!r}", foreign_condition(word.text)
    if here:
        spot.wrong(f"{message}; {here}")
    else:
        spot.wrong(message, found=word.text, known=(*VERBS, "default", "not"))


def _end_of_arguments(words: Sequence[Word], at: int) -> int:
    first = at
    while at < len(words) and (at == first or not _is_verb(words[at])):
        at += 1
    return at


def dump_conditions(conditions: Iterable[Condition]) -> list[str]:
    """Return the words from which :func:`read_conditions` reads ``conditions``."""
    out: list[str] = []
    for verb, args, negated in conditions:
        out.extend(("not", verb) if negated else (verb,))
        for i, arg in enumerate(args):
            reserved = arg == "->" or (i > 0 and (arg == "not" or arg in VERBS))
            out.append(quote(arg, force=reserved))
    return out
