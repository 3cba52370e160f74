"""DATA. One HTTP request and its response, whatever protocol either side speaks.

The rules, in the order a request meets them:

1. The client stream makes an :class:`Exchange` from a complete head, with the body bytes already there.
2. Filters of phase ``early``, the route, filters of phase ``request``.
3. A lease from the backend, at once or from its queue.
4. An attempt: filters of phase ``server_request``, a pooled or a new connection, head and first body bytes in one write.
5. The body goes on under back-pressure both ways.  Up to ``retry_buffer`` bytes of it are kept.
6. A failure before the response head: another attempt, if the request can be replayed; else an error page.
7. The response head passes filters of phase ``response``; from then on failures cut the client's stream.
8. :meth:`Exchange._finish` runs exactly once: lease, counters, log, filters of phase ``finish``, then the client's stream
   is told.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred

from lbproxy.balance.lease import Lease
from lbproxy.balance.server import ServerState
from lbproxy.errors import Kind, Outcome, ProxyError
from lbproxy.http.message import END, End, Invalid, Reply, RequestHead, ResponseHead
from lbproxy.proxy.hooks import run_hooks
from lbproxy.proxy.replies import error_reply, reply_head
from lbproxy.proxy.server import connect
from lbproxy.proxy.streams import ClientStream, ResponseSink, ServerConnection, ServerStream

if TYPE_CHECKING:
    from lbproxy.net.endpoints import Dial
    from lbproxy.proxy.backend import Backend
    from lbproxy.proxy.frontend import Frontend, Hooks

__all__ = ["Exchange"]

# RFC 9110 §9.2.2
_IDEMPOTENT = frozenset({b"GET", b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"TRACE"})
_SAME_SERVER_PAUSE = 0.25  # before a server that just failed is tried again, for want of another


class Exchange(ResponseSink):
    """See the module.  Its public attributes are what filters and the access log read (docs/filters)."""

    __slots__ = (
        "_body",
        "_body_size",
        "_client",
        "_client_paused",
        "_dial",
        "_dialled",
        "_fresh",
        "_held",
        "_holding",
        "_hooks",
        "_lease",
        "_lost",
        "_mark",
        "_paused",
        "_request_ended",
        "_request_id",
        "_sent",
        "_server",
        "_server_paused",
        "_stream",
        "_timer",
        "_trailers",
        "_tunnel",
        "alpn",
        "attempts",
        "backend",
        "backend_name",
        "bytes_in",
        "bytes_out",
        "client_ip",
        "client_port",
        "close",
        "detail",
        "filter_timeout",
        "frontend",
        "frontend_name",
        "info",
        "over",
        "request",
        "response",
        "reused",
        "route",
        "scheme",
        "server_name",
        "server_request",
        "sni",
        "started",
        "status",
        "t_connect",
        "t_header",
        "t_queue",
        "t_response",
        "t_total",
        "tried",
        "vars",
        "waiting",
    )

    mode = "http"

    def __init__(
        self,
        frontend: Frontend,
        client: ClientStream,
        head: RequestHead,
        started: float,
        t_header: float = 0.0,
    ) -> None:
        info = client.info
        self.frontend = frontend
        self.frontend_name = frontend.name
        self.info = info
        self.request = head
        self.response: ResponseHead | None = None
        self.server_request: RequestHead | None = None
        self.client_ip = info.client_ip
        self.client_port = info.client_port
        self.scheme = "https" if info.tls is not None else "http"
        self.sni = info.sni
        self.alpn = info.alpn
        self.backend: Backend | None = None
        self.backend_name = ""
        self.server_name = ""
        self.route = ""
        self.status = 0
        self.close = Kind.OK
        self.detail = ""
        self.started = started
        self.t_header = t_header
        self.t_queue = self.t_connect = self.t_response = self.t_total = -1.0
        self.bytes_in = self.bytes_out = 0
        self.attempts = 0
        self.reused = False
        self.tried: list[ServerState] = []
        self.filter_timeout = frontend.spec.timeout_filter
        self.over = False
        self.waiting: Deferred[Any] | None = None
        self.vars: dict[str, Any] | None = None  # a filter's own notes from phase to phase
        self._client = client
        self._request_id = ""
        self._body: list[bytes] = []  # request body not yet sent, or kept for a replay
        self._body_size = 0
        self._lost = False  # body bytes were sent and not kept: no replay
        self._sent = False  # an attempt has sent the head
        self._request_ended = False
        self._trailers: End = END
        self._paused = False  # the client is not to send more body
        self._server_paused = False  # because the server does not take it
        self._client_paused = False  # the client does not take more response
        self._hooks: Hooks | None = None
        self._lease: Lease | None = None
        self._server: ServerState | None = None
        self._dial: Dial | None = None
        self._stream: ServerStream | None = None
        self._fresh = False  # the next attempt must not use a pooled connection
        self._dialled = 0.0
        self._mark = 0.0  # when the present wait began
        self._held: list[Any] | None = None  # response events while a response filter waits
        self._holding = False
        self._timer: Any = None
        self._tunnel = False

    # -- what the access log and filters read, beyond plain attributes --------------------------

    @property
    def request_id(self) -> str:
        """Unique; made when first asked for."""
        if not self._request_id:
            self._request_id = uuid.uuid4().hex
        return self._request_id

    @property
    def known_request_id(self) -> str:
        """The request id if anybody asked for one, else ""."""
        return self._request_id

    @property
    def server(self) -> ServerState | None:
        """The server of the present attempt."""
        return self._server

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
        size = len(data)
        self.bytes_in += size
        if self.over:
            return
        stream = self._stream
        if self._tunnel:
            if stream is not None:
                stream.send_body(data, None)
            return
        if not self._lost:
            self._body.append(data)
            self._body_size += size
            limit = self.backend.spec.retry_buffer if self.backend is not None else 0
            if self._body_size > limit:
                if self._sent and stream is not None:
                    self._forget_body()
                else:
                    self._pause_client(True)
        if stream is not None and self._sent:
            stream.send_body(data, None)

    def request_end(self, end: End) -> None:
        """The request body is complete (in a tunnel: the client will send no more)."""
        if self.over:
            return
        self._request_ended = True
        self._trailers = end
        if self._stream is not None and self._sent:
            self._stream.send_body(b"", end)

    def client_invalid(self, invalid: Invalid) -> None:
        """The client broke the protocol inside this request's body."""
        self.fail(ProxyError(invalid.kind, invalid.detail, invalid.status))

    def client_gone(self, error: ProxyError) -> None:
        """The client left, or was too slow; nothing more can be sent to it."""
        if not self.over:
            self._drop_server()
            self._finish(error.kind, error.detail)

    def client_paused(self) -> None:
        """The client does not take the response fast enough."""
        self._client_paused = True
        if self._stream is not None:
            self._stream.pause_response()

    def client_resumed(self) -> None:
        """It does again."""
        self._client_paused = False
        if self._stream is not None and not self._holding:
            self._stream.resume_response()

    @property
    def queued(self) -> bool:
        """Waiting for a server with nothing sent yet."""
        return self._lease is None and not self.over

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
        head = self.request
        if head.method == b"CONNECT" and frontend.spec.connect != "forward":
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
        if route.action is not None:
            self.hook_replied(route.action.reply(self))
            return
        self._use_backend(route.backend)
        hooks = self._hooks
        if hooks is not None and hooks.request:
            run_hooks(self, hooks.request, frontend.wheel, self._acquire)
        else:
            self._acquire()

    def _use_backend(self, name: str) -> None:
        self.backend = self.frontend.backends[name]
        self.backend_name = name
        self._hooks = self.frontend.hooks[name]

    def _acquire(self) -> None:
        backend = self.backend
        assert backend is not None
        if backend.name != self.backend_name:  # a filter chose another one
            self._use_backend(self.backend_name)
            backend = self.backend
            assert backend is not None
        self._mark = self.frontend.now()
        try:
            lease = backend.acquire(self)
        except ProxyError as error:
            self.fail(error)
            return
        if lease is not None:
            self.leased(lease)

    # -- one attempt ----------------------------------------------------------------------------

    def leased(self, lease: Lease) -> None:
        """The backend (or its queue) gives a server."""
        self._lease = lease
        server = lease.server
        self._server = server
        self.server_name = server.spec.name
        self.attempts += 1
        now = self.frontend.now()
        waited = now - self._mark
        self.t_queue = waited if self.t_queue < 0 else self.t_queue + waited
        self._mark = now
        server.sessions.add(self)
        server.counters.picked += 1
        self._attempt()

    def refused(self, error: ProxyError) -> None:
        """The queue gives no server."""
        backend = self.backend
        if backend is not None and error.kind is Kind.QUEUE_TIMEOUT:
            backend.counters.queue_timeouts += 1
        self.fail(error)

    def _attempt(self) -> None:
        backend = self.backend
        assert backend is not None
        head, info = self.request, self.info
        try:
            headers = self.frontend.forwarder.request_headers(
                head,
                client_ip=info.client_ip,
                client_port=info.client_port,
                scheme=self.scheme,
                local_port=info.local_port,
                # an HTTP/1.0 client may send no Host; HTTP/1.1 to the server needs one (RFC 9112 §3.2)
                host_header=backend.host_header or (b"" if head.host else self._server_host()),
            )
        except ProxyError as error:
            self.fail(error)
            return
        self.server_request = RequestHead(
            head.method,
            head.target,
            headers,
            11,
            head.host,
            head.scheme,
            head.length,
            True,
            head.upgrade,
            head.expect_continue,
        )
        hooks = self._hooks
        if hooks is not None and hooks.server_request:
            run_hooks(self, hooks.server_request, self.frontend.wheel, self._connect)
        else:
            self._connect()

    def _server_host(self) -> bytes:
        assert self._server is not None
        address = self._server.spec.address
        return str(address).encode("ascii", "replace") if address.kind == "tcp" else b"localhost"

    def _connect(self) -> None:
        backend, server = self.backend, self._server
        assert backend is not None and server is not None
        pool = backend.pools.get(server)
        connection = None if self._fresh or pool is None else pool.take()
        if connection is not None:
            self.reused = True
            self.t_connect = 0.0
            server.counters.reused += 1
            self._send(connection)
            return
        self.reused = False
        self._dialled = self.frontend.now()
        self._dial = connect(backend, server, self)

    def connected(self, connection: ServerConnection) -> None:
        """The connection dialled for this attempt is ready."""
        self._dial = None
        self.t_connect = self.frontend.now() - self._dialled
        self._send(connection)

    def connect_failed(self, error: ProxyError) -> None:
        """It could not be made."""
        self._dial = None
        server = self._server
        assert server is not None
        server.counters.connect_errors += 1
        self._attempt_failed(error)

    def _send(self, connection: ServerConnection) -> None:
        self._stream = stream = connection.open_stream(self)
        self._sent = True
        self._mark = self.frontend.now()
        assert self.server_request is not None
        body = self._body
        if not body:
            data = b""
        elif len(body) == 1:
            data = body[0]
        else:
            data = b"".join(body)
        stream.send_request(
            self.server_request, data, self._trailers if self._request_ended else None
        )
        if body:
            backend = self.backend
            assert backend is not None
            if self._body_size > backend.spec.retry_buffer:
                self._forget_body()
        if self._paused and not self._server_paused and self._stream is stream:
            self._pause_client(False)
        if self._client_paused and self._stream is stream:
            stream.pause_response()

    def _forget_body(self) -> None:
        self._lost = True
        self._body.clear()

    def _attempt_failed(self, error: ProxyError) -> None:
        """Before the response head: try again, or tell the client."""
        backend, server = self.backend, self._server
        assert backend is not None and server is not None
        never_sent = self._stream is None
        reused = self.reused and self._stream is not None
        replayable = not self._lost and (never_sent or self.request.method in _IDEMPOTENT)
        self._stream = None
        self._sent = self._server_paused = False
        if reused and replayable and error.kind is Kind.SERVER_GONE:
            # it died while it was idle: says nothing about the server, costs no retry
            self._fresh = True
            self._connect()
            return
        if self._lease is not None:
            self._release(error.outcome)
        if not (error.retry and replayable and self.attempts <= backend.spec.retries):
            self.fail(error)
            return
        backend.counters.retries += 1
        server.counters.retried += 1
        self.detail = error.detail
        if server not in self.tried:
            self.tried.append(server)
        self._fresh = False
        if backend.has_other(self.tried):
            backend.counters.redispatches += 1
            self._acquire()
        else:
            self._timer = self.frontend.wheel.timer(self._retry_now)
            self._timer.set(_SAME_SERVER_PAUSE)

    def _retry_now(self) -> None:
        self._timer = None
        if not self.over:
            self._acquire()

    # -- from the server ------------------------------------------------------------------------

    def server_events(self, events: list[Any]) -> None:
        """See :class:`ResponseSink`."""
        if self.over:
            return
        if self._holding:
            assert self._held is not None
            self._held.extend(events)
            return
        if self._tunnel:
            self._tunnel_events(events)
            return
        if self.response is None:
            index = self._find_head(events)
            if index < 0:
                return
            hooks = self._hooks
            if hooks is not None and hooks.response:
                self._hold(events[index:])
                run_hooks(self, hooks.response, self.frontend.wheel, self._release_held)
                return
            events = events[index:]
            self._respond(events)
            return
        self._forward_body(events)

    def _find_head(self, events: list[Any]) -> int:
        """Take interim heads and the final one out of ``events``; where its body begins, -1 if not there yet."""
        for index, event in enumerate(events):
            head: ResponseHead = event
            if head.status >= 200:
                if head.status < 300 and self.request.method == b"CONNECT":
                    self._start_tunnel(head, events[index + 1 :])
                    return -1
                self._final_head(head)
                return index + 1
            if head.status == 101:
                self._start_tunnel(head, events[index + 1 :])
                return -1
            if self.request.version >= 11:
                interim = ResponseHead(
                    head.status,
                    self.frontend.forwarder.response_headers(head),
                    head.reason,
                )
                self._client.send_response(interim, b"", None)
        return -1

    def _final_head(self, head: ResponseHead) -> None:
        self.t_response = self.frontend.now() - self._mark
        self.response = ResponseHead(
            head.status,
            self.frontend.forwarder.response_headers(head, client_version=self.request.version),
            head.reason,
            head.version,
            head.length,
        )

    def _hold(self, events: list[Any]) -> None:
        self._holding = True
        self._held = events
        if self._stream is not None:
            self._stream.pause_response()

    def _release_held(self) -> None:
        """The response filters are through."""
        events, self._held = self._held or [], None
        self._holding = False
        stream = self._stream
        if stream is not None and not self._client_paused:
            stream.resume_response()
        self._respond(events)

    def _respond(self, events: list[Any]) -> None:
        """Send the final head with what is already there of its body."""
        head = self.response
        assert head is not None
        self.status = head.status
        data, end = _gather(events)
        self.bytes_out += len(data)
        if end is not None:
            # release the server before the client: its next request may want this connection
            self._server_done()
        self._client.send_response(head, data, end)
        if end is not None and not self.over:
            self._finish(Kind.OK)
        elif end is None:
            self._forget_body()  # there is no going back now

    def _forward_body(self, events: list[Any]) -> None:
        data, end = _gather(events)
        self.bytes_out += len(data)
        if end is not None:
            self._server_done()
        self._client.send_data(data, end)
        if end is not None and not self.over:
            self._finish(Kind.OK)

    def _server_done(self) -> None:
        """The response is complete: give connection and lease back."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close(reuse=self._request_ended)
        if self._lease is not None:
            self._release(Outcome.OK)

    def server_failed(self, error: ProxyError) -> None:
        """See :class:`ResponseSink`."""
        if self.over:
            return
        if self._tunnel:
            self._stream = None
            self._client.exchange_done(reuse=False)
            self._finish(Kind.OK if error.kind is Kind.SERVER_GONE else error.kind, error.detail)
            return
        if self.response is None:
            self._attempt_failed(error)
            return
        self._stream = None
        if self._holding:
            self._holding, self._held = False, None
            self.response = None
            self.fail(error)
            return
        self._client.abort(error)
        self._finish(error.kind, error.detail)

    def server_paused(self) -> None:
        """See :class:`ResponseSink`."""
        self._server_paused = True
        if not self.over:
            self._pause_client(True)

    def server_resumed(self) -> None:
        """See :class:`ResponseSink`."""
        self._server_paused = False
        if not self.over:
            self._pause_client(False)

    def server_gone(self, kind: Kind) -> None:
        """The server went down with ``on_down = close``, or an operator ended the session."""
        if self.over:
            return
        error = ProxyError(kind)
        if self._tunnel or self.response is not None:
            self._drop_server()
            self._client.abort(error)
            self._finish(kind)
        else:
            sent = self._stream
            self._drop_server(keep_lease=True)
            self._stream = sent  # tells _attempt_failed that the request was on its way
            self.reused = False
            self._attempt_failed(error)

    # -- tunnels --------------------------------------------------------------------------------

    def _start_tunnel(self, head: ResponseHead, rest: list[Any]) -> None:
        """101 to an Upgrade, or 2xx to a CONNECT: bytes both ways from now on."""
        stream = self._stream
        assert stream is not None
        upgrade = self.request.upgrade
        if self.request.method != b"CONNECT" and upgrade is None:
            stream.close(reuse=False)
            self.server_failed(ProxyError(Kind.BAD_RESPONSE, "101 to a request without Upgrade"))
            return
        self.t_response = self.frontend.now() - self._mark
        self.status = head.status
        headers = self.frontend.forwarder.response_headers(head)
        self.response = ResponseHead(
            head.status, headers, head.reason, length=0, upgrade=head.upgrade or upgrade
        )
        self._tunnel = True
        self._body.clear()
        self._request_ended = False
        self._client.send_response(self.response, b"", None)
        self._client.start_tunnel()
        if not self.over:
            stream.start_tunnel()
        if rest:
            self._tunnel_events(rest)

    def _tunnel_events(self, events: list[Any]) -> None:
        data, end = _gather(events)
        self.bytes_out += len(data)
        self._client.send_data(data, end)
        if end is not None and self._request_ended and not self.over:
            self._finish(Kind.OK)

    # -- the end --------------------------------------------------------------------------------

    def hook_replied(self, reply: Reply) -> None:
        """A filter or a route answers in place of a server."""
        self._drop_server()
        self._held, self._holding = None, False
        self._reply(reply, Kind.REPLIED, "")

    def fail(self, error: ProxyError) -> None:
        """Nothing came of it: an error page, or a cut stream if the response has begun."""
        if self.over:
            return
        self._drop_server()
        if self.status:
            self._client.abort(error)
            self._finish(error.kind, error.detail)
            return
        self._held, self._holding = None, False
        self._reply(error_reply(error), error.kind, error.detail or self.detail)

    def _reply(self, reply: Reply, kind: Kind, detail: str) -> None:
        head = reply_head(reply, self.frontend.now())
        self.response = head
        self.status = reply.status
        body = reply.body
        if self.request.method == b"HEAD":
            if body:
                head.headers.append((b"Content-Length", b"%d" % len(body)))
            head.length, body = 0, b""
        elif reply.status in (204, 304):
            head.length, body = 0, b""
        self.bytes_out += len(body)
        reuse = not reply.close and self._request_ended
        head.keep_alive = reuse
        self._client.send_response(head, body, END)
        self._finish(kind, detail, reuse=reuse)

    def _drop_server(self, keep_lease: bool = False) -> None:
        """Leave the queue, the dial or the server, whichever it is."""
        if self.backend is not None and self._lease is None:
            self.backend.queue.leave(self)
        if self._timer is not None:
            self._timer.clear()
            self._timer = None
        dial, self._dial = self._dial, None
        if dial is not None:
            dial.cancel()
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close(reuse=False)
        if self._lease is not None and not keep_lease:
            self._release(Outcome.NEUTRAL)

    def _release(self, outcome: Outcome) -> None:
        lease, self._lease = self._lease, None
        backend, server = self.backend, self._server
        assert lease is not None and backend is not None and server is not None
        server.sessions.discard(self)
        if outcome is Outcome.OK:
            server.counters.ok += 1
        elif outcome is Outcome.FAILED:
            server.counters.failed += 1
        lease.release(outcome, self.t_response)

    def _finish(self, kind: Kind, detail: str = "", *, reuse: bool = True) -> None:
        """Exactly once, whatever happened."""
        assert not self.over
        self.over = True
        self.close = kind
        if detail:
            self.detail = detail
        if self._lease is not None:
            if self._stream is not None:
                stream, self._stream = self._stream, None
                stream.close(reuse=False)
            self._release(Outcome.NEUTRAL if kind is Kind.OK else ProxyError(kind).outcome)
        waiting, self.waiting = self.waiting, None
        if waiting is not None:
            waiting.cancel()
        self._body.clear()
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
