"""PURE. ``exclude`` lines: rules that do not apply to some parts of some requests."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any, Protocol

from attrs import frozen

from lbproxy.waf.engine import Excluded

__all__ = ["PARTS", "Exclusion", "excluder"]

PARTS = (
    *("ARGS", "ARGS_NAMES", "BODY", "COOKIES", "COOKIES_NAMES", "FILES", "FILES_NAMES"),
    *("HEADERS", "METHOD", "PATH", "TARGET"),
)
"""Kinds of parts, before the colon and the name."""


@frozen
class Exclusion:
    """An exclusion. ``first`` to ``last``: ids of rules. ``part``: a pattern such as ``ARGS:q``, ""
    for all.

    ``conditions``: as those of a route; () for all requests.
    """

    first: int
    last: int
    part: str = ""
    conditions: tuple[Any, ...] = ()

    def covers(self, rule: int, part: str) -> bool:
        """Return whether it covers this rule and part."""
        if not self.first <= rule <= self.last:
            return False
        wanted = self.part
        if not wanted or part == wanted or fnmatchcase(part, wanted):
            return True
        return ":" not in wanted and part.partition(":")[0] == wanted


class Holding(Protocol):
    """Conditions, such as :class:`lbproxy.http.conditional.Conditions`."""

    def hold(self, context: Any) -> bool:
        """Return whether all of them hold."""


def excluder(pairs: Sequence[tuple[Exclusion, Holding]], traffic: Any) -> Excluded | None:
    """Return a function that tests whether an exclusion applies to a rule and a part of a
    request.
    """
    if not pairs:
        return None

    def excluded(rule: int, part: str) -> bool:
        return any(one.covers(rule, part) and conditions.hold(traffic) for one, conditions in pairs)

    return excluded
