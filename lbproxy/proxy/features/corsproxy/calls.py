"""DATA. The stream of one call of a CORS proxy, in front of the fetch or of the cache.

It counts the bytes of the call against its quotas, and derives the head for the client from the
target's. All decisions that depend on the caller are made here, so that the responses behind it can
be shared.
"""

from __future__ import annotations

from typing import Any, Final

from attrs import Factory, define
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from lbproxy.errors import Kind, ProxyError
from lbproxy.guard import TargetRefused
from lbproxy.http.message import END, End, Reply, RequestHead, ResponseHead
from lbproxy.net.timers import Timer
from lbproxy.proxy.features.corsproxy.gate import FETCHED, POLICY
from lbproxy.proxy.features.corsproxy.heads import client_response, final_url
from lbproxy.proxy.features.corsproxy.judge import AllowedCall
from lbproxy.proxy.http.sink import Asking, ForwardingSink
from lbproxy.proxy.http.source import STARTING, Source
from lbproxy.proxy.http.streams import SourceStream

__all__ = ["CallStream"]

_OVER_QUOTA: Final = "the quota of bytes is exceeded"
_OF_THE_BODY: Final = (
    *(b"etag", b"content-length", b"accept-ranges"),
    *(b"content-digest", b"content-md5", b"digest", b"repr-digest"),
)
_MISSES: Final = ("request", "stale", "uri-miss", "vary-miss")
"""Cache-Status reasons of a call that the cache handled without a stored response."""

_REVOKED: Final = "the key is revoked or has expired"


class CallStream(ForwardingSink):
    """See the module. ``source``: the :class:`CorsSource` that created the stream.

    ``cache``: how the cache is involved: "" without one, ``bypass``, or ``used``.
    """

    def __init__(
        self, source: Any, asked: AllowedCall, head: RequestHead, sink: Asking, cache: str
    ) -> None:
        super().__init__(sink)
        self._source = source
        self._asked = asked
        self._head = head
        self._cache = cache
        self._stream: SourceStream = STARTING
        self._answered = False
        self._tunnel = False
        self._ended = False
        self._whole: _Whole | None = None  # a body to convert
        self._job: Deferred[bytes] | None = None
        self._timer: Timer | None = None

    def start(self, inner: Source, head: RequestHead, data: bytes, end: End | None) -> SourceStream:
        """Send the request to ``inner``."""
        if self._head.expect_continue and end is None:
            self.sink.server_events([ResponseHead(100, [])])
        if data and not self._count(len(data), 0):
            return self
        stream = inner.begin(head, data, end, self)
        if self._ended:
            stream.close(reuse=False)
        else:
            self._stream = stream
        return self

    # -- from the exchange ----------------------------------------------------------------------

    @property
    def queued(self) -> bool:
        """See :class:`SourceStream`."""
        return self._stream.queued

    def send_body(self, data: bytes, end: End | None) -> None:
        """See :class:`SourceStream`."""
        if not data or self._count(len(data), 0):
            self._stream.send_body(data, end)

    def pause_response(self) -> None:
        """See :class:`SourceStream`."""
        self._stream.pause_response()

    def resume_response(self) -> None:
        """See :class:`SourceStream`."""
        self._stream.resume_response()

    def start_tunnel(self) -> bytes:
        """See :class:`SourceStream`."""
        self._tunnel = True
        if self._asked.record is not None:
            self._source.tunnels[self] = self._asked.record
        return self._stream.start_tunnel()

    def close(self, *, reuse: bool) -> None:
        """See :class:`SourceStream`."""
        self._release().close(reuse=reuse)

    # -- from the source ------------------------------------------------------------------------

    def server_events(self, events: list[Any]) -> None:
        """See :class:`ResponseSink`."""
        if self._ended:
            return
        first = events[0]
        if not self._answered and (first.status >= 200 or first.status == 101):
            if not self._may_see(first):
                self._fail(ProxyError(Kind.DENIED, "the stored response is of another target", 403))
                return
            self._answered = True
            events[0] = self._for_client(first)
            if self._converts(first):
                if self._head.method == b"HEAD":
                    _describe_json(events[0])
                else:
                    self._whole = _Whole(events.pop(0))
        if self._whole is not None:
            self._collect(self._whole, events)
            return
        size = sum(len(one) for one in events if type(one) is bytes)
        if size and not self._count(0, size):
            return
        if type(events[-1]) is End and not self._tunnel:
            self._release()
        self.sink.server_events(events)

    # -- conversions ----------------------------------------------------------------------------

    def _converts(self, head: ResponseHead) -> bool:
        call = self._asked.call
        wanted = bool(call.convert or call.extract)
        return wanted and head.status == 200

    def _collect(self, whole: _Whole, events: list[Any]) -> None:
        """Keep the body until it is complete, then convert it."""
        for event in events:
            if type(event) is bytes:
                whole.parts.append(event)
                whole.size += len(event)
        if whole.size > self._source.rules.convert_max:
            self._fail(ProxyError(Kind.BAD_RESPONSE, "the body is larger than convert_max"))
        elif whole.head.header(b"content-encoding") is not None:
            self._fail(ProxyError(Kind.BAD_RESPONSE, "the body is compressed"))
        elif events and type(events[-1]) is End:
            self._stream = STARTING
            self._timer = self.sink.traffic.frontend.wheel.timer(self._late)
            self._timer.set(self._source.rules.timeout_total)
            kind = (whole.head.header(b"content-type") or b"").decode("latin-1")
            job = self._source.conversions.run(self._asked.call, b"".join(whole.parts), kind)
            whole.parts = []
            self._job = job
            job.addCallbacks(self._converted, self._unconverted)

    def _converted(self, body: bytes) -> None:
        whole = self._whole
        if self._ended or whole is None or not self._count(0, len(body)):
            return
        self._release()
        head = whole.head
        _describe_json(head)
        head.length = len(body)
        self.sink.server_events([head, body, END])

    def _unconverted(self, failure: Failure) -> None:
        if not self._ended:
            self._fail(ProxyError(Kind.BAD_RESPONSE, f"conversion: {failure.value}"))

    def _late(self) -> None:
        self._fail(ProxyError(Kind.RESPONSE_TIMEOUT, "the conversion takes too long"))

    def _may_see(self, head: ResponseHead) -> bool:
        """Return whether the caller may get a response that the cache obtained by a redirect for
        another caller.
        """
        final, asked = final_url(head), self._asked
        if final == asked.target.url or not final:
            return True
        try:
            target = self._source.guard.target(final)
        except TargetRefused:
            return False
        return asked.record is None or asked.record.allows_target(
            target.host, target.port, target.path
        )

    def _for_client(self, head: ResponseHead) -> ResponseHead:
        status = self._cache
        traffic = self.sink.traffic
        if status == "used":
            note = traffic.cached = self.traffic.cached
            if note is not None and note.status == "bypass" and note.reason not in _MISSES:
                status = "bypass"
            else:
                status = "miss" if traffic.vars.get(FETCHED) else "hit"
        self._asked.cache = status
        made, traffic.vars[POLICY] = client_response(
            head, self._asked, self._source.rules, method=self._head.method, cache=status
        )
        return made

    def server_failed(self, error: ProxyError) -> None:
        """See :class:`ResponseSink`."""
        if not self._ended:
            self._release()
            self.sink.server_failed(error)

    def hook_replied(self, reply: Reply) -> None:
        """See :class:`Asking`."""
        if not self._ended:
            self._release()
            self.sink.hook_replied(reply)

    def fail(self, error: ProxyError) -> None:
        """See :class:`Asking`."""
        if not self._ended:
            self._release()
            self.sink.fail(error)

    # -- quotas and keys ------------------------------------------------------------------------

    def revoked(self) -> None:
        """End the call, because its key is no longer valid."""
        self._fail(ProxyError(Kind.DENIED, _REVOKED, 403))

    def _count(self, bytes_in: int, bytes_out: int) -> bool:
        """Count bytes; end the call and return False if its quota is exceeded."""
        admitted = self._asked.admitted
        if admitted is None or self._source.quotas.passed(admitted, bytes_in, bytes_out):
            return True
        self._fail(ProxyError(Kind.RATE_LIMITED, _OVER_QUOTA))
        return False

    def _fail(self, error: ProxyError) -> None:
        if not self._ended:
            self._release().close(reuse=False)
            self.sink.server_failed(error)

    def _release(self) -> SourceStream:
        """Release the stream and return it; the caller may have to close it."""
        self._ended = True
        if self._timer is not None:
            self._timer.close()
        if self._job is not None:
            self._job.cancel()  # no one waits for the result; has no effect when done
        self._source.tunnels.pop(self, None)
        stream, self._stream = self._stream, STARTING
        return stream


def _describe_json(head: ResponseHead) -> None:
    """Replace the fields that describe the target's body by those of a conversion."""
    head.set_header(b"Content-Type", b"application/json; charset=utf-8")
    for name in _OF_THE_BODY:
        head.remove_header(name)


@define(eq=False)
class _Whole:
    """A body being collected, and the head for the client."""

    head: ResponseHead
    parts: list[bytes] = Factory(list)
    size: int = 0
