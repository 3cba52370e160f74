"""DATA. Running purges: a :class:`~lbproxy.cache.sweep.Sweep` over turns of the reactor."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from lbproxy.cache.sweep import Sweep
from lbproxy.proxy.slices import in_slices

__all__ = ["Sweeping", "free_slowly", "sum_of"]

_log = Logger()


class Sweeping:
    """Runs ``sweep``. The first slice runs at once, and completes a small sweep.

    ``over()`` is called at the end.
    """

    def __init__(
        self, clock: Any, sweep: Sweep[Any, Any], over: Callable[[], None] | None = None
    ) -> None:
        self._sweep = sweep
        self._over = over
        self._complete = False
        self._waiting: list[Deferred[int]] = []
        in_slices(clock, sweep.steps()).addBoth(self._ended)

    def counted(self) -> Deferred[int]:
        """Return a Deferred with the count of ``sweep``, which fires when all entries are purged.

        Cancelling it does not end the purge.
        """
        found: Deferred[int] = Deferred()
        self._waiting.append(found)
        if self._complete:
            self._answer()
        return found

    def _ended(self, result: Failure | None) -> None:
        if isinstance(result, Failure):
            _log.failure("a purge of the cache", result)  # look-ups continue to apply it
        self._complete = True
        if self._over is not None:
            self._over()
        self._answer()

    def _answer(self) -> None:
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.callback(self._sweep.count)


def free_slowly(clock: Any, steps: Iterator[None]) -> None:
    """Run the steps that free the cleared contents of a store, in slices."""
    in_slices(clock, steps).addErrback(lambda failure: _log.failure("a cleared cache", failure))


def sum_of(counts: Sequence[Deferred[int]]) -> Deferred[int]:
    """Return a Deferred with the sum of several counts; it fails if one of them fails."""

    async def add() -> int:
        return sum([await one for one in counts])

    return ensureDeferred(add())
