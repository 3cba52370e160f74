"""PURE. Limits for the retries of a backend: concurrent ones, and as a share of its requests.

:mod:`lbproxy.proxy.tries` asks for permission before each further attempt. A backend with
``max_retries`` or ``retry_budget`` has one object. Without a limit, a failing backend receives
several times its traffic when it is overloaded.
"""

from __future__ import annotations

__all__ = ["WINDOW_S", "RetryBudget", "RetryLimit"]

WINDOW_S = 10
"""Period in seconds over which requests and retries are compared (as in Finagle and Linkerd)."""


class RetryBudget:
    """Allow retries of ``share`` of the recent requests, and ``floor`` per second in any case."""

    __slots__ = ("_requests", "_retries", "_second", "floor", "requests", "retries", "share")

    def __init__(self, share: float, floor: float) -> None:
        self.share = share
        self.floor = floor
        self.requests = 0  # counts of the window
        self.retries = 0
        self._requests = [0] * WINDOW_S
        self._retries = [0] * WINDOW_S
        self._second = 0

    def _move(self, now: float) -> int:
        """Drop the counts that have left the window. Return the slot of the current second."""
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
        """Count the first attempt of a request."""
        self._requests[self._move(now)] += 1
        self.requests += 1

    def take(self, now: float) -> bool:
        """Use one retry. Return False if none is left."""
        place = self._move(now)
        if self.retries + 1 > self.floor * WINDOW_S + self.share * self.requests:
            return False
        self._retries[place] += 1
        self.retries += 1
        return True


class RetryLimit:
    """Limit the retries of a backend.

    ``most``: maximum number of requests in a further attempt at once, 0 for no limit. ``budget``:
    None for no budget. ``running``: current number of these requests. ``refused`` counts refused
    attempts.
    """

    __slots__ = ("budget", "most", "refused", "running")

    def __init__(self, most: int, budget: RetryBudget | None) -> None:
        self.most = most
        self.budget = budget
        self.running = 0
        self.refused = 0

    def request(self, now: float) -> None:
        """Count a new request."""
        if self.budget is not None:
            self.budget.request(now)

    def take(self, now: float, again: bool) -> bool:
        """Return whether one more attempt is allowed.

        ``again``: the request is in a further attempt already. After the first True for a request,
        call :meth:`end` when the request is over.
        """
        full = not again and 0 < self.most <= self.running
        if full or (self.budget is not None and not self.budget.take(now)):
            self.refused += 1
            return False
        self.running += not again
        return True

    def end(self) -> None:
        """Count the end of a request that had further attempts."""
        self.running -= 1
