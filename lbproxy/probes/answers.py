"""CONTROL. What a database must answer to a ``query=``, for the SQL probes."""

from __future__ import annotations

import re
from collections.abc import Callable

from lbproxy.probes.base import Unhealthy

__all__ = ["Expectation", "expectation", "judge_answer", "shorten"]

Expectation = Callable[[str], bool]


def expectation(text: str) -> Expectation:
    """``~PATTERN``: a regular expression to be found; anything else: equal.  Raises ValueError."""
    if not text.startswith("~"):
        return lambda value: value == text
    try:
        search = re.compile(text[1:]).search
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"expect: {text[1:81]!r} is not a regular expression: {error}") from None
    return lambda value: search(value) is not None


def judge_answer(row: list[str | None] | None, test: Expectation | None, wanted: str) -> str:
    """The first column of the first row, for the note.  Raises :class:`Unhealthy` if it is not as wanted."""
    if row is None:
        raise Unhealthy("the query gave no row")
    value = row[0] if row else None
    found = "NULL" if value is None else value
    if test is not None and (value is None or not test(value)):
        raise Unhealthy(f"the query gave {shorten(found, 60)!r}, wanted {wanted!r}")
    return f"the query gave {shorten(found, 60)!r}"


def shorten(text: str, limit: int = 160) -> str:
    """One line of printable text, for a note."""
    line = "".join(char if char.isprintable() else " " for char in text[: limit + 1])
    return line if len(line) <= limit else f"{line[:limit]}..."
