"""PURE. Patterns of routes and rewrites: exact text, globs with ``*`` and ``?``, and ``~regular
expressions``.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from functools import cache
from typing import Any

__all__ = ["MAX_REGEX", "Matcher", "compile_regex", "text_matcher"]

Matcher = Callable[[bytes], bool]

MAX_REGEX = 1024
"""Maximum length of a regular expression in bytes; the standard library's engine has no other
bound.
"""


@cache
def _re2() -> Any:
    """Return google-re2, imported when the first pattern needs it, or None if not installed."""
    try:
        return importlib.import_module("re2")
    except ImportError:
        return None


def compile_regex(pattern: str) -> Any:
    """Return a compiled regular expression over bytes, by google-re2 if it is installed, else by
    :mod:`re`.

    re2 takes time linear in the text, so that no request can make a pattern slow. It supports
    neither look-around nor back references. Raises ValueError with the error in ``pattern``.
    """
    raw = pattern.encode("utf-8")
    if len(raw) > MAX_REGEX:
        raise ValueError(f"regular expression of {len(raw)} bytes; at most {MAX_REGEX} are allowed")
    re2 = _re2()
    try:
        if re2 is None:
            return re.compile(raw)
        options = re2.Options()
        options.log_errors = False
        return re2.compile(raw, options)
    except (re.error, getattr(re2, "error", re.error), OverflowError, RecursionError) as error:
        reason = error.args[0] if error.args else error
        if isinstance(reason, bytes):
            reason = reason.decode("utf-8", "replace")
        raise ValueError(f"invalid regular expression {pattern!r}: {reason}") from None


def text_matcher(pattern: str, raw: bytes | None = None) -> Matcher:
    """Return a test whether some bytes match ``pattern``. Raises ValueError for an invalid regular
    expression.

    ``~x`` searches anywhere in the text; any other pattern must match all of it. ``raw`` replaces
    the encoded pattern (UTF-8) if its spelling is normalised first.
    """
    if pattern.startswith("~"):
        search = compile_regex(pattern[1:]).search
        return lambda text: search(text) is not None
    wanted = pattern.encode("utf-8") if raw is None else raw
    if b"?" not in wanted:
        if b"*" not in wanted:
            return lambda text: text == wanted
        if wanted.index(b"*") == len(wanted) - 1:
            start = wanted[:-1]
            return lambda text: text.startswith(start)
    match = _glob(wanted).match
    return lambda text: match(text) is not None


def _glob(pattern: bytes) -> re.Pattern[bytes]:
    """Return ``pattern`` as a regular expression that never backtracks over a ``*`` once the text
    after it was found.
    """
    parts = pattern.split(b"*")
    regex = rb"\A" + _literal(parts[0])
    if len(parts) > 1:
        regex += b"".join(b"(?>.*?" + _literal(part) + b")" for part in parts[1:-1] if part)
        regex += b".*" + _literal(parts[-1])
    return re.compile(regex + rb"\Z", re.DOTALL)


def _literal(text: bytes) -> bytes:
    return b".".join(re.escape(part) for part in text.split(b"?"))
