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

__all__ = ["BodyJudge", "HeldSource"]

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

    def begin(self, head: RequestHead, data: bytes, end: End | None, sink: Asking) -> SourceStream:
        """See :class:`Source`."""
        if head.length == 0 or (end is not None and not data):
            return self.inner.begin(head, data, end, sink)
        try:
            limit = self.waf.body_limit
            if head.length is not None and head.length > limit:
                self.waf.over_limit()
            if end is not None or len(data) >= limit:
                self.waf.judge_body(sink.traffic, data, end is not None)
                return self.inner.begin(head, data, end, sink)
        except ProxyError as error:
            sink.fail(error)
            return STARTING
        if head.expect_continue and not data and sink.traffic.request.version >= 11:
            sink.server_events([ResponseHead(100, [], b"Continue")])
            sink = _WithoutContinue(sink)
        return HeldBody(self, head, data, sink)


class HeldBody:
    """The stream of an exchange whose body is held."""

    def __init__(self, source: HeldSource, head: RequestHead, data: bytes, sink: Asking) -> None:
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
        waf = self._source.waf
        if end is None and self._size < waf.body_limit:
            return
        body = b"".join(self._parts)
        self._parts = []
        try:
            waf.judge_body(self._sink.traffic, body, end is not None)
        except ProxyError as error:
            self._over = True
            self._sink.fail(error)
            return
        self._begin(body, end)

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


class _WithoutContinue(ForwardingSink):
    """Drops the 100 of the server: the client has one."""

    def server_events(self, events: list[Any]) -> None:
        """See :class:`~lbproxy.proxy.http.sink.ResponseSink`."""
        first = events[0]
        if isinstance(first, ResponseHead) and first.status == 100:
            events = events[1:]
        if events:
            self.sink.server_events(events)
