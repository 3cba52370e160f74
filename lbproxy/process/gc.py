"""CONTROL. Exclusion of long-lived objects from garbage collection.

Python's collector periodically searches all objects for cycles. With some hundred thousand objects
that live as long as the process (modules, the configuration) this takes 50 ms, during which traffic
waits. The objects that exist after the start are therefore frozen (``gc.freeze``), and the
collector examines only those that traffic creates.

Only the program that owns the process uses it. A program that embeds lbproxy may do the same
(``docs/embedding.rst``).
"""

from __future__ import annotations

import gc
from typing import Any

__all__ = ["SETTLE_AFTER", "Freezer"]

SETTLE_AFTER = 1.0
"""Seconds without another change before objects are frozen."""


class Freezer:
    """Freezes objects after each change of the configuration. ``reactor``: IReactorTime."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._call: Any = None

    def changed(self) -> None:
        """Handle a new configuration: collect the remains of the last one, then freeze this one."""
        if self._call is not None and self._call.active():
            self._call.reset(SETTLE_AFTER)
        else:
            self._call = self._reactor.callLater(SETTLE_AFTER, self._settle)

    def stop(self) -> None:
        """Cancel a pending freeze."""
        if self._call is not None and self._call.active():
            self._call.cancel()

    @staticmethod
    def _settle() -> None:
        gc.unfreeze()
        gc.collect()
        gc.freeze()
