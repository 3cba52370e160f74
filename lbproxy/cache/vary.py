"""PURE. Selection of a stored response by the request fields in Vary (RFC 9111 §4.1)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final

from lbproxy.cache.stored import Stored
from lbproxy.cache.targeted import Fields

__all__ = ["ANY", "Selected", "matching", "normal_value", "selected_by", "selects", "vary_names"]

ANY: Final = b"*"

_CODINGS: Final = frozenset(
    {b"gzip", b"x-gzip", b"br", b"zstd", b"deflate", b"compress", b"dcz", b"dcb"}
)
_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_ZERO: Final = re.compile(rb"q\s*=\s*0(?:\.0{0,3})?\s*$")

_LISTS: Final = frozenset({b"accept-charset", b"accept-language"})
"""Lists of tokens with weights, in which neither blanks nor case matter. In other fields blanks may
be part of a value, and must not make two users share a response.
"""

LONGEST: Final = 100
"""Maximum length in bytes of an Accept-Encoding whose normal form is cached."""

Selected = tuple[tuple[bytes, bytes | None], ...]


def vary_names(head: Fields) -> tuple[bytes, ...]:
    """Return the names in Vary, in lower case, sorted.

    :data:`ANY` is the first if ``*`` is among them, or a member that no field can have as its name:
    what else it depends on is unknown. The others count if a line of ``ttl`` with ``force`` stores
    such a response.
    """
    names = {
        name.strip(b" \t").lower()
        for value in head.header_values(b"vary")
        for name in value.split(b",")
        if name.strip(b" \t")
    }
    named = [name for name in names if name != ANY and _NAME.fullmatch(name)]
    named.sort()
    return tuple(named) if len(named) == len(names) else (ANY, *named)


def selected_by(names: Iterable[bytes], request: Fields) -> Selected:
    """Return the request's values of ``names`` in a form whose equality means the same
    selection.
    """
    return tuple((name, normal_value(name, request.header_values(name))) for name in names)


def selects(selected: Selected, request: Fields) -> bool:
    """Return whether ``request`` has the values ``selected`` of a stored response."""
    return all(
        normal_value(name, request.header_values(name)) == wanted for name, wanted in selected
    )


def normal_value(name: bytes, values: Sequence[bytes]) -> bytes | None:
    """Return the value of the field ``name`` in a form whose equality means the same selection;
    None without a line.
    """
    if not values:
        return None
    if name == b"accept-encoding":
        one = values[0]
        return _remembered(one) if len(values) == 1 and len(one) <= LONGEST else _accepted(values)
    if name not in _LISTS:
        return b", ".join(value.strip(b" \t") for value in values)
    return b",".join(
        b"".join(part.split()) for value in values for part in value.lower().split(b",")
    )


@lru_cache(maxsize=256)
def _remembered(value: bytes) -> bytes:
    """See :func:`_accepted`. Results are cached, because browsers send few different lines."""
    return _accepted([value])


def _accepted(values: Sequence[bytes]) -> bytes:
    """Return Accept-Encoding as the sorted list of codings that servers use and the client accepts.

    Their weights are dropped, because a server chooses one coding of the set.
    """
    found: set[bytes] = set()
    refused: set[bytes] = set()
    for value in values:
        for part in value.lower().split(b","):
            coding, _, weight = part.partition(b";")
            coding = coding.strip()
            if _ZERO.search(weight):
                refused.add(coding)
            elif coding in _CODINGS or coding == b"*":
                found.add(coding)
    kept = sorted(found - refused)
    if b"*" in refused or b"identity" in refused:
        kept.append(b"identity;q=0")
    if b"*" in kept:
        kept += sorted(coding + b";q=0" for coding in refused & _CODINGS)
    return b",".join(kept)


def matching(variants: Iterable[Stored], request: Fields) -> Stored | None:
    """Return the stored response that ``request`` selects, the most recent of several.

    Of two with the same time, the later one in ``variants`` is returned.
    """
    best: Stored | None = None
    for one in variants:
        if selects(one.selected, request) and (best is None or one.received >= best.received):
            best = one
    return best
