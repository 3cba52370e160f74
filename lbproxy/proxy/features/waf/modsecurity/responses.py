"""DATA. The sink that holds a response until the verdict: ``responses = yes``.

Rules:

1. Responses of text types (:data:`JUDGED`) are held, up to ``body_limit``; a longer body is judged
   by its beginning. All others pass, and so do upgrades and responses without a body.
2. The server is paused until the verdict. Data that was already read is kept.
3. A refused response is dropped, and its server connection is closed if the response is incomplete.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

from lbproxy.errors import ProxyError
from lbproxy.http.message import End, ResponseHead
from lbproxy.net.timers import Timer
from lbproxy.proxy.features.waf.counters import WafCounters
from lbproxy.proxy.features.waf.modsecurity.ask import Ask
from lbproxy.proxy.features.waf.modsecurity.firewall import RuleFirewall
from lbproxy.proxy.features.waf.modsecurity.messages import RuleAnswer
from lbproxy.proxy.http.sink import Asking, ForwardingSink

__all__ = ["JUDGED", "HeldStream", "JudgedResponse"]

JUDGED: Final = (
    *(b"text/html", b"text/plain", b"text/xml", b"application/json", b"application/xml"),
    *(b"application/xhtml+xml", b"application/problem+json"),
)


class HeldStream(Protocol):
    """The stream whose response is held."""

    def pause_server(self) -> None:
        """Stop the source from delivering data."""

    def resume_server(self) -> None:
        """Let the source deliver again, unless the client is slow."""

    def drop_server(self) -> None:
        """End the stream of the source."""


class JudgedResponse(ForwardingSink):
    """See the module."""

    def __init__(
        self, stream: HeldStream, firewall: RuleFirewall, counters: WafCounters, sink: Asking
    ) -> None:
        super().__init__(sink)
        self._stream = stream
        self._firewall = firewall
        self._counters = counters
        self._head: ResponseHead | None = None
        self._passing = False
        self._asked = False
        self.stopped = False  # the server is paused until the verdict
        self._ask: Ask | None = None
        self._full: Timer | None = None
        self._held: list[Any] = []
        self._size = 0

    @property
    def waiting_for_verdict(self) -> bool:
        """True if the server must stay paused."""
        return self._ask is not None or self._full is not None

    def server_events(self, events: list[Any]) -> None:
        """See :class:`~lbproxy.proxy.http.sink.ResponseSink`."""
        if self._passing:
            self.sink.server_events(events)
            return
        for place, event in enumerate(events):
            if isinstance(event, ResponseHead) and not self._held_head(event):
                if event.status >= 200 or event.status == 101:
                    self._passing = True
                    self.sink.server_events(events[place:])
                    return
                self.sink.server_events([event])
                continue
            self._hold(event)

    def _held_head(self, head: ResponseHead) -> bool:
        if head.status < 200 or head.status in (204, 304) or head.length == 0:
            return False
        kind = (head.header(b"content-type") or b"").partition(b";")[0].strip().lower()
        method = self.traffic.request.method
        if kind not in JUDGED or method in (b"HEAD", b"CONNECT"):
            return False
        self._head = head
        return True

    def _hold(self, event: Any) -> None:
        self._held.append(event)
        if isinstance(event, bytes):
            self._size += len(event)
        complete = isinstance(event, End)
        if self._asked or not (complete or self._size >= self._firewall.spec.body_limit):
            return
        self._asked = True
        if not complete:
            self.stopped = True
            self._stream.pause_server()
        body = b"".join(one for one in self._held if isinstance(one, bytes))
        assert self._head is not None
        body = body[: self._firewall.spec.body_limit]
        self._firewall.pool.enter(self)
        traffic = self.traffic
        self._ask = self._firewall.ask_response(traffic, self._head, body, complete, self._judged)
        if self._ask is None:  # in a later turn, because the calling source must not be re-entered
            self._full = self.traffic.frontend.wheel.timer(self._not_asked)
            self._full.set(0)

    def _not_asked(self) -> None:
        self._full = None
        self._judged(None, "too many requests wait for a verdict")

    def _judged(self, answer: RuleAnswer | None, why: str) -> None:
        self._ask = None
        self.stopped = False
        self._firewall.pool.leave(self)
        held, self._held = self._held, []
        complete = bool(held) and isinstance(held[-1], End)
        try:
            self._firewall.act_on_response(self.traffic, answer, why, self._counters)
        except ProxyError as error:
            self._passing = True
            if not complete:
                self._stream.drop_server()
            self.sink.fail(error)
            return
        self._passing = True
        self.sink.server_events(held)
        if not complete:
            self._stream.resume_server()

    def forget(self) -> None:
        """Drop the held data, because the exchange continues without this response."""
        ask, self._ask = self._ask, None
        if ask is not None:
            ask.cancel()
        if self._full is not None:
            self._full.close()
            self._full = None
        self._firewall.pool.leave(self)
        self._held = []

    def server_failed(self, error: ProxyError) -> None:
        """See :class:`~lbproxy.proxy.http.sink.ResponseSink`."""
        self.forget()
        self.sink.server_failed(error)

    def fail(self, error: ProxyError) -> None:
        """See :class:`~lbproxy.proxy.http.sink.Asking`."""
        self.forget()
        self.sink.fail(error)
