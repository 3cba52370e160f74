"""CONTROL. Periodic work with the shared store, one turn at a time."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from lbproxy.net.redis import RedisDown, RedisRefused
from lbproxy.proxy.ratelog import Quiet

__all__ = ["StoreTurns"]

_quiet = Quiet(Logger())

Turn = Callable[[], Coroutine[Any, Any, None] | None]


class StoreTurns:
    """Runs ``turn()`` every ``every`` seconds after the end of the previous turn.

    ``turn`` returns None if it has nothing to do. A turn that fails is logged as an exchange of
    ``what``, unless the store is down; ``failed(failure)`` is called first.
    """

    def __init__(
        self,
        reactor: Any,
        every: float,
        what: str,
        turn: Turn,
        failed: Callable[[Failure], None],
        pressing: Callable[[], bool] = lambda: False,
    ) -> None:
        self._reactor = reactor
        self._every = every
        self._what = what
        self._turn = turn
        self._failed = failed
        self._pressing = pressing
        self._call: Any = None
        self._running: Deferred[Any] | None = None
        self._stopped = False

    def start(self) -> None:
        """Start. The first turn begins after ``every`` seconds."""
        self._stopped = False
        self._again()

    def stop(self) -> None:
        """Cancel the running turn, and start no other one."""
        self._stopped = True
        if self._call is not None:
            self._call.cancel()
            self._call = None
        if self._running is not None:
            self._running.cancel()

    def soon(self) -> None:
        """Start the next turn at once. While a turn runs this has no effect; ``pressing()`` decides
        then.
        """
        if self._call is not None and self._call.getTime() > self._reactor.seconds():
            self._call.reset(0)

    def _again(self) -> None:
        self._call = self._reactor.callLater(0 if self._pressing() else self._every, self._begin)

    def _begin(self) -> None:
        self._call = None
        work = self._turn()
        if work is None:
            self._again()
            return
        self._running = ensureDeferred(work)
        self._running.addErrback(self._broken)
        self._running.addCallback(self._ended)

    def _ended(self, _: Any) -> None:
        self._running = None
        if not self._stopped:
            self._again()

    def _broken(self, failure: Failure) -> None:
        if failure.check(CancelledError):
            return  # stopped
        self._failed(failure)
        if failure.check(RedisRefused):
            _quiet.warn(
                f"shared {self._what}",
                "shared store: {what} cannot be exchanged: {error}",
                what=self._what,
                error=failure.getErrorMessage(),
            )
        elif not failure.check(RedisDown):
            text = "shared store: {what} were not exchanged"
            _quiet.failure(f"shared {self._what}", text, failure, what=self._what)
