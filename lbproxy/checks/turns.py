"""CONTROL. A limit of concurrent checks."""

from __future__ import annotations

from typing import Protocol

__all__ = ["CheckTurns", "LimitedCheck"]


class LimitedCheck(Protocol):
    """A check that may have to wait for its turn."""

    def go(self) -> None:
        """Start the check."""


class CheckTurns:
    """Runs at most ``limit`` checks at a time. Further checks wait in order of arrival; their
    deadlines have not started.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._at_work: set[LimitedCheck] = set()
        self._waiting: dict[LimitedCheck, None] = {}

    def take(self, check: LimitedCheck) -> bool:
        """Return whether a check may start now. Otherwise its ``go`` is called later."""
        if not self._limit or check in self._at_work:
            return True
        if len(self._at_work) >= self._limit:
            self._waiting[check] = None
            return False
        self._at_work.add(check)
        return True

    def leave(self, check: LimitedCheck) -> None:
        """End or withdraw a check. May be called at any time."""
        self._waiting.pop(check, None)
        if check not in self._at_work:
            return
        self._at_work.remove(check)
        if self._waiting:
            following = next(iter(self._waiting))
            del self._waiting[following]
            self._at_work.add(following)
            following.go()
