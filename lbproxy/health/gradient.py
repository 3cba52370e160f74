"""PURE. A limit of concurrency that follows the response time.

The method is the gradient of Netflix's concurrency-limits (``Gradient2Limit``): with every step the
limit is multiplied by ``tolerance * base / recent``, at most by 1 and at least by a half, and grows
by a small number of places that let it find more room.  ``recent`` is the mean response time of the
last step, ``base`` the one without a queue.

Netflix's ``base`` is a long average, which creeps up while an overload lasts and lets the limit
grow with it.  Here ``base`` follows a shorter time quickly, and a longer one slowly and only while
less than half of the limit is used.  If requests were refused, ``base`` is measured again every
:data:`PROBE_S`, as Envoy's adaptive concurrency does: for a step only ``least`` requests run at
once, so that servers that have become slow by themselves are not taken for overloaded ones.

Laws: the limit stays between its bounds; it does not grow while less than half of it is used; a
better priority is never refused when a worse one would be admitted; with more traffic than the
servers can serve, the limit settles where a response takes about ``tolerance`` times ``base``.
"""

from __future__ import annotations

from math import sqrt
from typing import Final

__all__ = ["PROBE_S", "SAMPLES", "STEP_S", "Gradient"]

STEP_S: Final = 0.5
"""Seconds of a step, at least."""

SAMPLES: Final = 10
"""Response times in a step, at least."""

PROBE_S: Final = 30.0
"""Seconds from a measurement of the base to the next, while requests are refused."""

_FIRST: Final = 20.0
_FALL: Final = 0.5  # weight of a shorter response time in the base
_RISE: Final = 0.02  # weight of a longer one
_SMOOTH: Final = 0.2  # weight of a new limit
_SHARES: Final = 18  # a priority of 9 has half of the limit, one of -9 one and a half


class Gradient:
    """``limit``: requests at once.  ``active``: those that run.

    ``least``, ``most``: bounds of the limit.  ``tolerance``: the response time that is accepted, as
    a multiple of ``base``.  Times are seconds; ``base`` is 0 until it is known.
    """

    def __init__(self, least: int, most: int, tolerance: float) -> None:
        self.least, self.most, self.tolerance = least, most, tolerance
        self.limit = min(float(most), max(float(least), _FIRST))
        self.active = 0
        self.base = 0.0
        self.recent = 0.0
        self._since = -1.0
        self._sum = 0.0
        self._count = 0
        self._peak = 0
        self._refused = False
        self._probe = -1.0  # the begin of the measurement that runs
        self._probed = 0.0  # the end of the last one

    def fits(self, priority: int) -> bool:
        """Return whether a request may begin.

        Worse priorities (above 0) have less of the limit, better ones more: one of 9 may begin
        while less than half of it is used.
        """
        share = 1 - max(-9, min(9, priority)) / _SHARES
        limit = self.limit if self._probe < 0 else self.least
        fits = self.active < max(1.0, limit * share)
        self._refused |= not fits
        return fits

    def begin(self) -> None:
        """Count a request that begins."""
        self.active += 1
        self._peak = max(self._peak, self.active)

    def end(self) -> None:
        """Count a request that has ended."""
        self.active -= 1

    def sample(self, seconds: float, now: float) -> None:
        """Take in a response time; ``now``: seconds, monotonic."""
        if self._since < 0:
            self._since = self._probed = now
        if now - seconds < self._probe:
            return  # it began before the measurement
        self._sum += max(0.0, seconds)
        self._count += 1
        if self._count >= SAMPLES and now - self._since >= STEP_S:
            self._step(max(self._sum / self._count, 1e-6), self._peak, now)
            self._since, self._sum, self._count, self._peak = now, 0.0, 0, self.active

    def _step(self, recent: float, peak: int, now: float) -> None:
        if self._probe >= 0:
            self.base = recent
            self._probe, self._probed, self._refused = -1.0, now, False
            return
        self.recent = recent
        spare = peak < self.limit / 2
        if not self.base:
            self.base = recent
        elif recent < self.base:
            self.base += _FALL * (recent - self.base)
        elif spare:
            self.base += _RISE * (recent - self.base)
        if self._refused and now - self._probed >= PROBE_S:
            self._probe = now
        gradient = max(0.5, min(1.0, self.tolerance * self.base / recent))
        if spare and gradient == 1.0:
            return
        wanted = self.limit * gradient + sqrt(self.limit)
        if spare:
            wanted = min(wanted, self.limit)
        limit = (1 - _SMOOTH) * self.limit + _SMOOTH * wanted
        self.limit = min(float(self.most), max(float(self.least), limit))
