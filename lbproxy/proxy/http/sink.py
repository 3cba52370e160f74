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

__all__ = ["Asking", "ForwardingSink", "ResponseSink"]


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
    """An exchange from the view of its :class:`~lbproxy.proxy.http.source.Source`.

    - ``traffic``: the :class:`~lbproxy.proxy.http.traffic.HTTPTraffic` of the exchange.
    - ``over``: whether the exchange has ended.
    - ``waiting``: the result of the asynchronous filter that the exchange waits for.
    """

    __slots__ = ("over", "traffic", "waiting")

    def __init__(self, traffic: Any) -> None:
        self.traffic = traffic
        self.over = False
        self.waiting: Deferred[Any] | None = None

    def hook_replied(self, reply: Reply) -> None:
        """Send this reply of lbproxy. The stream of the source is over."""
        raise NotImplementedError

    def fail(self, error: ProxyError) -> None:
        """End without a response of the source, whose stream is over."""
        raise NotImplementedError

    def part(self, to_client: bytes, to_server: bytes) -> None:
        """End a tunnel after a closing message for each side."""
        raise NotImplementedError


@native(allow_interpreted_subclasses=True)
class ForwardingSink(Asking):
    """Passes every call to ``sink``, for a source that sees the response of another one.

    Extend it and override the calls to observe or change.
    """

    __slots__ = ("sink",)

    def __init__(self, sink: Asking) -> None:
        super().__init__(sink.traffic)
        self.sink = sink

    def server_events(self, events: list[Any]) -> None:
        """See :class:`ResponseSink`."""
        self.sink.server_events(events)

    def server_failed(self, error: ProxyError) -> None:
        """See :class:`ResponseSink`."""
        self.sink.server_failed(error)

    def server_paused(self) -> None:
        """See :class:`ResponseSink`."""
        self.sink.server_paused()

    def server_resumed(self) -> None:
        """See :class:`ResponseSink`."""
        self.sink.server_resumed()

    def hook_replied(self, reply: Reply) -> None:
        """See :class:`Asking`."""
        self.sink.hook_replied(reply)

    def fail(self, error: ProxyError) -> None:
        """See :class:`Asking`."""
        self.sink.fail(error)

    def part(self, to_client: bytes, to_server: bytes) -> None:
        """See :class:`Asking`."""
        self.sink.part(to_client, to_server)
