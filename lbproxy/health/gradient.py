"""PURE. An adaptive concurrency limit, which follows the response time.

The method is the gradient of Netflix's concurrency-limits (``Gradient2Limit``). In each step the
limit is multiplied by ``tolerance * base / recent``, a factor between a half and 1. It then grows
by a small number of requests, so that it can find unused capacity. ``recent`` is the mean response
time of the last step; ``base`` is the response time without a queue.

Netflix's ``base`` is a long average, which rises during an overload and raises the limit with it.
Here ``base`` follows a shorter time quickly. It follows a longer time slowly, and only while less
than half of the limit is in use. If requests were refused, ``base`` is measured again every
:data:`PROBE_S`, as in Envoy's adaptive concurrency. For one step only ``least`` requests run at
once, so that servers that have become slow by themselves are not treated as overloaded.

Invariants: the limit stays between its bounds. It does not grow while less than half of it is in
use. A better priority is never refused when a worse one would be admitted. With more traffic than
the servers can serve, the limit settles where a response takes about ``tolerance`` times ``base``.
"""

from __future__ import annotations

from math import sqrt
from typing import Final

__all__ = ["PROBE_S", "SAMPLES", "STEP_S", "Gradient"]

STEP_S: Final = 0.5
"""Minimum length of a step in seconds."""

SAMPLES: Final = 10
"""Minimum number of response times in a step."""

PROBE_S: Final = 30.0
"""Seconds between two measurements of the base while requests are refused."""

_FIRST: Final = 20.0
_FALL: Final = 0.5  # weight of a shorter response time in the base
_RISE: Final = 0.02  # weight of a longer one
_SMOOTH: Final = 0.2  # weight of a new limit
_SHARES: Final = 18  # priority 9 gets half of the limit, priority -9 one and a half times the limit


class Gradient:
    """An adaptive limit of concurrent requests.

    ``limit``: the current limit. ``active``: running requests. ``least``, ``most``: bounds of the
    limit. ``tolerance``: acceptable response time, as a multiple of ``base``. Times are in seconds;
    ``base`` is 0 until it is known.
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
        self._probe = -1.0  # start of the current measurement
        self._probed = 0.0  # end of the last measurement

    def fits(self, priority: int) -> bool:
        """Return whether a request may start.

        Worse priorities (above 0) get a smaller part of the limit, better ones a larger part.
        Priority 9 may start while less than half of the limit is in use.
        """
        share = 1 - max(-9, min(9, priority)) / _SHARES
        limit = self.limit if self._probe < 0 else self.least
        fits = self.active < max(1.0, limit * share)
        self._refused |= not fits
        return fits

    def begin(self) -> None:
        """Count the start of a request."""
        self.active += 1
        self._peak = max(self._peak, self.active)

    def end(self) -> None:
        """Count the end of a request."""
        self.active -= 1

    def sample(self, seconds: float, now: float) -> None:
        """Record a response time. ``now``: monotonic time in seconds."""
        if self._since < 0:
            self._since = self._probed = now
        if now - seconds < self._probe:
            return  # the request started before the measurement
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
