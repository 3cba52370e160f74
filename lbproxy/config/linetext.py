"""PURE. The text of one line of a configuration: its comment, its quotes and its variables."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from lbproxy.config.errors import Unfit, shorten
from lbproxy.config.words import quote

__all__ = ["strip_comment", "substitute", "substitute_words"]

_VARIABLE = re.compile(r"\$\$\{|\$\{([^}]*)\}|\$\{")
_VARIABLE_NAME = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)
_BARE = re.compile(r"[A-Za-z0-9_./:~*^+?@%&!<(){}\[\]|\\,;#-]*")


def strip_comment(line: str) -> str:
    """Return ``line`` without surrounding white space and without a comment.

    A comment follows white space outside of quotes.
    """
    i = 0
    while i < len(line):
        c = line[i]
        if c in "\"'":
            i = _closing(line, i)
        elif c == "#" and (i == 0 or line[i - 1].isspace()):
            return line[:i].strip()
        i += 1
    return line.strip()


def _closing(line: str, start: int) -> int:
    """Return the index of the quote that closes the one at ``start``; ``start`` if none does."""
    mark, i = line[start], start + 1
    while i < len(line):
        if line[i] == "\\" and mark == '"':
            i += 1
        elif line[i] == mark:
            return i
        i += 1
    return start


def substitute(text: str, env: Mapping[str, str]) -> str:
    """Replace ``${NAME}`` and ``${NAME:-default}``; the default also replaces an empty variable.

    Raises :class:`Unfit` for a variable that is not set and has no default.
    """
    return "".join(value for value, _ in _pieces(text, env))


def substitute_words(text: str, env: Mapping[str, str]) -> str:
    """Replace variables in a text that is split into words.

    Like :func:`substitute`, but a variable stays one word, or a part of one.
    """
    out, around = "", ""
    for value, variable in _pieces(text, env):
        if variable:
            out += _within(value, around)
        else:
            out += value
            around = _open_quote(value, around)
    return out


def _pieces(text: str, env: Mapping[str, str]) -> Iterator[tuple[str, bool]]:
    """Return the parts of ``text``, and whether each comes from a variable."""
    at = 0
    for match in _VARIABLE.finditer(text):
        yield text[at : match.start()], False
        yield _variable(match, env), match[0] != "$${"
        at = match.end()
    yield text[at:], False


def _within(value: str, around: str) -> str:
    """Return ``value`` as a part of a word, inside the quotes ``around`` or outside of
    quotes ("").
    """
    if around == '"':
        return quote(value, force=True)[1:-1]
    if around:
        return value if around not in value else f"{around}{quote(value, force=True)}{around}"
    return value if _BARE.fullmatch(value) else quote(value, force=True)


def _open_quote(text: str, around: str) -> str:
    """Return the quote that is open after ``text`` if ``around`` was open before it, or ""."""
    i = 0
    while i < len(text):
        c = text[i]
        if around == '"' and c == "\\":
            i += 1
        elif around:
            around = "" if c == around else around
        elif c in "\"'":
            around = c
        i += 1
    return around


def _variable(match: re.Match[str], env: Mapping[str, str]) -> str:
    if match[0] == "$${":
        return "${"
    found = _VARIABLE_NAME.fullmatch(match[1] or "")
    if not found:
        raise Unfit(
            f"{shorten(match[0], 60)!r} is not ${{NAME}} or ${{NAME:-default}}; write $${{ for a "
            f"plain ${{"
        )
    name, default = found[1], found[2]
    if default is not None:
        return env.get(name) or default
    if name not in env:
        raise Unfit(f"environment variable {name} is not set", found=name)
    return env[name]
