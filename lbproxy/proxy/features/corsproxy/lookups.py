"""DATA. Looks up names that callers choose, a few at a time."""

# mypy: disable-error-code=no-untyped-call

from __future__ import annotations

from typing import Any, Final

from twisted.internet.defer import Deferred, DeferredSemaphore

from lbproxy.net.lookup import look_up

__all__ = ["LOOKUPS_MAX", "NameLookups"]

LOOKUPS_MAX: Final = 6
"""Maximum number of concurrent look-ups of one CORS proxy. Each occupies one of the ten threads of
the reactor until the system gives up, and a caller can choose a name whose servers answer slowly.
"""


class NameLookups:
    """Queries the resolver of ``reactor``. Further look-ups wait for their turn."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._turns = DeferredSemaphore(LOOKUPS_MAX)

    def ask(self, host: str) -> Deferred[list[str]]:
        """See :func:`lbproxy.net.lookup.look_up`.

        Cancelling removes a waiting look-up. A running one occupies its turn until it ends.
        """
        turn: Deferred[Any] = self._turns.acquire()
        done: Deferred[list[str]] = Deferred(lambda _: turn.cancel())

        def begin(_: Any) -> None:
            if done.called:
                self._turns.release()
            else:
                look_up(self._reactor, host).addBoth(end)

        def end(result: Any) -> None:
            self._turns.release()
            if not done.called:
                done.callback(result)  # a Failure is an errback

        turn.addCallbacks(begin, lambda failure: None)
        return done
