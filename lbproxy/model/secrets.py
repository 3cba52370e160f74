"""PURE. Masking of the secrets in a configuration, found by name and by shape.

Used wherever a configuration is shown: the admin API, ``lbproxy check`` and ``explain``, errors,
and logs.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["MASK", "mask_condition", "mask_text", "mask_words", "secret_header", "secret_name"]

MASK = "***"
"""Replacement for a secret."""

_WORDS = r"pass(?:word|wd|phrase)?|pwd|secret|token|credentials?|api[_-]?key|auth|signature"
_OPTION = re.compile(r"(?:^|_)(?:password|passphrase|secret|token|credentials?)$")
_HEADER = re.compile(
    r"authorization|cookie|token|secret|password"
    r"|(?:api|access|account|auth|client|functions|shared|subscription)-?key",
    re.IGNORECASE,
)
_PARAMETER = re.compile(rf"(?:^|[_.-])(?:{_WORDS}|sig|key|session|sid)(?:$|[_.-])", re.IGNORECASE)
_FLAG = re.compile(rf"--?(?:[\w.-]*[_.-])?(?:{_WORDS})", re.IGNORECASE)

_TEMPLATE = r"(?!\{[^{}]*\}(?:[&\s]|\Z))"  # a variable such as {cookie:token} reveals nothing
# no pattern begins with a repetition, which would be tried at every letter of a long word
_SHAPES = (
    # the user part of a URL
    (re.compile(r"(?<=[A-Za-z0-9+.-]://)[^/\s@?#]+@"), f"{MASK}@"),
    # NAME=value: a query parameter, an argument or a variable
    (
        re.compile(
            rf"((?:{_WORDS}|sig)\b[\w.-]*=){_TEMPLATE}"
            r"(?:\"[^\"]*\"?|'[^']*'?|[^&\s#\"']+)",
            re.IGNORECASE,
        ),
        rf"\1{MASK}",
    ),
    # query parameters whose names are secret only in a URL
    (re.compile(rf"([?&](?:key|session|sid)=){_TEMPLATE}[^&\s#\"']+", re.IGNORECASE), rf"\1{MASK}"),
    # "name": "value", in JSON
    (
        re.compile(
            rf"([\"'](?:[\w.-]*[_.-])?(?:{_WORDS})[\w.-]*\\?[\"']\s*:\s*\\?)"
            r"(?:\"[^\"]*\"?|'[^']*'?)",
            re.IGNORECASE,
        ),
        rf"\1{MASK}",
    ),
    # the login of a command
    (re.compile(r"((?:^|\s)(?:-u|--user)[ =]+[\"']?[^\s:\"']+:)[^\s\"']+"), rf"\1{MASK}"),
    # Name: value, a header line
    (
        re.compile(
            r"((?:authorization|cookie|token|secret|password|api-?key)[\w-]*:[ \t]+)[^\r\n]+",
            re.IGNORECASE,
        ),
        rf"\1{MASK}",
    ),
    # credentials as in a header
    (
        re.compile(r"\b(bearer|basic|digest|negotiate)([ ]+)[A-Za-z0-9._~+/=-]{6,}", re.IGNORECASE),
        rf"\1\2{MASK}",
    ),
)


def secret_name(name: str) -> bool:
    """Return whether the value of an option called ``name`` is secret."""
    return _OPTION.search(name) is not None


def secret_header(name: str) -> bool:
    """Return whether the value of a header called ``name`` is secret."""
    return _HEADER.search(name) is not None


def mask_text(text: str) -> str:
    """Return ``text`` without passwords in URLs, secret parameters, header values and
    credentials.
    """
    for pattern, instead in _SHAPES:
        text = pattern.sub(instead, text)
    return text


def mask_words(words: Sequence[str]) -> tuple[str, ...]:
    """Return the words of a command line without secrets.

    These are ``--password X``, ``-u NAME:X`` and what :func:`mask_text` finds.
    """
    shown: list[str] = []
    before = ""
    for word in words:
        if _FLAG.fullmatch(before):
            shown.append(MASK)
        elif before in ("-u", "--user") and ":" in word:
            shown.append(f"{word.partition(':')[0]}:{MASK}")
        else:
            shown.append(mask_text(word))
        before = word
    return tuple(shown)


def mask_condition(verb: str, args: Sequence[str]) -> tuple[str, ...]:
    """Return the arguments of a route's condition, without the value of a secret header, cookie or
    parameter.
    """
    named = verb in ("header", "cookie", "query") and len(args) > 1
    if named and (_HEADER if verb == "header" else _PARAMETER).search(args[0]):
        return (args[0], *(MASK for _ in args[1:]))
    return tuple(mask_text(arg) for arg in args)
