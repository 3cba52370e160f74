"""PURE. ``exclude`` lines: rules that do not hold for some parts of some requests."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

from attrs import frozen

__all__ = ["Exclusion"]


@frozen
class Exclusion:
    """``first`` to ``last``: ids of rules.  ``part``: a pattern such as ``ARGS:q``, "" for all.

    ``conditions``: those of a route; () for all requests."""

    first: int
    last: int
    part: str = ""
    conditions: tuple[Any, ...] = ()

    def covers(self, rule: int, part: str) -> bool:
        """Whether it is about this rule and part."""
        if not self.first <= rule <= self.last:
            return False
        return not self.part or part == self.part or fnmatchcase(part, self.part)
