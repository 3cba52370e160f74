"""DATA. The calls from each layer of an exchange to the layer above, as native base classes.

A response passes from a server connection to an :class:`~lbproxy.proxy.http.attempt.Attempt`, and
through its owner to the :class:`~lbproxy.proxy.http.exchange.Exchange`.
:mod:`lbproxy.proxy.http.streams` has the interfaces that these layers implement downwards.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from lbproxy.compiled import native
from lbproxy.errors import ProxyError
from lbproxy.http.message import Reply

__all__ = ["Asking", "ResponseSink"]


@native(allow_interpreted_subclasses=True)
class ResponseSink:
    """Receives the response of one :class:`~lbproxy.proxy.http.streams.ServerStream`."""

    __slots__ = ()

    def server_events(self, events: list[Any]) -> None:
        """Receive the response events of one read in order: ResponseHead (including interim ones),
        bytes, End.
        """
        raise NotImplementedError

    def server_failed(self, error: ProxyError) -> None:
        """The stream ended without an End. No further calls follow."""
        raise NotImplementedError

    def server_paused(self) -> None:
        """The server does not accept request bytes fast enough: stop sending."""
        raise NotImplementedError

    def server_resumed(self) -> None:
        """The server accepts request bytes again."""
        raise NotImplementedError


@native(allow_interpreted_subclasses=True)
class Asking(ResponseSink):
    """An exchange as its source sees it: the sink of the response, and the runner of filters.

    ``over``: it has ended.  ``waiting``: the result of the asynchronous filter that it waits for.
    """

    __slots__ = ("over", "waiting")

    def __init__(self) -> None:
        self.over = False
        self.waiting: Deferred[Any] | None = None

    def hook_replied(self, reply: Reply) -> None:
        """A filter answers in place of a server."""
        raise NotImplementedError

    def fail(self, error: ProxyError) -> None:
        """End without a response of a server."""
        raise NotImplementedError

    def part(self, to_client: bytes, to_server: bytes) -> None:
        """End a tunnel after last words for each side."""
        raise NotImplementedError
