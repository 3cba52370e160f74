"""DATA. The retries of one request or session: number, pauses, deadline and servers.

HTTP exchanges and TCP sessions create a :class:`Tries` when their first attempt fails. It stores
the servers that were tried, and checks the limits of the backend: ``retries``, ``timeout_retries``,
``max_retries`` and ``retry_budget``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lbproxy.balance.server import ServerState
from lbproxy.health.breaker import RetryLimit

if TYPE_CHECKING:
    from lbproxy.proxy.backend import Backend

__all__ = ["NONE_TRIED", "Tries"]

NONE_TRIED: Final[tuple[ServerState, ...]] = ()
"""The servers tried before the first failure: none."""

_SAME_SERVER_PAUSE: Final = 0.25  # seconds before the only server is tried again


class Tries:
    """The attempts of one request or session that ``started`` at this time, in seconds.

    ``retries``: those of its route, -1 for those of the backend.  ``servers``: those that failed,
    without repetition.
    """

    __slots__ = ("_limit", "_retries", "servers", "started")

    def __init__(self, started: float, retries: int = -1) -> None:
        self.started = started
        self._retries = retries
        self.servers: list[ServerState] = []
        self._limit: RetryLimit | None = None  # the limit that counts the retry

    def failed(self, server: ServerState) -> None:
        """Record a server whose attempt failed, so that the next pick avoids it."""
        if server not in self.servers:
            self.servers.append(server)

    def allow(self, backend: Backend, attempts: int) -> bool:
        """Return whether a further attempt is within the limits of ``backend``, and count it as
        started.

        ``attempts``: number of attempts so far.
        """
        retries = self._retries
        if attempts > (backend.spec.retries if retries < 0 else retries):
            return False
        longest = backend.spec.timeout_retries
        if longest and backend.wheel.now() - self.started >= longest:
            return False
        limit = backend.retry_limit
        if limit is None:
            return True
        if not limit.take(backend.wheel.now(), self._limit is limit):
            return False
        self._count_under(limit)
        return True

    def again(self, backend: Backend, server: ServerState, attempts: int) -> float:
        """Count a retry after a failure of ``server``; return the pause before it in seconds."""
        backend.counters.retries += 1
        server.counters.retried += 1
        self.failed(server)
        if not backend.has_other(self.servers):
            return _SAME_SERVER_PAUSE
        backend.counters.redispatches += 1
        return backend.retry.pause(attempts, backend.random)

    def end(self) -> None:
        """End the request or session, which no longer counts as retried."""
        self._count_under(None)

    def _count_under(self, limit: RetryLimit | None) -> None:
        old, self._limit = self._limit, limit
        if old is not None and old is not limit:
            old.end()
