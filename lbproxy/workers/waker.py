"""CONTROL. Wake-up by other workers through an eventfd."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

__all__ = ["Waker"]


@implementer(IReadDescriptor)
class Waker:
    """Calls ``woken()`` after another process has written to ``fd``, once for several writes.

    The descriptor belongs to its creator.
    """

    def __init__(self, reactor: Any, fd: int, woken: Callable[[], None]) -> None:
        self._reactor = reactor
        self._fd = fd
        self._woken = woken
        reactor.addReader(self)

    def fileno(self) -> int:
        """See IFileDescriptor."""
        return self._fd

    def logPrefix(self) -> str:
        """See ILoggingContext."""
        return "waker"

    def doRead(self) -> None:
        """Call ``woken``."""
        with suppress(BlockingIOError):  # another reader of the same event was faster
            os.eventfd_read(self._fd)
            self._woken()

    def connectionLost(self, reason: Failure) -> None:
        """Ignore the loss of the descriptor: the periodic work finds waiters soon."""
        self.stop()

    def stop(self) -> None:
        """Stop reading."""
        self._reactor.removeReader(self)
