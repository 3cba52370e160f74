"""DATA. The fetch of one call of a CORS proxy: connect, send, follow redirects.

Its states are in :mod:`lbproxy.proxy.features.corsproxy.fetchstate`.

1. A target is judged when it is named, also by a redirect, and when it is reached (:mod:`.reach`).
2. Body bytes are kept, up to ``redirect_buffer``, until the response is final, so that a redirect
   can send them again. The client is paused until a connection exists. A body that a redirect drops
   is read and discarded.
3. One deadline, ``timeout_total``, covers everything except an open WebSocket.
4. Everything is released before the sink gets the End or a failure.
5. A connection with its own credentials (:mod:`lbproxy.http.identity`) is used only once, because
   all callers share the targets.
"""

from __future__ import annotations

from typing import Any, Final

from lbproxy.cors.redirects import (
    REDIRECTS_MAX,
    is_redirect,
    location_text,
    original_location,
    redirect_step,
)
from lbproxy.errors import Kind, ProxyError
from lbproxy.guard import AllowedTarget, TargetRefused
from lbproxy.http.identity import authenticates_connection, challenges_connection
from lbproxy.http.message import END, End, RequestHead, ResponseHead
from lbproxy.http.retry import IDEMPOTENT
from lbproxy.proxy.features.corsproxy.fetchstate import TargetFetchState
from lbproxy.proxy.features.corsproxy.heads import (
    FetchRules,
    final_url,
    hop_request,
    target_request,
    target_response,
)
from lbproxy.proxy.features.corsproxy.judge import AllowedCall
from lbproxy.proxy.features.corsproxy.keptbody import KeptBody
from lbproxy.proxy.features.corsproxy.reach import Reach
from lbproxy.proxy.features.corsproxy.uploadpause import UploadPause
from lbproxy.proxy.http.sink import Asking, ResponseSink
from lbproxy.proxy.http.streams import ServerConnection, ServerStream

__all__ = ["TargetFetch"]


_OVER_SIZE: Final = "the response is larger than max_response"


_REACHING: Final = TargetFetchState.REACHING  # looked up once
_SENT: Final = TargetFetchState.SENT
_ANSWERED: Final = TargetFetchState.ANSWERED
_TUNNEL: Final = TargetFetchState.TUNNEL
_OVER: Final = TargetFetchState.OVER


class TargetFetch(ResponseSink):
    """See the module.

    This object is the stream of the exchange, waits for connections, and receives the responses of
    targets. ``shared``: the sink is a cache.

    Three flags are independent of the state: the client accepts no more of the response
    (``_paused``), all redirects stayed at one origin (``_same_origin``), and pooled connections
    must no longer be used (``_fresh``).
    """

    is_first = False

    def __init__(
        self, source: Any, asked: AllowedCall, head: RequestHead, sink: Asking, *, shared: bool
    ) -> None:
        self._source = source
        self._shared = shared
        self._rules: FetchRules = source.rules
        self._asked = asked
        self._head = head
        self._sink = sink
        self.info = sink.traffic.info
        self._target: AllowedTarget = asked.target
        self._method = head.method
        self._body = KeptBody(self._rules.redirect_buffer)
        self._same_origin = True
        self._redirects = 0
        self._reach = Reach(source.lookups, source.guard, asked.exit)
        self._stream: ServerStream | None = None
        self._fresh = False  # pooled connections must no longer be used
        self._paused = False  # the client accepts no more of the response
        self._upload = UploadPause(sink)
        self._size = 0
        self._state = _REACHING
        self._timer = sink.traffic.frontend.wheel.timer(self._expired)

    @property
    def queued(self) -> bool:
        """See :class:`SourceStream`."""
        return self._stream is None

    @property
    def replayable(self) -> bool:
        """True if the request can be sent again."""
        return self._method in IDEMPOTENT and (self._body.whole or self._body.dropped)

    # -- towards the target ---------------------------------------------------------------------

    def begin(self, data: bytes, end: End | None) -> None:
        """Start, with the part of the request body received so far."""
        self._timer.set(self._rules.timeout_total)
        end = None if end is None else END  # trailers are dropped: their fields are unchecked
        self._body.add(data, end)
        self._upload.wait(end is None)
        self._reach.begin(self, self._target, fresh=False)

    def connected(self, connection: ServerConnection) -> None:
        """See :class:`~lbproxy.proxy.http.streams.Connecting`."""
        self._reach.forget()
        self._state = _SENT
        stream = self._stream = connection.open_stream(self)
        if self._paused:
            stream.pause_response()
        kept = self._body
        data, end = (b"", END) if kept.dropped else (kept.sent(), kept.end)
        request = self._request()
        if authenticates_connection(request):
            stream.bind(None, pins=False)
        try:
            stream.send_request(request, data, end)
        except (ValueError, TypeError) as error:
            self._fail(ProxyError(Kind.BAD_REQUEST, str(error)))
            return
        self._upload.wait(False)

    def connect_failed(self, error: ProxyError) -> None:
        """See :class:`~lbproxy.proxy.http.streams.Connecting`."""
        self._reach.forget()
        self._fail(error)

    def _request(self) -> RequestHead:
        request = target_request(
            self._head,
            self._asked,
            self._rules,
            self._target,
            method=self._method,
            body=not self._body.dropped,
            same_origin=self._same_origin,
            via=self._sink.traffic.frontend.forwarder.onward_via(self._head),
        )
        way = self._asked.exit
        if way.hop is None or way.spec is None:
            return request
        return hop_request(request, self._target, way.hop, way.spec)

    def send_body(self, data: bytes, end: End | None) -> None:
        """See :class:`SourceStream`."""
        if self._state is _OVER:
            return
        if self._state is _TUNNEL:
            assert self._stream is not None
            self._stream.send_body(data, end)
            return
        if self._body.dropped:
            return
        end = None if end is None else END
        self._body.add(data, end)
        if self._stream is not None:
            self._body.passed(data)
            self._stream.send_body(data, end)
        elif end is None:
            self._upload.wait(True)

    def _reach_again(self) -> None:
        """Get another connection in place of a lost one."""
        self._state = _REACHING
        self._upload.renew(not self._body.dropped and self._body.end is None)
        if self._is(_REACHING):  # the client continues, and may have ended the call by that
            self._reach.begin(self, self._target, fresh=self._fresh)

    # -- towards the client ---------------------------------------------------------------------

    def pause_response(self) -> None:
        """See :class:`SourceStream`."""
        self._paused = True
        if self._stream is not None:
            self._stream.pause_response()

    def resume_response(self) -> None:
        """See :class:`SourceStream`."""
        self._paused = False
        if self._stream is not None:
            self._stream.resume_response()

    def start_tunnel(self) -> bytes:
        """See :class:`SourceStream`."""
        assert self._stream is not None
        self._state = _TUNNEL
        self._timer.clear()
        return self._stream.start_tunnel()

    def close(self, *, reuse: bool) -> None:
        """See :class:`SourceStream`."""
        if self._state is not _OVER:
            self._release(reuse)

    def server_events(self, events: list[Any]) -> None:
        """See :class:`ResponseSink`."""
        if self._state is _TUNNEL:
            self._sink.server_events(events)
            return
        if self._state is _SENT:
            while events and events[0].status < 200 and events[0].status != 101:
                del events[0]
            if not events or not self._head_came(events):
                return
        size = sum(len(one) for one in events if type(one) is bytes)
        self._size += size
        if self._rules.max_response and self._size > self._rules.max_response:
            self._fail(ProxyError(Kind.BAD_RESPONSE, _OVER_SIZE))
            return
        if type(events[-1]) is End:
            events[-1] = END
            self._release(True)
        self._sink.server_events(events)

    def _head_came(self, events: list[Any]) -> bool:
        """Follow a redirect, or replace the final head; return False without a final head."""
        head: ResponseHead = events[0]
        if head.status in (401, 407) and challenges_connection(head) and self._stream is not None:
            self._stream.bind(None, pins=False)
        if head.status == 101 and not head.upgrade == self._head.upgrade == b"websocket":
            self._fail(ProxyError(Kind.BAD_RESPONSE, "a 101 that was not asked for"))
            return False
        location = head.header(b"location") if is_redirect(head.status) else None
        if location is not None and self._asked.exit.hop is not None:
            location = original_location(location)
        moved: AllowedTarget | None = None
        if location is not None:
            try:
                moved = self._source.guard.redirected(self._target, location_text(location))
            except TargetRefused as error:
                if self._rules.follow:
                    self._fail(ProxyError(Kind.DENIED, f"redirect: {error}", 403))
                    return False
        if moved is not None and self._rules.follow:
            self._redirect(head.status, moved, complete=type(events[-1]) is End)
            return False
        most = self._rules.max_response
        if most and head.length is not None and head.length > most:
            self._fail(ProxyError(Kind.BAD_RESPONSE, _OVER_SIZE))
            return False
        self._state = _ANSWERED
        self._body.forget()
        events[0] = target_response(
            head, self._asked, self._reached(head), moved=moved, shared=self._shared
        )
        return True

    def _reached(self, head: ResponseHead) -> str:
        """Return the URL of a response; an exit's other lbproxy may have followed redirects."""
        if self._asked.exit.hop is None:
            return self._target.url
        return final_url(head) or self._target.url

    def _redirect(self, status: int, moved: AllowedTarget, *, complete: bool) -> None:
        if self._head.upgrade is not None:
            self._fail(ProxyError(Kind.BAD_RESPONSE, "redirect of a WebSocket handshake"))
            return
        if moved.scheme in ("ws", "wss"):
            self._fail(ProxyError(Kind.BAD_RESPONSE, "redirect to a WebSocket"))
            return
        self._redirects += 1
        if self._redirects > REDIRECTS_MAX:
            self._fail(ProxyError(Kind.BAD_RESPONSE, f"more than {REDIRECTS_MAX} redirects"))
            return
        record = self._asked.record
        if record is not None and not record.allows_target(moved.host, moved.port, moved.path):
            self._fail(ProxyError(Kind.DENIED, f"redirect: {moved.host} is no target of it", 403))
            return
        step = redirect_step(status, self._method)
        if step.body and not self._body.dropped and not self._body.whole:
            self._fail(ProxyError(Kind.BAD_RESPONSE, "redirect of a body over redirect_buffer"))
            return
        self._method = step.method
        if not step.body:
            self._body.drop()
        before = self._target
        if (before.scheme, before.host, before.port) != (moved.scheme, moved.host, moved.port):
            self._same_origin = False
        self._drop_stream(complete)
        self._target = moved
        self._fresh = False
        self._reach_again()

    def server_failed(self, error: ProxyError) -> None:
        """See :class:`ResponseSink`."""
        self._stream = None
        if self._state is _TUNNEL and error.kind is Kind.OK:
            self._release(False)
            self._sink.server_failed(error)
        elif self._reach.reused and self._is(_SENT) and not self._fresh and self.replayable:
            self._fresh = True  # the pooled connection had died
            self._reach_again()
        else:
            self._fail(error)

    def _is(self, state: TargetFetchState) -> bool:
        return self._state is state

    def server_paused(self) -> None:
        """See :class:`ResponseSink`."""
        self._upload.block(True)

    def server_resumed(self) -> None:
        """See :class:`ResponseSink`."""
        self._upload.block(False)

    # -- the end --------------------------------------------------------------------------------

    def _expired(self) -> None:
        seconds = self._rules.timeout_total
        self._fail(ProxyError(Kind.RESPONSE_TIMEOUT, f"not done within {seconds:g} s"))

    def _fail(self, error: ProxyError) -> None:
        if self._state is not _OVER:
            self._release(False)
            self._sink.server_failed(error)

    def _drop_stream(self, complete: bool) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close(reuse=complete)

    def _release(self, reuse: bool) -> None:
        """Give up the way to the target, the stream and the deadline."""
        self._state = _OVER
        self._timer.close()
        self._body.forget()
        self._reach.cancel(self)
        self._drop_stream(reuse)
