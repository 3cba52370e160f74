"""CONTROL. The contract of destinations of notices: attempts with a deadline, and retries.

Each kind has a module: :mod:`lbproxy.alerts.webhook`, :mod:`lbproxy.alerts.mail` and
:mod:`lbproxy.alerts.command`.
"""

from __future__ import annotations

import socket
import time
from abc import ABC, abstractmethod
from typing import Any

from twisted.internet.task import deferLater

from lbproxy.observe.notices import Notice

__all__ = ["Destination", "NotifyError", "document", "one_line", "words_of"]

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0  # seconds before the first retry


class NotifyError(Exception):
    """A notice could not be delivered; the message says why."""


class Destination(ABC):
    """A destination of notices. ``name``: for people, without secrets."""

    name = ""
    retries = 0

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    @abstractmethod
    async def send(self, notice: Notice) -> None:
        """Make one attempt. Raises :class:`NotifyError` within the destination's ``timeout``."""

    async def deliver(self, notice: Notice) -> None:
        """Try until the notice is delivered or ``retries`` are used up. Raises the exception of the
        last attempt.
        """
        pause = _FIRST_PAUSE
        for left in range(self.retries, -1, -1):
            try:
                await self.send(notice)
                return
            except NotifyError:
                if not left:
                    raise
            await deferLater(self._reactor, pause, lambda: None)
            pause = min(2 * pause, _LONGEST_PAUSE)


def document(notice: Notice) -> dict[str, Any]:
    """Return the JSON object that webhooks and programs receive."""
    return {"host": socket.gethostname(), "at": time.time(), **notice.as_dict()}


def one_line(text: str) -> str:
    """Return ``text`` with spaces in place of line breaks and control characters."""
    return "".join(c if c.isprintable() else " " for c in text).strip()


def words_of(error: BaseException) -> str:
    """Return the message of a library's error in one line."""
    reasons = getattr(error, "reasons", None)
    if reasons:  # twisted.web wraps failures
        error = reasons[0].value
    return one_line(str(error)) or type(error).__name__
