"""DATA. The interface of an exchange or a TCP session to :func:`lbproxy.proxy.hooks.run_hooks`."""

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
        """Handle a reply by a hook instead of a server."""

    def fail(self, error: ProxyError) -> None:
        """Handle a refusal or a failure of a hook."""


def deferred_of(result: Any) -> Deferred[Any] | None:
    """Return the Deferred for the result of a hook; None if it is not awaitable."""
    if isinstance(result, Deferred):
        return result
    if not isawaitable(result):
        return None
    return Deferred.fromCoroutine(result if iscoroutine(result) else _awaited(result))


async def _awaited(result: Awaitable[Any]) -> Any:
    return await result
