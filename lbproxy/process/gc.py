"""CONTROL. The garbage collector is told what stays.

Now and then Python looks for cycles among all objects there are. With some hundred thousand that
live as long as the process (modules, the configuration) that takes 50 ms, in which nothing else
happens. So what is there when all is up is set aside (``gc.freeze``), and only what traffic has
made is looked at again.

For the program whose process it is: another that embeds lbproxy may do the same
(``docs/embedding.rst``).
"""

from __future__ import annotations

import gc
from typing import Any

__all__ = ["SETTLE_AFTER", "Heap"]

SETTLE_AFTER = 1.0
"""Seconds without another change after which objects are set aside."""


class Heap:
    """``reactor``: IReactorTime."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._call: Any = None

    def changed(self) -> None:
        """A configuration was loaded: what the last one has left goes, and this one stays."""
        if self._call is not None and self._call.active():
            self._call.reset(SETTLE_AFTER)
        else:
            self._call = self._reactor.callLater(SETTLE_AFTER, self._settle)

    def stop(self) -> None:
        """Do nothing more."""
        if self._call is not None and self._call.active():
            self._call.cancel()

    @staticmethod
    def _settle() -> None:
        gc.unfreeze()
        gc.collect()
        gc.freeze()
