"""DATA. One HTTP request and its response, whatever protocol either side speaks.

The rules, in the order a request meets them:

1. The client stream makes an :class:`Exchange` from a complete head, with the body bytes already there.
2. Filters of phase ``early``, the route, filters of phase ``request``.
3. A server and its response head: :mod:`lbproxy.proxy.http.attempt`.
4. The response head passes filters of phase ``response``.  Until it is sent a failure is an error page; from then on it
   cuts the client's stream.
5. When response and request are complete the server is given back before the client is told: its next request
   may want that connection.
6. :meth:`Exchange._finish` runs exactly once: lease, counters, log, filters of phase ``finish``, then the client's
   stream is told.
"""

from __future__ import annotations

from typing import Any, Final

from lbproxy.errors import MEANING, Kind, Outcome, ProxyError
from lbproxy.http.message import END, End, Invalid, Reply, ResponseHead
from lbproxy.proxy.hooks import run_hooks
from lbproxy.proxy.http.attempt import Attempts
from lbproxy.proxy.http.replies import error_reply, reply_head

__all__ = ["Exchange"]

_OK: Final = Kind.OK  # looked up once
_GOOD: Final = Outcome.OK


class Exchange(Attempts):
    """See the module, and :class:`lbproxy.proxy.http.traffic.HTTPTraffic` for its attributes."""

    __slots__ = ()

    # -- from the client ------------------------------------------------------------------------

    def start(self, data: bytes, end: End | None) -> None:
        """Begin, with the body bytes that came with the head."""
        frontend = self.frontend
        frontend.counters.requests += 1
        if data:
            self._body.append(data)
            self._body_size = self.bytes_in = len(data)
        if end is not None:
            self._request_ended = True
            self._trailers = end
        self.client_ip, self.scheme = frontend.forwarder.client(
            self.client_ip, self.request, self.scheme
        )
        early = frontend.phases.early
        if early:
            run_hooks(self, early, frontend.wheel, self._route)
        else:
            self._route()

    def request_data(self, data: bytes) -> None:
        """More request body."""
        if self.over:
            return
        size = len(data)
        self.bytes_in += size
        stream = self._stream
        if self._tunnel:
            if self.watched is not None:
                self.watched.from_client(data)
            if stream is not None:
                stream.send_body(data, None)
            return
        if not self._lost:
            self._keep(data, size)
        if self._sent and stream is not None:
            stream.send_body(data, None)

    def _keep(self, data: bytes, size: int) -> None:
        """Keep body bytes until they are sent, and for a replay while there is room for that."""
        self._body_size += size
        backend = self.backend
        if self._body_size <= (backend.retry_buffer if backend is not None else 0):
            self._body.append(data)
        elif self._sent:
            self._forget_body()
        else:
            self._body.append(data)
            self._pause_client(True)

    def request_end(self, end: End) -> None:
        """The request body is complete (in a tunnel: the client will send no more)."""
        if self.over:
            return
        self._request_ended = True
        self._trailers = end
        if self._sent and self._stream is not None:
            self._stream.send_body(b"", end)
        if self._response_ended:
            self._finish(_OK)

    def client_invalid(self, invalid: Invalid) -> None:
        """The client broke the protocol inside this request's body."""
        self.fail(ProxyError(invalid.kind, invalid.detail, invalid.status))

    def client_gone(self, error: ProxyError) -> None:
        """The client left, or was too slow; nothing more can be sent to it."""
        if not self.over:
            self._drop_server(MEANING[error.kind].outcome)
            self._finish(error.kind, error.detail)

    def client_paused(self) -> None:
        """The client does not take the response fast enough."""
        if not self._client_paused:  # transports say it with every write
            self._client_paused = True
            if self._stream is not None:
                self._stream.pause_response()

    def client_resumed(self) -> None:
        """It does again."""
        self._client_paused = False
        if self._stream is not None and self._held is None:
            self._stream.resume_response()

    @property
    def queued(self) -> bool:
        """Waiting for a server with nothing sent yet."""
        return self._lease is None and self.response is None and not self.over

    def _pause_client(self, paused: bool) -> None:
        if paused is not self._paused:
            self._paused = paused
            if paused:
                self._client.pause_request()
            else:
                self._client.resume_request()

    # -- where to -------------------------------------------------------------------------------

    def _route(self) -> None:
        frontend = self.frontend
        if self.request.method == b"CONNECT" and frontend.spec.connect != "forward":
            self.fail(ProxyError(Kind.METHOD_REFUSED, "CONNECT"))
            return
        try:
            route = frontend.router.match(self)
        except ProxyError as error:
            self.fail(error)
            return
        if route is None:
            self.fail(ProxyError(Kind.NO_ROUTE))
            return
        self.route = route.text
        if route.priority:
            self.priority = route.priority
        if route.action is not None:
            run_hooks(self, (route.action.reply,), frontend.wheel, self._no_reply)
            return
        self._use_backend(route.backend)
        hooks = self._hooks
        if hooks is not None and hooks.request:
            run_hooks(self, hooks.request, frontend.wheel, self._acquire)
        else:
            self._acquire()

    def _no_reply(self) -> None:
        self.fail(ProxyError(Kind.FILTER_FAILED, f"no reply from {self.route}"))

    # -- from the server ------------------------------------------------------------------------

    def server_events(self, events: list[Any]) -> None:
        """See :class:`ResponseSink`."""
        if self.over:
            return
        if self._held is not None:
            self._held.extend(events)
        elif self._tunnel:
            self._tunnel_events(events)
        elif self.response is not None:
            self._forward_body(events)
        else:
            index = self._find_head(events)
            if index < 0:
                return
            del events[:index]
            hooks = self._hooks
            if hooks is not None and hooks.response:
                self._run_response_hooks(events, hooks.response)
            else:
                self._respond(events)

    def _find_head(self, events: list[Any]) -> int:
        """Take interim heads and the final one out of ``events``; where its body begins, -1 if not there yet."""
        for index, event in enumerate(events):
            head: ResponseHead = event
            status = head.status
            if status == 101 or (200 <= status < 300 and self.request.method == b"CONNECT"):
                self._start_tunnel(head, events[index + 1 :])
                return -1
            if status >= 200:
                if status > 399 and self._status_failed(status, type(events[-1]) is End):
                    return -1
                self.t_response = self.frontend.now() - self._mark
                self.response = self.frontend.forwarder.response(
                    head, client_version=self.request.version
                )
                return index + 1
            if self.request.version >= 11:
                self._client.send_response(self.frontend.forwarder.response(head), b"", None)
        return -1

    def _run_response_hooks(self, events: list[Any], hooks: tuple[Any, ...]) -> None:
        """Keep what follows the head until the filters are through."""
        self._held = events
        if events and type(events[-1]) is End:
            self._server_done()
        run_hooks(self, hooks, self.frontend.wheel, self._release_held)
        if self._waits_for_hooks() and self._stream is not None:
            self._stream.pause_response()

    def _waits_for_hooks(self) -> bool:
        return self._held is not None

    def _release_held(self) -> None:
        """The response filters are through."""
        events = self._held or []
        self._held = None
        self._respond(events)
        stream = self._stream
        if stream is not None and not self._client_paused:
            stream.resume_response()

    def _respond(self, events: list[Any]) -> None:
        """Send the final head with what is already there of its body."""
        head = self.response
        assert head is not None
        data, end = _gather(events)
        if end is not None and self._stream is not None:
            self._server_done()
        try:
            self._client.send_response(head, data, end)
        except (ValueError, TypeError) as error:  # a filter put something impossible into the head
            self.fail(ProxyError(Kind.FILTER_FAILED, f"response cannot be sent: {error}"))
            return
        self.status = head.status
        self.bytes_out += len(data)
        if end is None:
            self._forget_body()  # there is no going back now
        elif not self.over:
            self._finish(_OK)

    def _forward_body(self, events: list[Any]) -> None:
        data, end = _gather(events)
        self.bytes_out += len(data)
        if end is None:
            self._client.send_data(data, None)
            return
        self._server_done()
        self._client.send_data(data, end)
        if not self.over:
            self._finish(_OK)

    def _server_done(self) -> None:
        """The response is complete: give connection and lease back."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close(reuse=self._request_ended)
        backend, server = self.backend, self._server
        assert backend is not None and server is not None
        server.sessions.discard(self)
        if backend.passive is not None:
            backend.passive.answered(server, self._server_status, self.t_response)
        self._release(_GOOD)

    def server_failed(self, error: ProxyError) -> None:
        """See :class:`ResponseSink`."""
        if self.over:
            return
        if self.response is None:
            self._attempt_failed(error)
            return
        self._stream = None
        if error.kind is Kind.OK:
            self._finish(_OK)  # a tunnel
            return
        backend, server, held = self.backend, self._server, self._held
        assert backend is not None and server is not None
        server.sessions.discard(self)
        if held and type(held[-1]) is End:
            self._release(_GOOD)  # all that was wanted of it is here
            return
        if backend.passive is not None and not self._tunnel:
            backend.passive.failed(server, error.kind)
        self._release(error.outcome)
        self.fail(error)

    # -- tunnels --------------------------------------------------------------------------------

    def _start_tunnel(self, head: ResponseHead, rest: list[Any]) -> None:
        """101 to an Upgrade, or 2xx to a CONNECT: bytes both ways from now on."""
        stream = self._stream
        assert stream is not None
        asked = self.request.method == b"CONNECT" or self.request.upgrade is not None
        if not asked or not self._request_ended:
            why = "before the request was complete" if asked else "to a request without Upgrade"
            self._drop_connection()
            self._attempt_failed(ProxyError(Kind.BAD_RESPONSE, f"{head.status} {why}"))
            return
        self.t_response = self.frontend.now() - self._mark
        self.status = head.status
        self.response = self.frontend.forwarder.response(head)
        self.response.length = 0
        self.response.upgrade = head.upgrade or self.request.upgrade
        if self.backend is not None and self.backend.passive is not None:
            self.backend.passive.succeeded(self._server, self.t_response)  # type: ignore[arg-type]
        self._tunnel = True
        self._body.clear()
        self._request_ended = False
        if self.backend is not None and self.backend.rebalancer is not None:
            self.watched = self.backend.rebalancer.watch(self.response.upgrade or b"")
        self._client.send_response(self.response, b"", None)
        early, ended = self._client.start_tunnel()
        self._join(stream.start_tunnel(), rest, early, ended)

    def _join(self, first: bytes, rest: list[Any], early: bytes, ended: bool) -> None:
        """Pass on what came before both sides were tunnels."""
        if early:
            self.request_data(early)
        if ended and not self.over:
            self.request_end(END)
        if first:
            rest.insert(0, first)
        if rest and not self.over:
            self._tunnel_events(rest)

    def _tunnel_events(self, events: list[Any]) -> None:
        data, end = _gather(events)
        self.bytes_out += len(data)
        if self.watched is not None:
            self.watched.from_server(data)
        self._client.send_data(data, end)
        if end is not None:
            self._response_ended = True
            if self._request_ended and not self.over:
                self._finish(_OK)

    def part(self, to_client: bytes, to_server: bytes) -> None:
        """End a tunnel for the sake of balance: each side gets its last words, and is closed after them."""
        if to_server and self._stream is not None:
            self._stream.send_body(to_server, None)
        if to_client and not self.over:
            self._client.send_data(to_client, None)
        if not self.over:
            self._finish(Kind.REBALANCED)

    # -- the end --------------------------------------------------------------------------------

    def hook_replied(self, reply: Reply) -> None:
        """A filter or a route answers in place of a server."""
        if self.over:
            return
        self._drop_server(Outcome.NEUTRAL)
        try:
            self._reply(reply, Kind.REPLIED, "")
        except (ValueError, TypeError, AttributeError) as error:
            self.fail(ProxyError(Kind.FILTER_FAILED, f"reply cannot be sent: {error}"))

    def fail(self, error: ProxyError) -> None:
        """Nothing came of it: an error page, or a cut stream if the response has begun."""
        if self.over:
            return
        self._drop_server(error.outcome)
        if self.status:
            self._client.abort(error)
            self._finish(error.kind, error.detail)
        else:
            self._reply(error_reply(error), error.kind, error.detail or self.detail)

    def _reply(self, reply: Reply, kind: Kind, detail: str) -> None:
        """Send an answer of our own.  ValueError and the like, with nothing sent, if it cannot be."""
        self._held = None
        if not 200 <= reply.status <= 999:
            raise ValueError(f"status {reply.status}")
        head = reply_head(reply, self.frontend.wheel.wall())
        body = reply.body
        if self.request.method == b"HEAD":
            if body:
                head.add_header(b"Content-Length", b"%d" % len(body))
            head.length, body = 0, b""
        elif reply.status in (204, 304):
            head.length, body = 0, b""
        reuse = head.keep_alive = not reply.close and self._request_ended
        self._client.send_response(head, body, END)
        self.response = head
        self.status = reply.status
        self.bytes_out += len(body)
        if not self.over:
            self._finish(kind, detail, reuse=reuse)

    def _finish(self, kind: Kind, detail: str = "", *, reuse: bool = True) -> None:
        """Exactly once, whatever happened."""
        assert not self.over
        self.over = True
        self.close = kind
        if detail:
            self.detail = detail
        if self._lease is not None:
            self._drop_server(MEANING[kind].outcome)
        waiting, self.waiting = self.waiting, None
        if waiting is not None:
            waiting.cancel()
        if self._retrying is not None:
            self._end_retry()
        self._body.clear()
        self._held = None
        server = self._server
        if server is not None:
            server.counters.bytes_in += self.bytes_in
            server.counters.bytes_out += self.bytes_out
        frontend = self.frontend
        self.t_total = frontend.now() - self.started
        frontend.exchange_over(self)
        hooks = self._hooks
        for hook in hooks.finish if hooks is not None else frontend.phases.finish:
            frontend.run_finish(hook, self)
        self._client.exchange_done(reuse=reuse and self._request_ended and not self._tunnel)


def _gather(events: list[Any]) -> tuple[bytes, End | None]:
    """Body bytes and the end of one batch of events."""
    count = len(events)
    if count == 2 and type(events[0]) is bytes and type(events[1]) is End:
        return events[0], events[1]
    if count == 1:
        event = events[0]
        return (event, None) if type(event) is bytes else (b"", event)
    data: list[bytes] = []
    end: End | None = None
    for event in events:
        if type(event) is bytes:
            data.append(event)
        else:
            end = event
    return b"".join(data), end
