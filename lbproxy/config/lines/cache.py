"""PURE. Lines of a ``[cache NAME]``: ``ttl``, ``query``, ``cookies`` and conditions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from lbproxy.cache.policy import TTL, Cookies, Disk, KeyPart, Query
from lbproxy.config import units
from lbproxy.config.conditions import dump_conditions, read_conditions
from lbproxy.config.errors import Unfit
from lbproxy.config.line import Line, Scope
from lbproxy.config.options import Spot
from lbproxy.config.words import Word, comma_items, quote
from lbproxy.http.patternkey import path_patterns
from lbproxy.model import Condition

__all__ = ["CONDITIONS", "COOKIES", "DISK", "KEY", "QUERY", "TTL_LINE"]

LEAST_DISK = 1024 * 1024
"""Minimum size of a folder in bytes."""

_TTL_FORM = (
    "write [STATUS,...] [type PATTERN] [path PATTERN] DURATION [force], or default DURATION [force]"
)
_STATUSES = re.compile(r"[0-9]{3}(?:,[0-9]{3})*")
_TYPE = re.compile(r"\*[^/;]*|[^/;]+/[^/;]+")


def _read_ttl(words: Sequence[Word], spot: Spot, scope: Scope) -> TTL | None:
    texts = [word.text for word in words]
    values: dict[str, Any] = {"line": " ".join(texts)}
    if texts and texts[-1] == "force":
        values["force"] = True
        texts.pop()
    if not texts:
        spot.wrong(_TTL_FORM)
        return None
    try:
        values["seconds"] = units.parse("duration", texts.pop(), {"min": 0})
        if texts == ["default"]:
            values["default"] = True
            texts = []
        if texts and texts[0][:1].isdigit():
            values["statuses"] = _statuses(texts.pop(0))
    except Unfit as error:
        spot.caught(error)
        return None
    while len(texts) > 1 and texts[0] in ("type", "path") and texts[0] not in values:
        values[texts[0]] = texts[1].lower() if texts[0] == "type" else texts[1]
        texts = texts[2:]
    if texts:
        spot.wrong(f"{_TTL_FORM}; found {texts[0][:80]!r}")
    else:
        _check_patterns(values.get("type", ""), values.get("path", ""), spot)
    return None if spot.failed else TTL(**values)


def _check_patterns(media: str, path: str, spot: Spot) -> None:
    """Report a type or a path that no response has."""
    if media and not _TYPE.fullmatch(media):
        spot.wrong(f"type {media[:80]!r} is not a media type such as text/html or image/*")
    try:
        if path:
            path_patterns([path])
    except ValueError as error:
        spot.caught(error)


def _statuses(text: str) -> frozenset[int]:
    if not _STATUSES.fullmatch(text):
        raise Unfit(
            f"{text[:80]!r} is not a list of statuses: write 404, or 404,410 without blanks"
        )
    found = frozenset(map(int, text.split(",")))
    for status in found:
        if not 200 <= status <= 599 or status in (206, 304):
            raise Unfit(
                f"{status} is not a status that can be stored: 200 to 599, except 206 and 304"
            )
    return found


def _dump_ttl(spec: TTL) -> str:
    words = [",".join(map(str, sorted(spec.statuses)))] if spec.statuses else []
    for key, value in (("type", spec.type), ("path", spec.path)):
        if value:
            words += [key, quote(value)]
    words += ["default"] if spec.default else []
    words.append(units.dump("duration", spec.seconds))
    return " ".join([*words, "force"] if spec.force else words)


def _read_query(words: Sequence[Word], spot: Spot, scope: Scope) -> Query | None:
    values: dict[str, Any] = {}
    before = ""
    for word in words:
        name, value = word.option() or ("sort" if word.is_bare and word.text == "sort" else "", "")
        if name in values:
            spot.wrong(f"{name!r} occurs twice")
        elif name == "sort" and not value:
            values["sort"] = True
        elif name in ("ignore", "keep"):
            values[name] = _parameters(name, value, spot)
        elif before.endswith(","):
            spot.wrong(f"{word.text[:80]!r} follows a blank: write the list without blanks")
        else:
            message = f"unknown word {word.text[:80]!r}"
            spot.wrong(message, found=word.text, known=("sort", "ignore=", "keep="))
        before = word.text
    if "ignore" in values and "keep" in values:
        spot.wrong("use either 'ignore=' or 'keep=': everything that is not kept is ignored")
    return None if spot.failed else Query(**values)


def _parameters(name: str, text: str, spot: Spot) -> tuple[str, ...]:
    """Return the patterns of ``ignore=`` or ``keep=``."""
    found = tuple(filter(None, comma_items(text)))
    if not found:
        spot.wrong(f"'{name}=' names no parameter; 'ignore=*' ignores all of them")
    return found


def _dump_query(spec: Query) -> str:
    words = ["sort"] if spec.sort else []
    words += [f"ignore={quote(','.join(spec.ignore))}"] if spec.ignore else []
    words += [f"keep={quote(','.join(spec.keep))}"] if spec.keep else []
    return " ".join(words)


_PLAIN = ("scheme", "host", "hostname", "path", "query", "uri")
_NAMED = ("header", "query", "cookie")
_VARIABLE = re.compile(r"\{([a-z]+)(?::([!#$%&'+.^_`|~0-9A-Za-z-]+))?\}")


def _read_key(words: Sequence[Word], spot: Spot, scope: Scope) -> tuple[KeyPart, ...] | None:
    known = (*(f"{{{name}}}" for name in _PLAIN), *(f"{{{name}:NAME}}" for name in _NAMED))
    parts: list[KeyPart] = []
    for word in words:
        found = _VARIABLE.fullmatch(word.text)
        name, argument = (found[1], found[2] or "") if found is not None else ("", "")
        if name not in (_NAMED if argument else _PLAIN):
            spot.wrong(f"unknown variable {word.text[:80]!r}", found=word.text, known=known)
            continue
        parts.append(KeyPart(name, argument.lower() if name == "header" else argument))
    if not spot.failed and not {"path", "uri"} & {one.name for one in parts}:
        spot.wrong("the key needs {path} or {uri}: otherwise all pages are one")
    if not spot.failed and len(set(parts)) < len(parts):
        spot.wrong("a variable occurs twice in the key")
    return None if spot.failed else tuple(parts)


def _dump_key(spec: tuple[KeyPart, ...]) -> str:
    return " ".join(one.text for one in spec)


_GROUPS = ("ignore", "key", "bypass")


def _read_cookies(words: Sequence[Word], spot: Spot, scope: Scope) -> Cookies | None:
    found: dict[str, list[str]] = {name: [] for name in _GROUPS}
    group = ""
    for word in words:
        for text in comma_groups(word.text):
            if text == ",":
                group = ""
            elif not group and text in found:
                group = text
            elif not group:
                message = f"a group begins with ignore, key or bypass, found {text[:80]!r}"
                spot.wrong(message, found=text, known=_GROUPS)
            elif text in found and word.is_bare:
                spot.wrong(f"write a comma before {text!r}, or quotes if it is a cookie's name")
            elif any(text in names for names in found.values()):
                spot.wrong(f"cookie {text[:80]!r} occurs twice")
            else:
                found[group].append(text)
            if spot.failed:
                return None
    if not any(found.values()):
        spot.wrong("names no cookie: write 'ignore NAME...', 'key NAME...' or 'bypass NAME...'")
    return None if spot.failed else Cookies(**{key: tuple(names) for key, names in found.items()})


def comma_groups(text: str) -> list[str]:
    """Return the parts of a word between commas, and the commas."""
    out: list[str] = []
    for number, piece in enumerate(text.split(",")):
        out += [","] if number else []
        out += [piece] if piece else []
    return out


def _dump_cookies(spec: Cookies) -> str:
    groups = (("ignore", spec.ignore), ("key", spec.key), ("bypass", spec.bypass))
    return ", ".join(
        " ".join([name, *(quote(text, force=text in _GROUPS) for text in texts)])
        for name, texts in groups
        if texts
    )


def _read_disk(words: Sequence[Word], spot: Spot, scope: Scope) -> Disk | None:
    if len(words) != 2:
        spot.wrong("write FOLDER SIZE, such as cache/ 10g")
        return None
    try:
        folder = units.parse("path", words[0].text, {}, spot.base_dir)
        size = units.parse("size", words[1].text, {"min": LEAST_DISK})
    except Unfit as error:
        spot.caught(error)
        return None
    if not folder or folder in ("/", spot.base_dir.rstrip("/")):
        spot.wrong("the cache needs a folder of its own, such as cache/")
        return None
    return Disk(folder, size)


def _dump_disk(spec: Disk) -> str:
    return f"{quote(spec.folder)} {units.dump('size', spec.size)}"


def _read_conditions(
    words: Sequence[Word], spot: Spot, scope: Scope
) -> tuple[Condition, ...] | None:
    if words and words[0].is_bare and words[0].text == "if":
        spot.wrong("write the conditions without 'if', such as 'path /admin/*'")
        return None
    found = read_conditions(words, spot, scope)
    return None if spot.failed else found


TTL_LINE = Line(
    "ttl",
    _read_ttl,
    _dump_ttl,
    words="one line each: " + _TTL_FORM.removeprefix("write "),
)
QUERY = Line("query", _read_query, _dump_query, words="``sort``, ``ignore=...`` or ``keep=...``")
KEY = Line(
    "key",
    _read_key,
    _dump_key,
    words="variables, such as ``{host} {path} {query}``",
    default=lambda value: "``{scheme} {host} {path} {query}``",
)
COOKIES = Line(
    "cookies",
    _read_cookies,
    _dump_cookies,
    words="``ignore``, ``key`` and ``bypass``, each with patterns; a comma between them",
)
DISK = Line("disk", _read_disk, _dump_disk, words="``FOLDER SIZE``, such as ``cache/ 10g``")
CONDITIONS = Line(
    "conditions",
    _read_conditions,
    lambda spec: " ".join(dump_conditions(spec)),
    words="conditions as in a `route line`, one set per line",
)
