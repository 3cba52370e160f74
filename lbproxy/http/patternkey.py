"""PURE. Patterns of hosts, server names and paths in conditions.

Routes use the keys as an index: see :mod:`lbproxy.http.route`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from lbproxy.http.asciihost import ascii_host
from lbproxy.http.checks import (
    Patterns,
)
from lbproxy.http.paths import normal_pattern
from lbproxy.http.pattern import Matcher, text_matcher

__all__ = ["name_key", "name_matcher", "path_key", "path_patterns"]

_NAME = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_-]+(\.[a-z0-9_-]+)*)\Z")


def name_key(pattern: str) -> tuple[str, bytes]:
    """Return a pattern of a host or server name as (kind, name).

    The kinds are ``exact``, ``suffix`` (with its leading dot), ``any`` and ``regex``.

    Raises ValueError with the error in the pattern.
    """
    if pattern == "*":
        return "any", b""
    if pattern.startswith("~"):
        return "regex", pattern.encode("utf-8")
    name = pattern.lower().rstrip(".")
    wildcard = name.startswith("*.")
    if wildcard:
        name = name[2:]
    try:
        name = ascii_host(name)
    except ValueError as error:
        raise ValueError(f"host {pattern!r} is not a valid name: {error}") from None
    if "*" in name or "?" in name:
        raise ValueError(f"host {pattern!r}: a wildcard is '*' or '*.' at the beginning; or ~regex")
    if not _NAME.match(name):
        port = " (ports are not compared)" if re.search(r":\d+\Z", name) else ""
        raise ValueError(f"host {pattern!r} is not a valid name{port}")
    raw = name.encode("ascii")
    return ("suffix", b"." + raw) if wildcard else ("exact", raw)


def name_matcher(pattern: str) -> Matcher:
    """Return the test of a host or server name for a pattern."""
    kind, raw = name_key(pattern)
    if kind == "any":
        return lambda name: True
    if kind == "regex":
        return text_matcher(pattern)
    if kind == "exact":
        return lambda name: name == raw
    return lambda name: name.endswith(raw) and len(name) > len(raw)


def path_key(pattern: str) -> tuple[str, bytes]:
    """Return a path pattern as (kind, path).

    The kinds are ``exact``, ``prefix`` (the text before the only ``*``), ``glob`` and ``regex``.

    Raises ValueError with the error in the pattern.
    """
    if pattern.startswith("~"):
        return "regex", pattern.encode("utf-8")
    if not pattern.startswith(("/", "*")):
        raise ValueError(f"path {pattern!r} must begin with '/', '*' or '~' (regular expression)")
    raw = normal_pattern(pattern)
    if b"?" in raw:
        return "glob", raw
    star = raw.find(b"*")
    if star < 0:
        return "exact", raw
    return ("prefix", raw[:-1]) if star == len(raw) - 1 else ("glob", raw)


def path_patterns(patterns: Sequence[str]) -> Patterns:
    """Return the tests of a path for several patterns, by their kind."""
    keys = [(pattern, *path_key(pattern)) for pattern in patterns]
    return Patterns(
        [raw for _, kind, raw in keys if kind == "exact"],
        [raw for _, kind, raw in keys if kind == "prefix"],
        [text_matcher(pattern, raw) for pattern, kind, raw in keys if kind in ("glob", "regex")],
    )
