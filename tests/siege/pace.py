"""How fast an attacker works: a fixed rate, and at most half a core."""

from __future__ import annotations

import time

__all__ = ["Pace"]

SHARE = 0.5
"""Part of a core that an attacking process may use."""


class Pace:
    """``while pace.go(): attack()``: ``rate`` steps a second for ``seconds``.

    A process that has used more than its share of the core skips steps.
    """

    def __init__(self, rate: float, seconds: float) -> None:
        self.rate = rate
        self.end = time.monotonic() + seconds
        self.steps = 0
        self._begin = time.monotonic()
        self._cpu = time.process_time()

    def go(self) -> bool:
        """Wait until the next step is due; False at the end."""
        due = self._begin + self.steps / self.rate
        while True:
            now = time.monotonic()
            if now >= self.end:
                return False
            spare = SHARE * (now - self._begin) - (time.process_time() - self._cpu)
            wait = max(due - now, -spare)
            if wait <= 0:
                self.steps += 1
                return True
            time.sleep(min(wait, 0.05, self.end - now))

    def hold(self) -> None:
        """Do nothing until the end."""
        time.sleep(max(0.0, self.end - time.monotonic()))
