"""CONTROL. The common part of checks of SQL databases: options, and the result of ``query=``."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from lbproxy.config.model import option
from lbproxy.health.state import Result
from lbproxy.interfaces import Env
from lbproxy.probes.base import Probe, ProbeTarget, Unhealthy
from lbproxy.probes.credentials import verify_password
from lbproxy.probes.notes import shorten
from lbproxy.probes.primaries import Primaries

__all__ = [
    "Expectation",
    "SQLProbe",
    "exclusive_option",
    "expect_option",
    "judge_answer",
    "query_option",
    "verify_options",
]

Expectation = Callable[[str], bool]


def exclusive_option() -> Any:
    """Return the field that decides how :class:`lbproxy.probes.primaries.Primaries` treats several
    primaries.
    """
    return option(
        "flag", False, doc="while several servers claim to be the primary, take all of them down"
    )


def query_option() -> Any:
    """Return the field for a statement of the operator."""
    return option("string", "", doc="SQL that must succeed and return a row", example="SELECT 1")


def expect_option() -> Any:
    """Return the field for the expected result of that statement."""
    return option(
        "string",
        "",
        doc=(
            "required value of the first column of the query's first row; or ``~`` and a regular "
            "expression"
        ),
    )


class SQLProbe(Probe):
    """A probe that knows the primaries of its backend."""

    def __init__(self, options: Any, env: Env) -> None:
        super().__init__(options, env)
        self._primaries = Primaries(exclusive=options.exclusive)

    async def check(self, target: ProbeTarget) -> Result:
        """See :class:`lbproxy.probes.base.Probe`."""
        with self._primaries.asking(target.server):
            return await super().check(target)


def verify_options(options: Any, **needs_user: Any) -> Expectation | None:
    """Parse ``expect``. Raises ValueError for options that contradict each other.

    ``needs_user``: further options that need a user.
    """
    verify_password(options.password, options.password_file)
    for name in ("user", "database", "query"):
        if "\0" in getattr(options, name):
            raise ValueError(f"{name}: holds a NUL character")
    needs_user |= {
        "password": options.password or options.password_file,
        "database": options.database,
        "role": options.role != "any",
        "query": options.query,
        "max_lag": options.about_lag,
    }
    for name, given in needs_user.items():
        if given and not options.user:
            raise ValueError(f"{name}: needs a user to log in as")
    if options.about_lag and options.role == "primary":
        raise ValueError("max_lag and replicating are about replicas, and role is primary")
    if options.exclusive and options.role != "primary":
        raise ValueError("exclusive: needs role=primary")
    if options.expect and not options.query:
        raise ValueError("expect: needs a query")
    return _expectation(options.expect) if options.expect else None


def _expectation(text: str) -> Expectation:
    """Parse ``~PATTERN`` (search for a regular expression) or a text that must be equal.

    Raises ValueError.
    """
    if not text.startswith("~"):
        return lambda value: value == text
    try:
        search = re.compile(text[1:]).search
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"expect: {text[1:81]!r} is not a regular expression: {error}") from None
    return lambda value: search(value) is not None


def judge_answer(row: list[str | None] | None, test: Expectation | None, wanted: str) -> str:
    """Return the first column of the first row, for the note.

    Raises :class:`Unhealthy` if it is not the expected value.
    """
    if row is None:
        raise Unhealthy("the query gave no row")
    value = row[0] if row else None
    found = "NULL" if value is None else value
    if test is not None and (value is None or not test(value)):
        raise Unhealthy(f"the query gave {shorten(found, 60)!r}, wanted {wanted!r}")
    return f"the query gave {shorten(found, 60)!r}"
