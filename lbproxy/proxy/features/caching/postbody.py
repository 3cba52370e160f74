"""DATA. The body of a POST, held until it is complete, because it is part of the key.

According to the head it is at most ``post`` bytes long. The timeout of the client's body limits how
long it is held.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lbproxy.http.message import End, RequestHead, ResponseHead
from lbproxy.proxy.http.deferredstream import DeferredStream
from lbproxy.proxy.http.sink import Asking, ForwardingSink
from lbproxy.proxy.http.streams import SourceStream

__all__ = ["PostSink", "begin_held", "body_of"]


class PostSink(ForwardingSink):
    """The sink of an exchange whose request has a ``body``. ``continued``: the cache has sent a 100
    to the client, so the server's 100 is dropped.
    """

    def __init__(self, sink: Asking, body: bytes, continued: bool) -> None:
        super().__init__(sink)
        self.body = body
        self._continued = continued

    def server_events(self, events: list[Any]) -> None:
        """See :class:`~lbproxy.proxy.http.sink.ResponseSink`."""
        first = events[0]
        if self._continued and isinstance(first, ResponseHead) and first.status == 100:
            events = events[1:]
        if events:
            self.sink.server_events(events)


def body_of(sink: Asking) -> bytes:
    """Return the request body held for the exchange of ``sink``."""
    return sink.body if isinstance(sink, PostSink) else b""


def begin_held(
    data: bytes, end: End | None, sink: Asking, then: Callable[[Asking], SourceStream]
) -> SourceStream:
    """Answer a POST by ``then(sink)`` once the body is complete; the sink has the body."""
    if end is not None:
        return then(PostSink(sink, data, False))
    head: RequestHead = sink.traffic.request
    expects = head.expect_continue and not data and head.version >= 11
    if expects:
        sink.server_events([ResponseHead(100, [], b"Continue")])
    return PostBody(data, sink, then, expects)


class PostBody(DeferredStream):
    """The stream of an exchange whose body is being received."""

    def __init__(
        self,
        data: bytes,
        sink: Asking,
        then: Callable[[Asking], SourceStream],
        continued: bool,
    ) -> None:
        super().__init__(sink)
        self._parts = [data] if data else []
        self._then = then
        self._continued = continued

    def _take_body(self, data: bytes, end: End | None) -> None:
        if data:
            self._parts.append(data)
        if end is not None:
            held = PostSink(self._sink, b"".join(self._parts), self._continued)
            self._hand_over(self, lambda: self._then(held))

    def _end(self) -> None:
        super()._end()
        self._parts.clear()
