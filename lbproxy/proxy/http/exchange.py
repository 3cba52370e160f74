"""DATA. One HTTP request and its response, whatever protocol either side speaks.

An exchange has what is known of it (:class:`~lbproxy.proxy.http.traffic.HTTPTraffic`), the stream
of the client, and the stream of a source that gives the response: the servers of a backend
(:mod:`lbproxy.proxy.http.attempts`).  The states:

========= ========================================================== ===========================
state     meaning                                                    next
========= ========================================================== ===========================
ASKED     filters of phases ``early`` and ``request``, and the route WAITING, OVER
WAITING   a source has the request; the final head is not here       FILTERING, ANSWERING,
                                                                     TUNNEL, OVER
FILTERING filters of phase ``response``; the rest is held            ANSWERING, OVER
ANSWERING the head is sent, the body follows                         OVER
TUNNEL    bytes both ways                                            OVER
FAILING   filters of phase ``failed``                                REPLYING, WAITING, OVER
REPLYING  a reply or page of our own, at filters with ``always``     OVER
OVER      counted and logged
========= ========================================================== ===========================

1. The client stream makes an :class:`Exchange` from a complete head, with the body bytes already
   there.
2. Until the response head is sent a failure is an error page; from then on it cuts the client's
   stream.
3. A source lets go of its server before it gives the End: the next request of the client may want
   that connection.
4. :meth:`Exchange._finish` runs exactly once: counters, log, filters of phase ``finish``, then
   ``exchange_done`` of the client's stream."""

from __future__ import annotations

from enum import Enum
from typing import Any, Final

from twisted.logger import Logger

from lbproxy.errors import MEANING, Kind, ProxyError
from lbproxy.http.message import END, End, Invalid, Reply, RequestHead, ResponseHead
from lbproxy.proxy.frontend import Frontend
from lbproxy.proxy.hooks import run_hooks
from lbproxy.proxy.http.attempts import Attempts
from lbproxy.proxy.http.bodies import TransformedBody
from lbproxy.proxy.http.replies import error_reply, reply_head
from lbproxy.proxy.http.sink import Asking
from lbproxy.proxy.http.streams import ClientStream, SourceStream
from lbproxy.proxy.http.traffic import HTTPTraffic
from lbproxy.proxy.policy import Hooks
from lbproxy.proxy.ratelog import Quiet
from lbproxy.proxy.tries import NONE_TRIED

__all__ = ["Exchange", "ExchangeState"]

_OK: Final = Kind.OK  # looked up once


class ExchangeState(Enum):
    """See the module."""

    ASKED = 0
    WAITING = 1
    FILTERING = 2
    ANSWERING = 3
    TUNNEL = 4
    FAILING = 5
    REPLYING = 6
    OVER = 7


_ASKED: Final = ExchangeState.ASKED
_WAITING: Final = ExchangeState.WAITING
_FILTERING: Final = ExchangeState.FILTERING
_ANSWERING: Final = ExchangeState.ANSWERING
_TUNNEL: Final = ExchangeState.TUNNEL
_FAILING: Final = ExchangeState.FAILING
_REPLYING: Final = ExchangeState.REPLYING
_OVER: Final = ExchangeState.OVER
_BAD_HEAD: Final = (ValueError, TypeError, AttributeError)
_quiet: Final = Quiet(Logger(__name__))


class Exchange(Asking):
    """See the module.  ``traffic``: what is known of it."""

    __slots__ = (
        "_body",
        "_client",
        "_client_paused",
        "_early",
        "_error",
        "_held",
        "_moved",
        "_paused",
        "_reply_body",
        "_reply_reuse",
        "_response_ended",
        "_state",
        "_stream",
        "_trailers",
        "frontend",
        "traffic",
    )

    def __init__(
        self,
        frontend: Frontend,
        client: ClientStream,
        head: RequestHead,
        started: float,
        t_header: float = 0.0,
    ) -> None:
        super().__init__()
        self.frontend = frontend
        self.traffic = HTTPTraffic(frontend, client.info, head, started, t_header)
        self._client = client
        self._state = _ASKED
        self._stream: SourceStream | None = None
        self._early = b""  # request body that came before there was a source
        self._trailers: End = END
        self._paused = False  # the client is not to send more body
        self._client_paused = False  # the client does not take more response
        self._held: list[Any] = []  # response events while a response filter waits
        self._response_ended = False  # in a tunnel: the server sends no more
        self._body: TransformedBody | None = None  # of a response with transforms
        self._error: ProxyError | None = None  # that filters of phase failed look at
        self._moved = False  # one of them chose another backend
        self._reply_body = b""  # of an answer of our own
        self._reply_reuse = False

    # -- from the client ------------------------------------------------------------------------

    def start(self, data: bytes, end: End | None) -> None:
        """Begin, with the body bytes that came with the head."""
        frontend, traffic = self.frontend, self.traffic
        frontend.counters.requests += 1
        if data:
            self._early = data
            traffic.bytes_in = len(data)
        if end is not None:
            traffic.request_ended = True
            self._trailers = end
        traffic.client_ip, traffic.client_port, traffic.scheme = frontend.forwarder.client(
            traffic.client_ip, traffic.request, traffic.scheme, traffic.client_port
        )
        if frontend.judges_requests and not frontend.access.allows(traffic.client_ip):
            self.fail(ProxyError(Kind.DENIED, f"{traffic.client_ip} is not allowed"))
            return
        early = frontend.early
        if early:
            run_hooks(self, traffic, early, self._route)
        else:
            self._route()

    def request_data(self, data: bytes) -> None:
        """Take more request body."""
        if self.over:
            return
        traffic, stream = self.traffic, self._stream
        traffic.bytes_in += len(data)
        if traffic.watched is not None:
            traffic.watched.from_client(data)
        if stream is not None:
            stream.send_body(data, None)
        elif self._state is _ASKED or self._state is _FAILING:
            self._early += data
            self._pause_client(True)

    def request_end(self, end: End) -> None:
        """The request body is complete; in a tunnel, the client will send no more."""
        if self.over:
            return
        self.traffic.request_ended = True
        self._trailers = end
        if self._stream is not None:
            self._stream.send_body(b"", end)
        if self._response_ended and not self.over:
            self._finish(_OK)

    def client_invalid(self, invalid: Invalid) -> None:
        """The client broke the protocol inside this request's body."""
        self.fail(ProxyError(invalid.kind, invalid.detail, invalid.status))

    def client_gone(self, error: ProxyError) -> None:
        """The client left, or was too slow; nothing more can be sent to it."""
        if not self.over:
            self._finish(error.kind, error.detail)

    def client_paused(self) -> None:
        """The client does not take the response fast enough."""
        if not self._client_paused:  # transports say it with every write
            self._client_paused = True
            if self._stream is not None:
                self._stream.pause_response()

    def client_resumed(self) -> None:
        """The client takes more of the response."""
        self._client_paused = False
        stream = self._stream
        if stream is not None and self._state is not _FILTERING and not self._is_held():
            stream.resume_response()

    @property
    def queued(self) -> bool:
        """Whether no server has the request yet."""
        state = self._state
        return state is _ASKED or (
            state is _WAITING and (self._stream is None or self._stream.queued)
        )

    @property
    def begun(self) -> bool:
        """Whether the final response head has been given to the client's stream."""
        return self.traffic.status != 0

    @property
    def left_while(self) -> str:
        """The detail for a client that leaves before the response has :attr:`begun`."""
        if self._state is _ASKED or self._state is _FILTERING:
            return "left while a filter ran"
        if not self.queued:
            return "left before the response began"
        retry = self.traffic.attempts > 0
        return "left while it waited for a retry" if retry else "left while it was queued"

    def _pause_client(self, paused: bool) -> None:
        if paused is not self._paused:
            self._paused = paused
            if paused:
                self._client.pause_request()
            else:
                self._client.resume_request()

    # -- where to -------------------------------------------------------------------------------

    def _route(self) -> None:
        frontend, traffic = self.frontend, self.traffic
        request = traffic.request
        if request.method not in frontend.plain_methods and not self._takes_method(request):
            return
        try:
            policy = frontend.policies.match(traffic)
        except ProxyError as error:
            self.fail(error)
            return
        if policy is None:
            self.fail(ProxyError(Kind.NO_ROUTE))
            return
        traffic.route = policy.text
        if policy.action is not None:
            run_hooks(self, traffic, (policy.action.reply,), self._no_reply)
            return
        traffic.use(policy)
        hooks = policy.hooks
        if hooks.request:
            run_hooks(self, traffic, hooks.request, self._ask)
        else:
            self._ask()

    def _takes_method(self, request: RequestHead) -> bool:
        """Return whether the request goes on; a refusal or an answer of lbproxy has been sent."""
        try:
            reply = self.frontend.methods.judge(request)
        except ProxyError as error:
            self.fail(error)
            return False
        if reply is not None:
            self.hook_replied(reply)
        return reply is None

    def _no_reply(self) -> None:
        self.fail(ProxyError(Kind.FILTER_FAILED, f"no reply from {self.traffic.route}"))

    def _ask(self) -> None:
        """Give the request to its source."""
        traffic = self.traffic
        backend = traffic.backend
        assert backend is not None
        if traffic.backend_name != backend.name:
            self._ask_other()
            return
        self._state = _WAITING
        data, self._early = self._early, b""
        paused, self._paused = self._paused, False
        end = self._trailers if traffic.request_ended else None
        policy = traffic.policy
        make = backend.source if policy is None or policy.source is None else policy.source
        if make is None:
            attempts = Attempts(traffic, backend, self)
            self._stream = attempts
            attempts.send_request(traffic.request, data, end)  # a direct call when compiled
        else:
            source: SourceStream = make(traffic, backend, self)
            self._stream = source
            source.send_request(traffic.request, data, end)
        if paused and not self._paused and not self.over:
            self._client.resume_request()

    def _ask_other(self) -> None:
        """A filter chose another backend, which may have a source of its own."""
        try:
            self.traffic.go_over()
        except ProxyError as error:
            self.fail(error)
            return
        self._ask()

    # -- from the source ------------------------------------------------------------------------

    def server_events(self, events: list[Any]) -> None:
        """See :class:`ResponseSink`."""
        state = self._state
        if state is _ANSWERING:
            self._forward_body(events)
        elif state is _WAITING:
            self._answer(events)
        elif state is _TUNNEL:
            self._tunnel_events(events)
        elif state is _FILTERING:
            self._held.extend(events)

    def server_failed(self, error: ProxyError) -> None:
        """See :class:`ResponseSink`."""
        self._stream = None
        if self.over:
            return
        if self._state is _TUNNEL and error.kind is _OK:
            self._finish(_OK)
        else:
            self.fail(error)

    def server_paused(self) -> None:
        """See :class:`ResponseSink`."""
        if not self.over:
            self._pause_client(True)

    def server_resumed(self) -> None:
        """See :class:`ResponseSink`."""
        if not self.over:
            self._pause_client(False)

    def _answer(self, events: list[Any]) -> None:
        """A head is here: an interim one, the switch to a tunnel, or the final one."""
        traffic = self.traffic
        head: ResponseHead = events[0]
        status = head.status
        if status < 200 or (status < 300 and traffic.request.method == b"CONNECT"):
            if status >= 200 or status == 101:
                self._start_tunnel(head, events[1:])
            elif traffic.request.version >= 11:
                self._client.send_response(self.frontend.forwarder.response(head), b"", None)
            return
        del events[0]
        if events and type(events[-1]) is End:
            self._stream = None
        traffic.source = "server"
        traffic.response = self.frontend.forwarder.response(
            head, client_version=traffic.request.version
        )
        hooks = traffic.hooks
        if hooks is not None and hooks.response:
            self._run_response_hooks(events, hooks.response)
        elif hooks is not None and hooks.server_request:
            self._respond(self._without_body(events))
        else:
            self._respond(events)

    def _run_response_hooks(self, events: list[Any], hooks: tuple[Any, ...]) -> None:
        """Keep what follows the head until the filters are through."""
        self._state = _FILTERING
        self._held = events
        run_hooks(self, self.traffic, hooks, self._release_held)
        if self._is_filtering() and self._stream is not None:
            self._stream.pause_response()

    def _is_filtering(self) -> bool:
        return self._state is _FILTERING

    def _release_held(self) -> None:
        """The response filters are through."""
        events, self._held = self._held, []
        if events and type(events[-1]) is End:
            self._stream = None
        try:
            _check_final(self.traffic.response)
        except _BAD_HEAD as error:
            self._bad_head("response", error)
            return
        self._respond(self._without_body(events))
        stream = self._stream
        if stream is not None and not self._client_paused and not self._is_held():
            stream.resume_response()

    def _without_body(self, events: list[Any]) -> list[Any]:
        """Return ``events``, without the body if filters have made this a response that has none:
        one to HEAD whose request to the server was a GET, or a 204 or 304."""
        traffic = self.traffic
        head = traffic.response
        if not isinstance(head, ResponseHead):
            return events
        if traffic.request.method != b"HEAD" and head.status not in (204, 304):
            return events
        if events and type(events[-1]) is End:
            return events[-1:]
        stream, self._stream = self._stream, None
        traffic.close = _OK
        if stream is not None:
            stream.close(reuse=False)  # there is more of it
        return [END]

    def _respond(self, events: list[Any]) -> None:
        """Send the final head with what is already there of its body."""
        traffic = self.traffic
        head = traffic.response
        data, end = _gather(events)
        self._state = _ANSWERING
        try:
            if traffic.response_transforms is not None:
                data, end = self._transformed(data, end)
            self._client.send_response(head, data, end)  # type: ignore[arg-type]
        except ProxyError as error:
            self.fail(error)
            return
        except _BAD_HEAD as error:
            self._bad_head("response", error)
            return
        traffic.status = traffic.response.status  # type: ignore[union-attr]
        traffic.bytes_out += len(data)
        if end is None:
            traffic.lose_body()  # there is no going back now
        elif not self.over:
            self._finish(_OK)

    def _bad_head(self, what: str, error: Exception) -> None:
        """A filter put something impossible into a head."""
        detail = f"{what} cannot be sent: {error}"
        name = self.frontend.name
        _quiet.warn(f"{name} head", "frontend {name}: {detail}", name=name, detail=detail)
        self.fail(ProxyError(Kind.FILTER_FAILED, detail))

    def _forward_body(self, events: list[Any]) -> None:
        data, end = _gather(events)
        if end is not None:
            self._stream = None
        if self._body is None:
            self._send_on(data, end)
            return
        try:
            data, end = self._body.feed(data, end)
        except ProxyError as error:
            self.fail(error)
            return
        self._send_on(data, end)

    def _send_on(self, data: bytes, end: End | None) -> None:
        """Send more of the body."""
        self.traffic.bytes_out += len(data)
        if data or end is not None:
            self._client.send_data(data, end)
        if end is not None and not self.over:
            self._finish(_OK)

    # -- transforms of the response -------------------------------------------------------------

    def _transformed(self, data: bytes, end: End | None) -> tuple[bytes, End | None]:
        """Begin to send the body through transforms; ProxyError if one fails."""
        traffic, frontend = self.traffic, self.frontend
        head, transforms = traffic.response, traffic.response_transforms
        assert transforms is not None
        if head is None:
            return data, end
        if traffic.request.method == b"HEAD" or head.status in (204, 304):
            if not all(one.keeps_length for one in transforms):
                head.remove_header(b"Content-Length")  # of a body that would be another one
            return data, end
        self._body = body = TransformedBody(
            transforms,
            frontend.wheel,
            frontend.timeout_filter,
            self._hold_response,
            self._send_on,
            self.fail,
        )
        return body.start(head, data, end)

    def _hold_response(self, paused: bool) -> None:
        """A transform pauses the source, or goes on."""
        stream = self._stream
        if stream is None:
            return
        if paused:
            stream.pause_response()
        elif not self._client_paused:
            stream.resume_response()

    def _is_held(self) -> bool:
        return self._body is not None and self._body.paused

    # -- tunnels --------------------------------------------------------------------------------

    def _start_tunnel(self, head: ResponseHead, rest: list[Any]) -> None:
        """101 to an Upgrade, or 2xx to a CONNECT: bytes both ways from now on."""
        stream, traffic = self._stream, self.traffic
        assert stream is not None
        traffic.status = head.status
        traffic.response = response = self.frontend.forwarder.response(head)
        response.length = 0
        response.upgrade = head.upgrade or traffic.request.upgrade
        self._state = _TUNNEL
        traffic.tunnelled = True
        traffic.request_ended = False  # the client may send bytes again
        backend = traffic.backend
        if backend is not None and backend.rebalancer is not None:
            traffic.watched = backend.rebalancer.watch(response.upgrade or b"")
        first = stream.start_tunnel()
        self._client.send_response(response, b"", None)
        early, ended = self._client.start_tunnel()
        self._join(first, rest, early, ended)

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
        traffic = self.traffic
        data, end = _gather(events)
        traffic.bytes_out += len(data)
        if traffic.watched is not None:
            traffic.watched.from_server(data)
        self._client.send_data(data, end)
        if end is not None:
            self._response_ended = True
            if traffic.request_ended and not self.over:
                self._finish(_OK)

    def part(self, to_client: bytes, to_server: bytes) -> None:
        """End a tunnel for the sake of balance: each side gets its last words, and is closed after
        them."""
        if to_server and self._stream is not None:
            self._stream.send_body(to_server, None)
        if to_client and not self.over:
            self._client.send_data(to_client, None)
        if not self.over:
            self._finish(Kind.REBALANCED)

    # -- the end --------------------------------------------------------------------------------

    def hook_replied(self, reply: Reply) -> None:
        """A filter or a route answers in place of a server, or in place of an error page."""
        if self.over:
            return
        error, traffic = self._error, self.traffic
        if error is not None and self._state is _FAILING:
            self._reply(reply, error.kind, error.detail, "error")
        elif self._state is _REPLYING:  # a filter with ``always``
            self._reply(reply, traffic.close, "", traffic.source)
        else:
            self._drop(Kind.REPLIED)
            self._reply(reply, Kind.REPLIED, "", "reply")

    def fail(self, error: ProxyError) -> None:
        """End without a response: an error page, or a cut stream if the response has begun."""
        if self.over:
            return
        self._drop(error.kind)
        self.traffic.response_transforms = None
        if self.traffic.status:
            self._client.abort(error)
            self._finish(error.kind, error.detail)
            return
        failed = self._hooks().failed
        if failed and self._state is not _FAILING and self._state is not _REPLYING:
            self._error = error
            self._state = _FAILING
            self.traffic.response = None
            run_hooks(self, self.traffic, failed, self._after_failed, error)
        else:
            self._give_up(error)

    def _hooks(self) -> Hooks:
        hooks = self.traffic.hooks
        return self.frontend.own_hooks if hooks is None else hooks

    def _after_failed(self) -> None:
        """Filters of phase ``failed`` gave no reply: another backend, or a page."""
        error, traffic, backend = self._error, self.traffic, self.traffic.backend
        assert error is not None
        if backend is None or traffic.backend_name == backend.name:
            self._give_up(error)
            return
        # a source that is not Attempts keeps no body
        lost = traffic.body_lost or traffic.body_size + len(self._early) < traffic.bytes_in
        if self._moved or lost or MEANING[error.kind].side == "client":
            traffic.backend_name = backend.name
            self._give_up(error)
            return
        self._moved = True
        traffic.tried = NONE_TRIED
        traffic.detail = error.detail
        self._ask()  # in this state a failure of its own is the end

    def _give_up(self, error: ProxyError) -> None:
        detail = error.detail or self.traffic.detail
        self._reply(error_reply(error, self.frontend.methods.allow), error.kind, detail, "error")

    def _drop(self, kind: Kind) -> None:
        """Let go of the source and of filters that wait; ``kind`` says why."""
        self.traffic.close = kind
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close(reuse=False)
        waiting, self.waiting = self.waiting, None
        if waiting is not None:
            waiting.cancel()
        body, self._body = self._body, None
        if body is not None:
            body.close()

    def _reply(self, reply: Reply, kind: Kind, detail: str, source: str) -> None:
        """Send an answer of our own, after filters with ``always``."""
        traffic = self.traffic
        self._held = []
        traffic.response_transforms = None  # they were meant for the server's body
        traffic.source = source
        traffic.close = kind
        if detail:
            traffic.detail = detail
        first = self._state is not _REPLYING
        self._state = _REPLYING
        try:
            self._make_reply(reply)
        except _BAD_HEAD as error:
            self._bad_head("reply", error)
            return
        always = self._hooks().always
        if always and first:
            run_hooks(self, traffic, always, self._send_reply)
        else:
            self._send_reply()

    def _make_reply(self, reply: Reply) -> None:
        """Set ``traffic.response``.  ValueError and the like if the reply is impossible."""
        traffic = self.traffic
        if not 200 <= reply.status <= 999:
            raise ValueError(f"status {reply.status}")
        head = reply_head(reply, self.frontend.wheel.wall())
        body = reply.body
        if traffic.request.method == b"HEAD":
            if body:
                head.add_header(b"Content-Length", b"%d" % len(body))
            head.length, body = 0, b""
        elif reply.status in (204, 304):
            head.length, body = 0, b""
        head.keep_alive = self._reply_reuse = not reply.close and traffic.request_ended
        self._reply_body = body
        traffic.response = head

    def _send_reply(self) -> None:
        traffic, body = self.traffic, self._reply_body
        try:
            _check_final(traffic.response)
            if traffic.response.status in (204, 304):  # type: ignore[union-attr]
                body = b""
            self._client.send_response(traffic.response, body, END)  # type: ignore[arg-type]
        except _BAD_HEAD as error:
            self._bad_head("reply", error)
            return
        traffic.status = traffic.response.status  # type: ignore[union-attr]
        traffic.bytes_out += len(body)
        if not self.over:
            self._finish(traffic.close, reuse=self._reply_reuse)

    def _finish(self, kind: Kind, detail: str = "", *, reuse: bool = True) -> None:
        """Exactly once, whatever happened."""
        assert not self.over
        self.over = True
        self._state = _OVER
        traffic = self.traffic
        traffic.close = kind
        if detail:
            traffic.detail = detail
        if self._stream is not None or self.waiting is not None or self._body is not None:
            self._drop(kind)
        traffic.body = None
        server = traffic.server
        if server is not None:
            server.counters.bytes_in += traffic.bytes_in
            server.counters.bytes_out += traffic.bytes_out
        frontend = self.frontend
        traffic.t_total = frontend.now() - traffic.started
        frontend.exchange_over(traffic)
        hooks = traffic.hooks
        for hook in hooks.finish if hooks is not None else frontend.own_hooks.finish:
            frontend.run_finish(hook, traffic)
        self._client.exchange_done(reuse=reuse and traffic.request_ended and not traffic.tunnelled)


def _check_final(head: Any) -> None:
    """Raise ValueError, or TypeError or AttributeError, for a head that cannot be a final one."""
    if head.status < 200:
        raise ValueError(f"status {head.status}")


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
