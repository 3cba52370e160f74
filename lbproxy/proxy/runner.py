"""DATA. The part of an exchange or a TCP session that
:func:`lbproxy.proxy.hooks.run_hooks` uses.
"""

from __future__ import annotations

from collections.abc import Awaitable
from inspect import isawaitable, iscoroutine
from typing import Any, Protocol

from twisted.internet.defer import Deferred

from lbproxy.errors import ProxyError
from lbproxy.http.message import Reply

__all__ = ["Runner", "deferred_of"]


class Runner(Protocol):
    """The object that runs a phase: an exchange or a TCP session."""

    waiting: Deferred[Any] | None

    @property
    def over(self) -> bool:
        """The traffic has ended."""

    def hook_replied(self, reply: Reply) -> None:
        """A hook answered in place of a server."""

    def fail(self, error: ProxyError) -> None:
        """A hook refused the traffic, or failed."""


def deferred_of(result: Any) -> Deferred[Any] | None:
    """Return the Deferred of what a hook has returned; None if it is not awaitable."""
    if isinstance(result, Deferred):
        return result
    if not isawaitable(result):
        return None
    return Deferred.fromCoroutine(result if iscoroutine(result) else _awaited(result))


async def _awaited(result: Awaitable[Any]) -> Any:
    return await result
