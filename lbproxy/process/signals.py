"""CONTROL. Ctrl-C and SIGTERM: the first signal lets sessions finish, the second aborts them."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

from twisted.logger import Logger

__all__ = ["StopSignals"]

_log = Logger()

Handler = Callable[[int, Any], Any]


class StopSignals:
    """Handles signals to stop. ``limit()``: seconds that sessions may take. ``hurry()`` aborts
    them.
    """

    def __init__(self, reactor: Any, limit: Callable[[], float], hurry: Callable[[], None]) -> None:
        self._reactor = reactor
        self._limit = limit
        self._hurry = hurry
        self._stopping = False

    def install(self) -> None:
        """Replace the reactor's handlers, once it runs.

        The reactor's own handler is called only for the first signal. It would fail at the second
        one, because the reactor has stopped.
        """
        for number in (signal.SIGINT, signal.SIGTERM):
            stop = signal.getsignal(number)
            if callable(stop):
                signal.signal(number, self._handler(stop))

    def _handler(self, stop: Handler) -> Handler:
        def handle(number: int, frame: Any) -> None:
            if self._stopping:
                self._reactor.callFromThread(self._again)
                return
            self._stopping = True
            stop(number, frame)
            self._reactor.callFromThread(self._first)

        return handle

    def _first(self) -> None:
        _log.info(
            "stopping: sessions may finish for up to {limit:g} s; a second signal aborts them",
            limit=self._limit(),
        )

    def _again(self) -> None:
        _log.warn("aborting the remaining sessions")
        self._hurry()
