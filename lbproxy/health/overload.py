"""PURE. The share of traffic that an overloaded process refuses, and its choice by priority.

A step takes :data:`STEP_S`. While the load is above its limit, the share grows in each step in
proportion to the excess. Below :data:`CALM` of the limit, the share shrinks slowly. The load
therefore settles at the limit instead of oscillating.

The share is applied to the traffic of the last steps by priority, the highest number first. A
better priority loses traffic only when all traffic of the worse ones is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

__all__ = ["CALM", "MOST", "STEP_S", "Overload", "fits_queue"]

STEP_S: Final = 0.25
"""Seconds between two calls of :meth:`Overload.step`."""

MOST: Final = 0.95
"""Maximum share. The remaining traffic shows whether the load has fallen."""

CALM: Final = 0.8

_GROW: Final = 0.05
_SHRINK: Final = 0.02
_WORST: Final = 9
_BEST: Final = -9
_FADE: Final = 0.75  # weight of the counts of previous steps


class Overload:
    """The load shedding of one process.

    ``random``: returns numbers from 0 to below 1. ``share``: current share of refused traffic.
    ``pressure``: load of the last step, as a multiple of its limit.
    """

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self.share = 0.0
        self.pressure = 0.0
        self._counts = dict.fromkeys(range(_BEST, _WORST + 1), 0.0)
        self._chances: dict[int, float] = {}

    def step(self, pressure: float) -> None:
        """Process a measurement of the load, as a multiple of its limit."""
        self.pressure = pressure
        if pressure > 1:
            self.share = min(MOST, self.share + _GROW * min(pressure, 4.0))
        elif pressure < CALM:
            self.share = max(0.0, self.share - _SHRINK)
        self._chances = self._divided() if self.share else {}
        for priority in self._counts:
            self._counts[priority] *= _FADE

    def refuses(self, priority: int) -> bool:
        """Count a request. Return whether it must be refused."""
        priority = min(_WORST, max(_BEST, priority))  # filters may set any priority
        self._counts[priority] += 1
        if not self._chances:
            return False
        chance = self._chances[priority]
        return chance >= 1 or (chance > 0 and self._random() < chance)

    def _divided(self) -> dict[int, float]:
        """Return the probability of refusal for each priority."""
        total = sum(self._counts.values())
        if not total:
            return dict.fromkeys(self._counts, self.share)
        left = self.share * total
        found: dict[int, float] = {}
        for priority in range(_WORST, _BEST - 1, -1):
            count = self._counts[priority]
            found[priority] = min(1.0, left / count) if count else float(left > 0)
            left = max(0.0, left - count)
        return found


def fits_queue(taken: float, limit: float, priority: int) -> bool:
    """Return whether a request may join a queue when the share ``taken`` of it is in use.

    Priority 9 may use ``limit`` of the queue, priority -9 all of it, and the others a share in
    between.
    """
    return taken < limit + (1 - limit) * (_WORST - priority) / (_WORST - _BEST)
