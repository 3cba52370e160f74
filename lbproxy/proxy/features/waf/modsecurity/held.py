"""DATA. The source of routes whose firewall has ``rules``: it holds a request until the verdict.

Rules, besides those of :mod:`lbproxy.proxy.features.waf.held`:

1. A request without a body is also held, because its head is judged.
2. The client's body is paused until the verdict. Data that was already read is kept.
3. The pool limits the time until the verdict.
"""

from __future__ import annotations

from functools import partial
from typing import Protocol

from lbproxy.errors import ProxyError
from lbproxy.http.message import End, RequestHead
from lbproxy.proxy.features.waf.counters import WafCounters
from lbproxy.proxy.features.waf.held import HoldingBody, without_continue
from lbproxy.proxy.features.waf.modsecurity.ask import Ask
from lbproxy.proxy.features.waf.modsecurity.firewall import RuleFirewall
from lbproxy.proxy.features.waf.modsecurity.messages import RuleAnswer
from lbproxy.proxy.features.waf.modsecurity.responses import JudgedResponse
from lbproxy.proxy.http.sink import Asking
from lbproxy.proxy.http.source import STARTING, Source
from lbproxy.proxy.http.streams import SourceStream

__all__ = ["Counting", "JudgedSource"]


class Counting(Protocol):
    """A feature with counters, which are set after its source is created."""

    counters: WafCounters


class JudgedSource(Source):
    """See the module. ``owner``: has the counters. ``inner``: the next source."""

    def __init__(self, firewall: RuleFirewall, owner: Counting, inner: Source) -> None:
        self.firewall = firewall
        self.inner = inner
        self._owner = owner

    @property
    def counters(self) -> WafCounters:
        """The counters of the route."""
        return self._owner.counters

    @property
    def body_limit(self) -> int:
        """Number of bytes of a body that are judged."""
        return self.firewall.spec.body_limit

    def begin(self, head: RequestHead, data: bytes, end: End | None, sink: Asking) -> SourceStream:
        """See :class:`Source`."""
        self.counters.requests += 1
        if head.length is not None and head.length > self.body_limit:
            try:
                self.firewall.over_limit(self.counters)
            except ProxyError as error:
                sink.fail(error)
                return STARTING
        complete = end is not None or head.length == 0
        if not complete:
            sink = without_continue(head, data, sink)
        held = JudgedBody(self, head, data, sink)
        if complete or len(data) >= self.body_limit:
            held.complete(data, end, whole=complete)
        return held


class JudgedBody(HoldingBody):
    """The stream of an exchange that waits for a verdict."""

    def __init__(self, source: JudgedSource, head: RequestHead, data: bytes, sink: Asking) -> None:
        super().__init__(source, head, data, sink)
        self._firewall, self._counters = source.firewall, source.counters
        self._ask: Ask | None = None
        self._asked = False
        self._body = b""
        self._late: list[bytes] = []
        self._last: End | None = None
        self._stopped = False  # the client's body is paused
        self._response: JudgedResponse | None = None
        self._firewall.pool.enter(self)

    def send_body(self, data: bytes, end: End | None) -> None:
        """See :class:`SourceStream`."""
        if not self._asked or self._inner is not None:
            super().send_body(data, end)
            return
        if data:
            self._late.append(data)
        if end is not None:
            self._last = end
        elif not self._stopped and not self._over:
            self._stopped = True
            self._sink.server_paused()

    def complete(self, body: bytes, end: End | None, *, whole: bool) -> None:
        """Ask about the request with ``body``, or with its beginning."""
        self._asked = True
        self._parts = []
        self._body, self._last = body, end
        firewall, traffic = self._firewall, self._sink.traffic
        limit = firewall.spec.body_limit
        whole = (whole or len(body) == traffic.request.length) and len(body) <= limit
        if not whole and traffic.request.length is None:
            try:
                firewall.over_limit(self._counters)
            except ProxyError as error:
                self._fail(error)
                return
        judged = body if len(body) <= limit else body[:limit]
        if end is None and not whole:
            self._stopped = True
            self._sink.server_paused()
        self._ask = firewall.ask(traffic, judged, whole, partial(self._judged, judged, whole))
        if self._ask is None:
            self._judged(judged, whole, None, "too many requests wait for a verdict")

    def _judged(self, judged: bytes, whole: bool, answer: RuleAnswer | None, why: str) -> None:
        self._ask = None
        if self._over:
            return
        traffic, counters = self._sink.traffic, self._counters
        try:
            self._firewall.act(traffic, judged, whole, answer, why, counters)
        except ProxyError as error:
            self._fail(error)
            return
        self._firewall.pool.leave(self)
        body, self._body = self._body, b""
        if self._late:
            body = b"".join([body, *self._late])
            self._late = []
        if self._firewall.spec.responses:
            sink = self._response = JudgedResponse(self, self._firewall, self._counters, self._sink)
            self._sink = sink
        self._begin(body, self._last)
        if self._response is not None and self._response.stopped and self._served:
            self.pause_server()  # the source has delivered during its start
        if self._stopped and self._served:
            self._sink.server_resumed()

    def _fail(self, error: ProxyError) -> None:
        self._release()
        self._end()
        self._sink.fail(error)

    def _release(self) -> None:
        ask, self._ask = self._ask, None
        if ask is not None:
            ask.cancel()
        self._firewall.pool.leave(self)
        self._body, self._late = b"", []

    def pause_server(self) -> None:
        """See :class:`HeldStream`."""
        if self._inner is not None:
            self._inner.pause_response()

    def resume_server(self) -> None:
        """See :class:`HeldStream`."""
        if self._served and not self._paused:
            assert self._inner is not None
            self._inner.resume_response()

    def drop_server(self) -> None:
        """See :class:`HeldStream`."""
        super().close(reuse=False)

    def resume_response(self) -> None:
        """See :class:`SourceStream`."""
        if self._response is not None and self._response.waiting_for_verdict:
            self._paused = False
            return
        super().resume_response()

    def close(self, *, reuse: bool) -> None:
        """See :class:`SourceStream`."""
        if self._response is not None:
            self._response.forget()
        self._release()
        super().close(reuse=reuse)
