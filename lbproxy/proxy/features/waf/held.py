"""DATA. The source of routes with a firewall: it holds the request body until that is judged.

Rules:

1. A request whose head declares no body goes to the next source at once.
2. At most ``body_limit`` bytes, plus the rest of the same read, are held. A longer body is judged
   by its beginning, or refused.
3. This source sends ``100 Continue`` to a client that waits for it, because no server has the
   request yet. The server's own 100 is then dropped.
4. The timeout of the client's body limits how long a request is held.
"""

from __future__ import annotations

from typing import Any, Protocol

from lbproxy.errors import ProxyError
from lbproxy.http.message import End, RequestHead, ResponseHead
from lbproxy.proxy.http.deferredstream import DeferredStream
from lbproxy.proxy.http.sink import Asking, ForwardingSink
from lbproxy.proxy.http.source import STARTING, Source
from lbproxy.proxy.http.streams import SourceStream

__all__ = ["BodyJudge", "HeldSource", "HoldingBody", "HoldingSource", "without_continue"]


class BodyJudge(Protocol):
    """The methods of a firewall that the source uses. They raise ProxyError for a refusal."""

    @property
    def body_limit(self) -> int:
        """Number of bytes of a body that are judged."""

    def over_limit(self) -> None:
        """Note that a body is longer."""

    def judge_body(self, traffic: Any, data: bytes, whole: bool) -> None:
        """Judge ``data``, the beginning of a body or the ``whole``."""


class HeldSource(Source):
    """See the module. ``inner``: the next source."""

    def __init__(self, waf: BodyJudge, inner: Source) -> None:
        self.waf = waf
        self.inner = inner

    @property
    def body_limit(self) -> int:
        """See :class:`HoldingSource`."""
        return self.waf.body_limit

    def begin(self, head: RequestHead, data: bytes, end: End | None, sink: Asking) -> SourceStream:
        """See :class:`Source`."""
        if head.length == 0:
            return self.inner.begin(head, data, end, sink)
        try:
            limit = self.body_limit
            if head.length is not None and head.length > limit:
                self.waf.over_limit()
            if end is not None or len(data) >= limit:
                self.waf.judge_body(sink.traffic, data, end is not None)
                return self.inner.begin(head, data, end, sink)
        except ProxyError as error:
            sink.fail(error)
            return STARTING
        return HeldBody(self, head, data, without_continue(head, data, sink))


class HoldingSource(Protocol):
    """A source whose streams hold the request. ``inner``: the next source."""

    inner: Source

    @property
    def body_limit(self) -> int:
        """Number of bytes of a body that are judged."""


class HoldingBody(DeferredStream):
    """The stream of an exchange whose body is held.

    Subclasses judge in :meth:`complete`, and call ``_begin`` to pass the request on."""

    def __init__(self, source: HoldingSource, head: RequestHead, data: bytes, sink: Asking) -> None:
        super().__init__(sink)
        self._source = source
        self._head = head
        self._parts = [data] if data else []
        self._size = len(data)

    def _take_body(self, data: bytes, end: End | None) -> None:
        if data:
            self._parts.append(data)
            self._size += len(data)
        if end is None and self._size < self._source.body_limit:
            return
        body = b"".join(self._parts)
        self._parts = []
        self.complete(body, end, whole=end is not None)

    def complete(self, body: bytes, end: End | None, *, whole: bool) -> None:
        """Judge the body, or its beginning, and pass the request on."""
        raise NotImplementedError

    def _begin(self, body: bytes, end: End | None) -> None:
        inner = self._source.inner
        self._hand_over(inner, lambda: inner.begin(self._head, body, end, self._sink))

    def _end(self) -> None:
        super()._end()
        self._parts = []


class HeldBody(HoldingBody):
    """A body that is judged at once."""

    def __init__(self, source: HeldSource, head: RequestHead, data: bytes, sink: Asking) -> None:
        super().__init__(source, head, data, sink)
        self._waf = source.waf

    def complete(self, body: bytes, end: End | None, *, whole: bool) -> None:
        """See :class:`HoldingBody`."""
        try:
            self._waf.judge_body(self._sink.traffic, body, whole)
        except ProxyError as error:
            self._end()
            self._sink.fail(error)
            return
        self._begin(body, end)


def without_continue(head: RequestHead, data: bytes, sink: Asking) -> Asking:
    """Send ``100 Continue`` to a client that waits for it; return the sink for the response."""
    if not head.expect_continue or data or sink.traffic.request.version < 11:
        return sink
    sink.server_events([ResponseHead(100, [], b"Continue")])
    return _WithoutContinue(sink)


class _WithoutContinue(ForwardingSink):
    """Drops the server's 100, because the client already has one."""

    def server_events(self, events: list[Any]) -> None:
        """See :class:`~lbproxy.proxy.http.sink.ResponseSink`."""
        first = events[0]
        if isinstance(first, ResponseHead) and first.status == 100:
            events = events[1:]
        if events:
            self.sink.server_events(events)
