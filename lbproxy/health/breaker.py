"""PURE. How many retries a backend may have: at once, and as a share of its requests.

Asked by :mod:`lbproxy.proxy.tries` before each further attempt; one per backend
with ``max_retries`` or ``retry_budget``, none otherwise.  Without it a backend that fails gets its traffic several
times over, just when it can bear it least.
"""

from __future__ import annotations

__all__ = ["WINDOW_S", "RetryBudget", "RetryLimit"]

WINDOW_S = 10
"""Requests and retries of so many seconds are compared (as in Finagle and Linkerd)."""


class RetryBudget:
    """``share`` of the requests of the last seconds may be retried, and ``floor`` a second whatever they are."""

    __slots__ = ("_requests", "_retries", "_second", "floor", "requests", "retries", "share")

    def __init__(self, share: float, floor: float) -> None:
        self.share = share
        self.floor = floor
        self.requests = 0  # in the window
        self.retries = 0
        self._requests = [0] * WINDOW_S
        self._retries = [0] * WINDOW_S
        self._second = 0

    def _move(self, now: float) -> int:
        """Forget what has left the window; the place of this second."""
        second = int(now)
        passed = second - self._second
        if passed > 0:
            for step in range(1, min(passed, WINDOW_S) + 1):
                place = (self._second + step) % WINDOW_S
                self.requests -= self._requests[place]
                self.retries -= self._retries[place]
                self._requests[place] = self._retries[place] = 0
            self._second = second
        return self._second % WINDOW_S

    def request(self, now: float) -> None:
        """One request more: its first attempt, not a further one."""
        self._requests[self._move(now)] += 1
        self.requests += 1

    def take(self, now: float) -> bool:
        """One retry more, if there is one left."""
        place = self._move(now)
        if self.retries + 1 > self.floor * WINDOW_S + self.share * self.requests:
            return False
        self._retries[place] += 1
        self.retries += 1
        return True


class RetryLimit:
    """``most``: requests that may be in a further attempt at once, 0 for any number.  ``budget``: None for none.

    ``running``: how many are.  ``refused`` counts.
    """

    __slots__ = ("budget", "most", "refused", "running")

    def __init__(self, most: int, budget: RetryBudget | None) -> None:
        self.most = most
        self.budget = budget
        self.running = 0
        self.refused = 0

    def request(self, now: float) -> None:
        """A request begins."""
        if self.budget is not None:
            self.budget.request(now)

    def take(self, now: float, again: bool) -> bool:
        """One more attempt may be made; ``again``: the request is in a further attempt already.

        After the first True for a request, :meth:`end` is due when it is over.
        """
        full = not again and 0 < self.most <= self.running
        if full or (self.budget is not None and not self.budget.take(now)):
            self.refused += 1
            return False
        self.running += not again
        return True

    def end(self) -> None:
        """A request that had further attempts is over."""
        self.running -= 1
