"""DATA. The source of routes with a firewall: it holds the request body until that is judged.

Rules:

1. A request without a body goes to the source behind at once.
2. At most ``body_limit`` bytes, and what comes in the same read, are held. A longer body is
   judged by its beginning, or refused.
3. A client that waits for ``100 Continue`` gets it from here, as no server has the request yet; the
   one of the server is then dropped.
4. The timeout of the client's body limits how long a request is held.
"""

from __future__ import annotations

from typing import Any, Protocol

from twisted.logger import Logger
from twisted.python.failure import Failure

from lbproxy.errors import Kind, ProxyError
from lbproxy.http.message import End, RequestHead, ResponseHead
from lbproxy.proxy.http.sink import Asking, ForwardingSink
from lbproxy.proxy.http.source import STARTING, Source
from lbproxy.proxy.http.streams import SourceStream
from lbproxy.proxy.ratelog import Quiet

__all__ = ["BodyJudge", "HeldSource", "HoldingBody", "HoldingSource", "without_continue"]

_quiet = Quiet(Logger(__name__))


class BodyJudge(Protocol):
    """A firewall as the source uses it.  The methods raise ProxyError for a refusal."""

    @property
    def body_limit(self) -> int:
        """Bytes of a body that are judged."""

    def over_limit(self) -> None:
        """Note a body that is longer."""

    def judge_body(self, traffic: Any, data: bytes, whole: bool) -> None:
        """Judge ``data``, the beginning of a body or the ``whole``."""


class HeldSource(Source):
    """See the module.  ``inner``: the source behind."""

    def __init__(self, waf: BodyJudge, inner: Source) -> None:
        self.waf = waf
        self.inner = inner

    @property
    def body_limit(self) -> int:
        """See :class:`HoldingSource`."""
        return self.waf.body_limit

    def begin(self, head: RequestHead, data: bytes, end: End | None, sink: Asking) -> SourceStream:
        """See :class:`Source`."""
        if head.length == 0 or (end is not None and not data):
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
    """A source whose streams hold the request.  ``inner``: the source behind."""

    inner: Source

    @property
    def body_limit(self) -> int:
        """Bytes of a body that are judged."""


class HoldingBody:
    """The stream of an exchange whose body is held.

    Extensions judge in :meth:`complete`, and call ``_begin`` to pass the request on."""

    def __init__(self, source: HoldingSource, head: RequestHead, data: bytes, sink: Asking) -> None:
        self._source = source
        self._head = head
        self._sink = sink
        self._parts = [data] if data else []
        self._size = len(data)
        self._inner: SourceStream | None = None
        self._paused = False
        self._over = False

    @property
    def queued(self) -> bool:
        """See :class:`SourceStream`."""
        return self._inner is None or self._inner.queued

    def send_body(self, data: bytes, end: End | None) -> None:
        """See :class:`SourceStream`."""
        if self._inner is not None:
            self._inner.send_body(data, end)
            return
        if self._over:
            return
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
        self._inner = STARTING
        inner = self._source.inner
        try:
            stream = inner.begin(self._head, body, end, self._sink)
        except BaseException as error:
            name = type(inner).__name__
            _quiet.failure(name, "{name} failed", Failure(), name=name)
            self._over = True
            self._sink.fail(ProxyError(Kind.FILTER_FAILED, f"{name}: {error}"))
            return
        if self._over:
            stream.close(reuse=False)
            return
        self._inner = stream
        if self._paused:
            stream.pause_response()

    def pause_response(self) -> None:
        """See :class:`SourceStream`."""
        self._paused = True
        if self._inner is not None:
            self._inner.pause_response()

    def resume_response(self) -> None:
        """See :class:`SourceStream`."""
        self._paused = False
        if self._inner is not None:
            self._inner.resume_response()

    def start_tunnel(self) -> bytes:
        """See :class:`SourceStream`."""
        if self._inner is None:
            raise RuntimeError("no tunnel before the request is judged")
        return self._inner.start_tunnel()

    def close(self, *, reuse: bool) -> None:
        """See :class:`SourceStream`."""
        self._over = True
        self._parts = []
        if self._inner is not None:
            self._inner.close(reuse=reuse)


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
            self._over = True
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
    """Drops the 100 of the server: the client has one."""

    def server_events(self, events: list[Any]) -> None:
        """See :class:`~lbproxy.proxy.http.sink.ResponseSink`."""
        first = events[0]
        if isinstance(first, ResponseHead) and first.status == 100:
            events = events[1:]
        if events:
            self.sink.server_events(events)
