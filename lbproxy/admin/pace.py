"""CONTROL. How much of the process's time the admin side may use, so that it cannot stop the
traffic.

Each role has a share of its own: callers without a role cannot delay readers, and readers cannot
delay operators.
"""

from __future__ import annotations

from collections.abc import Callable

from lbproxy.admin.auth import Role

__all__ = ["LONGEST", "Pace", "paces"]

LONGEST = 5.0
"""Seconds that a request waits at most; one that would wait longer is refused (429)."""

_SMOOTH = 0.2  # weight of the last request in the expected cost


class Pace:
    """``share``: of the time, on average; ``burst``: seconds that may be used at once.

    A request calls :meth:`reserve` before its work and :meth:`spent` after it.
    """

    def __init__(self, now: Callable[[], float], share: float, burst: float) -> None:
        self._now = now
        self._share = share
        self._burst = burst
        self._debt = 0.0  # seconds used and not paid back yet
        self._paid = now()
        self._expected = 0.0  # seconds of one request

    def reserve(self) -> float:
        """Return the seconds to wait before the work may begin; more than :data:`LONGEST` reserves
        nothing.
        """
        now = self._now()
        self._debt = max(0.0, self._debt - (now - self._paid) * self._share)
        self._paid = now
        wait = max(0.0, self._debt - self._burst) / self._share
        if wait <= LONGEST:
            self._debt += self._expected
        return wait

    def spent(self, seconds: float) -> None:
        """The work took so long."""
        self._debt += seconds - self._expected
        self._expected += _SMOOTH * (seconds - self._expected)


def paces(now: Callable[[], float]) -> dict[Role, Pace]:
    """Return the pace of each role."""
    return {
        Role.NONE: Pace(now, 0.05, 0.05),
        Role.READ: Pace(now, 0.15, 0.2),
        Role.WRITE: Pace(now, 0.3, 0.5),
    }
