"""DATA. Runs blocking work of a cache, such as disk reads, in threads of the reactor's pool."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

__all__ = ["AT_ONCE", "Jobs"]

AT_ONCE: Final = 4
"""Maximum number of concurrent jobs, so that a hanging disk leaves threads to the resolver."""

_log = Logger()

T = TypeVar("T")


class Jobs:
    """Runs jobs in the given order, at most :data:`AT_ONCE` at a time.

    ``reactor``: for callers that wait for results.
    """

    def __init__(self, reactor: Any) -> None:
        self.reactor = reactor
        self._waiting: deque[tuple[Callable[[], Any], Callable[[Any], None]]] = deque()
        self._running = 0

    def __len__(self) -> int:
        return self._running + len(self._waiting)

    def run(self, work: Callable[[], T], done: Callable[[T | Exception], None]) -> None:
        """Call ``work()`` in a thread, then ``done(result or exception)`` in the reactor."""
        self._waiting.append((work, done))
        self._next()

    def _next(self) -> None:
        while self._waiting and self._running < AT_ONCE:
            work, done = self._waiting.popleft()
            self._running += 1
            pool = self.reactor.getThreadPool()
            found: Deferred[Any] = deferToThreadPool(self.reactor, pool, work)
            found.addErrback(_exception)
            found.addCallback(self._over, done)
            found.addErrback(lambda failure: _log.failure("after a job of the cache", failure))

    def _over(self, result: Any, done: Callable[[Any], None]) -> None:
        self._running -= 1
        try:
            done(result)
        finally:
            self._next()


def _exception(failure: Failure) -> BaseException:
    assert failure.value is not None
    return failure.value
