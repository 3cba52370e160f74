"""DATA. One call of a CORS proxy on its way: resolve, judge, connect, send, follow redirects.

.. code-block:: text

   begin -> resolving -> dialling -> sent -> answered -> over
               ^                      |  \\-> tunnel --/
               +------- redirect -----+

1. A target is judged when it is named and, by every address its name has, before each connection.
   The connection goes to an address that was judged.  A connection that is idle in the pool was
   judged when it was made.
2. Body bytes are kept, up to ``redirect_buffer``, until the response is final, so that a redirect
   can send them again.  Before a connection is there, the client is paused.  A body that a redirect
   drops is read and forgotten.
3. One deadline, ``timeout_total``, covers everything except an open WebSocket.
4. Everything is released before the sink gets the End or a failure.
5. A connection that carries credentials of its own (:mod:`lbproxy.http.identity`) is used once,
   because targets are shared by all callers.
"""

from __future__ import annotations

from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

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
from lbproxy.proxy.features.corsproxy.gate import AllowedCall
from lbproxy.proxy.features.corsproxy.heads import (
    FetchRules,
    final_url,
    hop_request,
    target_request,
    target_response,
)
from lbproxy.proxy.features.corsproxy.keptbody import KeptBody
from lbproxy.proxy.http.connector import Connector
from lbproxy.proxy.http.sink import Asking, ResponseSink
from lbproxy.proxy.http.streams import ServerConnection, ServerStream
from lbproxy.tls.certificates import CertificateError

__all__ = ["TargetFetch"]


_OVER_SIZE: Final = "the response is larger than max_response"


class TargetFetch(ResponseSink):
    """See the module.  It is the stream that the exchange gets, waits for connections, and takes
    the responses of targets.  ``shared``: the sink is a cache.
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
        self._with_body = True
        self._redirects = 0
        self._lookup: Deferred[list[str]] | None = None
        self._connector: Connector | None = None
        self._stream: ServerStream | None = None
        self._reused = False
        self._fresh = False  # does not take a pooled connection any more
        self._answered = False
        self._tunnel = False
        self._paused = False  # the client takes no more of the response
        self._holding = False  # there is no connection to send the body on
        self._blocked = False  # the target takes no more of the body
        self._size = 0
        self._over = False
        self._timer = sink.traffic.frontend.wheel.timer(self._expired)

    @property
    def queued(self) -> bool:
        """See :class:`SourceStream`."""
        return self._stream is None

    @property
    def replayable(self) -> bool:
        """Whether the request can be sent again."""
        return self._method in IDEMPOTENT and (self._body.whole or not self._with_body)

    # -- towards the target ---------------------------------------------------------------------

    def begin(self, data: bytes, end: End | None) -> None:
        """Start, with what is known of the request body."""
        self._timer.set(self._rules.timeout_total)
        end = None if end is None else END  # trailers are fields that nobody has looked at
        self._body.add(data, end)
        if self._head.expect_continue and end is None:
            self._sink.server_events([ResponseHead(100, [])])
        self._hold(end is None)
        self._reach()

    def _reach(self) -> None:
        """Get a connection to the present target."""
        targets, target = self._asked.exit.targets, self._asked.exit.hop or self._target
        known: Connector | None = None if self._fresh else targets.known(target)
        if known is not None:
            connection = known.take(self)
            if connection is not None:
                self._reused = True
                self.connected(connection)
                return
        if target.literal:
            self._dial([target.host])
            return
        self._lookup = self._source.lookups.ask(target.host)
        self._lookup.addCallbacks(self._resolved, self._unresolved)

    def _resolved(self, addresses: list[str]) -> None:
        self._lookup = None
        if not self._over:
            self._dial(addresses)

    def _unresolved(self, failure: Failure) -> None:
        self._lookup = None
        if not self._over:
            self._fail(ProxyError(Kind.CONNECT_FAILED, f"{self._target.host}: {failure.value}"))

    def _dial(self, addresses: list[str]) -> None:
        way = self._asked.exit
        target = way.hop or self._target
        if not addresses:
            self._fail(ProxyError(Kind.CONNECT_FAILED, f"{target.host} has no address"))
            return
        try:
            # the other lbproxy of an exit is configuration, and judges the target itself
            judged = addresses if way.hop else self._source.guard.judge(target, addresses)
            self._connector = way.targets.reach(target, judged)
        except TargetRefused as error:
            self._fail(ProxyError(Kind.DENIED, str(error), 403))
        except CertificateError as error:
            self._fail(ProxyError(Kind.SERVER_TLS, str(error)))
        else:
            self._reused = False
            self._connector.dial(self)

    def connected(self, connection: ServerConnection) -> None:
        """See :class:`~lbproxy.proxy.http.streams.Connecting`."""
        self._connector = None
        stream = self._stream = connection.open_stream(self)
        if self._paused:
            stream.pause_response()
        data, end = (self._body.sent(), self._body.end) if self._with_body else (b"", END)
        request = self._request()
        if authenticates_connection(request):
            stream.bind(None, pins=False)
        try:
            stream.send_request(request, data, end)
        except (ValueError, TypeError) as error:
            self._fail(ProxyError(Kind.BAD_REQUEST, str(error)))
            return
        self._hold(False)

    def connect_failed(self, error: ProxyError) -> None:
        """See :class:`~lbproxy.proxy.http.streams.Connecting`."""
        self._connector = None
        self._fail(error)

    def _request(self) -> RequestHead:
        request = target_request(
            self._head,
            self._asked,
            self._rules,
            self._target,
            method=self._method,
            body=self._with_body,
            same_origin=self._same_origin,
            via=self._sink.traffic.frontend.forwarder.onward_via(self._head),
        )
        way = self._asked.exit
        return request if way.hop is None else hop_request(request, self._target, way.hop, way.key)

    def send_body(self, data: bytes, end: End | None) -> None:
        """See :class:`SourceStream`."""
        if self._over:
            return
        if self._tunnel:
            assert self._stream is not None
            self._stream.send_body(data, end)
            return
        if not self._with_body:
            return
        end = None if end is None else END
        self._body.add(data, end)
        if self._stream is not None:
            self._body.passed(data)
            self._stream.send_body(data, end)
        elif end is None:
            self._hold(True)

    def _hold(self, held: bool) -> None:
        """Note whether the client's request body has to wait for a connection."""
        self._regulate(held, self._blocked)

    def _hold_for_dial(self) -> None:
        """The connection is gone, and another one is to come."""
        self._regulate(self._with_body and self._body.end is None, False)

    def _regulate(self, holding: bool, blocked: bool) -> None:
        """Pause the client's request body while there is a reason to, else resume it."""
        before = self._holding or self._blocked
        self._holding, self._blocked = holding, blocked
        if (holding or blocked) is not before:
            if before:
                self._sink.server_resumed()
            else:
                self._sink.server_paused()

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
        self._tunnel = True
        self._timer.clear()
        return self._stream.start_tunnel()

    def close(self, *, reuse: bool) -> None:
        """See :class:`SourceStream`."""
        if not self._over:
            self._release(reuse)

    def server_events(self, events: list[Any]) -> None:
        """See :class:`ResponseSink`."""
        if self._tunnel:
            self._sink.server_events(events)
            return
        if not self._answered:
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
        """Follow a redirect, or put the final head in place; False if there is none."""
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
        self._answered = True
        self._body.forget()
        events[0] = target_response(
            head, self._asked, self._reached(head), moved=moved, shared=self._shared
        )
        return True

    def _reached(self, head: ResponseHead) -> str:
        """The URL of a response: the other lbproxy of an exit may have followed redirects."""
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
        if step.body and self._with_body and not self._body.whole:
            self._fail(ProxyError(Kind.BAD_RESPONSE, "redirect of a body over redirect_buffer"))
            return
        self._method = step.method
        if not step.body:
            self._with_body = False
            self._body.forget()
        before = self._target
        if (before.scheme, before.host, before.port) != (moved.scheme, moved.host, moved.port):
            self._same_origin = False
        self._drop_stream(complete)
        self._target = moved
        self._fresh = False
        self._hold_for_dial()
        self._reach()

    def server_failed(self, error: ProxyError) -> None:
        """See :class:`ResponseSink`."""
        self._stream = None
        if self._tunnel and error.kind is Kind.OK:
            self._release(False)
            self._sink.server_failed(error)
        elif self._reused and not self._answered and not self._fresh and self.replayable:
            self._fresh = True  # the pooled connection had died
            self._hold_for_dial()
            self._reach()
        else:
            self._fail(error)

    def server_paused(self) -> None:
        """See :class:`ResponseSink`."""
        self._regulate(self._holding, True)

    def server_resumed(self) -> None:
        """See :class:`ResponseSink`."""
        self._regulate(self._holding, False)

    # -- the end --------------------------------------------------------------------------------

    def _expired(self) -> None:
        seconds = self._rules.timeout_total
        self._fail(ProxyError(Kind.RESPONSE_TIMEOUT, f"not done within {seconds:g} s"))

    def _fail(self, error: ProxyError) -> None:
        if not self._over:
            self._release(False)
            self._sink.server_failed(error)

    def _drop_stream(self, complete: bool) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close(reuse=complete)

    def _release(self, reuse: bool) -> None:
        """Give up the look-up, the dial, the stream and the deadline."""
        self._over = True
        self._timer.close()
        self._body.forget()
        lookup, self._lookup = self._lookup, None
        if lookup is not None:
            lookup.addErrback(lambda failure: None)
            lookup.cancel()
        connector, self._connector = self._connector, None
        if connector is not None:
            connector.cancel(self)
        self._drop_stream(reuse)
