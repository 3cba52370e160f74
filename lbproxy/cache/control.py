"""PURE. A parser of Cache-Control (RFC 9111 §5.2) in which errors make a response less
cacheable.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, Final

from attrs import frozen

__all__ = ["MOST", "NONE", "Control", "delta_seconds", "parse_control"]

MOST: Final = 2**31
"""Maximum number of seconds (RFC 9111 §1.2.2); larger numbers are reduced to it."""

LONGEST: Final = 100
"""Maximum length in bytes of a line that is cached with its directives."""

_DIGITS: Final = re.compile(rb"[0-9]+")
_QUOTED: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*"', re.DOTALL)
_BLANK: Final = re.compile(rb"[; \t]+")
_QUOTE: Final = re.compile(rb"[\"']")
_WORD: Final = re.compile(rb"[^\"',;= \t]+")
_PART: Final = re.compile(rb'(?:[^",]|"(?:[^"\\]|\\.)*")+', re.DOTALL)


@frozen
class Control:
    """The directives of one message.

    Times are seconds from 0 to :data:`MOST`, None if the directive is absent. An invalid number is
    0, and of several the smallest counts (RFC 9111 §4.2.1). ``no_cache_fields`` and
    ``private_fields``: names in lower case from ``no-cache="..."`` and ``private="..."``, which
    leave ``no_cache`` and ``private`` False. ``max_stale``: :data:`MOST` without a number.
    ``field``: source of the directives.
    """

    field: bytes = b"cache-control"
    no_store: bool = False
    no_cache: bool = False
    no_cache_fields: frozenset[bytes] = frozenset()
    private: bool = False
    private_fields: frozenset[bytes] = frozenset()
    public: bool = False
    must_revalidate: bool = False
    proxy_revalidate: bool = False
    must_understand: bool = False
    immutable: bool = False
    only_if_cached: bool = False
    max_age: int | None = None
    s_maxage: int | None = None
    min_fresh: int | None = None
    max_stale: int | None = None
    stale_while_revalidate: int | None = None
    stale_if_error: int | None = None

    @property
    def forbids_stale(self) -> bool:
        """True if a shared cache must not use the response stale (RFC 9111 §4.2.4), apart from
        s-maxage.
        """
        return self.must_revalidate or self.proxy_revalidate or self.no_cache


NONE: Final = Control()
"""No directives."""

_FLAGS: Final = {
    b"no-store": "no_store",
    b"public": "public",
    b"must-revalidate": "must_revalidate",
    b"proxy-revalidate": "proxy_revalidate",
    b"must-understand": "must_understand",
    b"immutable": "immutable",
    b"only-if-cached": "only_if_cached",
}
_RESTRICTING: Final = frozenset(
    {b"no-store", b"no-cache", b"private", b"must-revalidate", b"proxy-revalidate"}
)
_LISTS: Final = {b"no-cache": "no_cache", b"private": "private"}
_TIMES: Final = {
    b"max-age": "max_age",
    b"s-maxage": "s_maxage",
    b"min-fresh": "min_fresh",
    b"max-stale": "max_stale",
    b"stale-while-revalidate": "stale_while_revalidate",
    b"stale-if-error": "stale_if_error",
}


def delta_seconds(value: bytes) -> int | None:
    """Return ``value`` as seconds, at most :data:`MOST`, or None if it is not a number."""
    if _DIGITS.fullmatch(value) is None:
        return None
    return MOST if len(value) > 10 else min(int(value), MOST)


def parse_control(values: Sequence[bytes], field: bytes = b"cache-control") -> Control:
    """Return the directives in all lines ``values`` of one field.

    Names are compared without case. A value may be a token or a quoted string. An unclosed quote is
    ignored, so that it does not hide later directives. A semicolon or blank instead of a comma does
    not hide a restrictive directive, nor do quotes around directives.
    """
    if not values:
        return NONE
    if len(values) == 1 and len(values[0]) <= LONGEST:
        return _remembered(values[0], field)
    return _parsed(values, field)


@lru_cache(maxsize=256)
def _remembered(value: bytes, field: bytes) -> Control:
    """See :func:`parse_control`. Results are cached, because a site sends few different lines."""
    return _parsed([value], field)


def _parsed(values: Sequence[bytes], field: bytes) -> Control:
    found: dict[str, Any] = {}
    for name, value in _directives(values):
        if name in _FLAGS:
            found[_FLAGS[name]] = True
        elif name in _LISTS:
            _add_list(found, _LISTS[name], value)
        elif name in _TIMES:
            _add_time(found, _TIMES[name], value)
    return Control(field=field, **found)


def _directives(values: Sequence[bytes]) -> Iterable[tuple[bytes, bytes | None]]:
    """Yield every directive: its name in lower case, and its value without quotes, None without a
    value.
    """
    for line in values:
        text = line if _closed(line) else line.replace(b'"', b"")
        for part in _PART.findall(text):
            if _BLANK.search(part.strip(b" \t")) is not None:
                yield from _unseparated(_QUOTED.sub(b"", part).strip(b" \t"))
            name, equals, value = part.partition(b"=")
            if _QUOTE.search(name) is not None:
                yield from _restricting(_WORD.findall(part.lower()))
            name = name.strip(b" \t").lower()
            if not equals:
                yield name, None
            elif len(value) > 1 and value.startswith(b'"') and value.endswith(b'"'):
                yield name, re.sub(rb"\\(.)", rb"\1", value[1:-1], flags=re.DOTALL)
            else:
                yield name, value.rstrip(b" \t")


def _unseparated(part: bytes) -> Iterable[tuple[bytes, bytes | None]]:
    """Yield restrictive directives that are separated by a semicolon or a blank instead of a comma.
    ``part``: text without quoted strings.
    """
    words = _BLANK.split(part.lower())
    if len(words) > 1:
        yield from _restricting(words)


def _restricting(words: Iterable[bytes]) -> Iterable[tuple[bytes, bytes | None]]:
    """Yield the restrictive directives among the words of malformed text."""
    for word in words:
        name = word.partition(b"=")[0]
        if name in _RESTRICTING:
            yield name, None
        elif name in (b"max-age", b"s-maxage"):
            yield b"max-age", None  # it is 0: no heuristic lifetime


def _closed(line: bytes) -> bool:
    """Return whether every quoted string of ``line`` ends.

    It stops at the first unclosed one, so that it takes linear time.
    """
    at = line.find(b'"')
    while at >= 0:
        found = _QUOTED.match(line, at)
        if found is None:
            return False
        at = line.find(b'"', found.end())
    return True


def _add_list(found: dict[str, Any], key: str, value: bytes | None) -> None:
    names = frozenset(
        name.strip(b" \t").lower() for name in (value or b"").split(b",") if name.strip(b" \t")
    )
    if not names:
        found[key] = True
        return
    before = found.get(key + "_fields", frozenset())
    found[key + "_fields"] = before | names


def _add_time(found: dict[str, Any], key: str, value: bytes | None) -> None:
    seconds = delta_seconds(value) if value is not None else None
    if seconds is None:
        seconds = MOST if key == "max_stale" and value is None else 0
    before = found.get(key)
    if before is not None:
        # the safer of two: the longest required freshness, else the shortest time
        seconds = max(before, seconds) if key == "min_fresh" else min(before, seconds)
    found[key] = seconds
