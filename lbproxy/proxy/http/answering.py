"""DATA. The half of an exchange that answers: its source, the response, replies and failures.

:class:`Answering` is the base of :class:`~lbproxy.proxy.http.exchange.Exchange`, which adds what
the client does and where the request goes. Their states are in
:mod:`lbproxy.proxy.http.exchangestate`.

1. A failure before the head is sent puts another source in place of the first: a reply of a filter
   of phase ``failed``, another backend that one chose, or an error page. From then on it aborts the
   client's stream.
2. A reply of a filter or of a route, and an error page, are sources too. Once one of these answers
   (``_replied``), phase ``failed`` does not run any more, and filters with ``always`` run once.
3. A source releases its server before it gives the End: the next request of the client may use that
   connection.
4. :meth:`Answering.finish` runs exactly once: counters, log, filters of phase ``finish``, then
   ``exchange_done`` of the client's stream.
"""

from __future__ import annotations

from typing import Any, Final

from twisted.logger import Logger
from twisted.python.failure import Failure

from lbproxy.errors import MEANING, Kind, ProxyError
from lbproxy.http.message import END, End, Reply, ResponseHead
from lbproxy.proxy.frontend import Frontend
from lbproxy.proxy.hooks import run_hooks
from lbproxy.proxy.http.delivery import BAD_HEAD, Delivery, DeliveryOwner, bad_head
from lbproxy.proxy.http.exchangestate import ExchangeState
from lbproxy.proxy.http.replies import error_reply
from lbproxy.proxy.http.replysource import ReplySource
from lbproxy.proxy.http.source import STARTING, Source, SourceReply
from lbproxy.proxy.http.streams import ClientStream, SourceStream
from lbproxy.proxy.http.traffic import HTTPTraffic
from lbproxy.proxy.http.tunnel import Tunnel
from lbproxy.proxy.policy import Hooks
from lbproxy.proxy.ratelog import Quiet
from lbproxy.proxy.tries import NONE_TRIED

__all__ = ["Answering"]

_OK: Final = Kind.OK  # looked up once
_quiet: Final = Quiet(Logger(__name__))


_ASKED: Final = ExchangeState.ASKED
_WAITING: Final = ExchangeState.WAITING
_ANSWERING: Final = ExchangeState.ANSWERING
_TUNNEL: Final = ExchangeState.TUNNEL
_FAILING: Final = ExchangeState.FAILING
_OVER: Final = ExchangeState.OVER


class Answering(DeliveryOwner):
    """See the module."""

    __slots__ = (
        "_always_ran",
        "_client",
        "_client_paused",
        "_delivery",
        "_early",
        "_error",
        "_moved",
        "_paused",
        "_replied",
        "_source",
        "_state",
        "_stream",
        "_traffic",
        "_trailers",
        "_tunnel",
        "frontend",
    )

    def __init__(self, frontend: Frontend, client: ClientStream, traffic: HTTPTraffic) -> None:
        super().__init__(traffic)
        self._traffic = traffic  # typed, for compiled code
        self.frontend = frontend
        self._client = client
        self._state = _ASKED
        self._source: Source | None = None
        self._stream: SourceStream | None = None
        self._delivery: Delivery | None = None
        self._tunnel: Tunnel | None = None
        self._early = b""  # request body that came before there was a source
        self._trailers: End = END
        self._paused = False  # the client is not to send more body
        self._client_paused = False  # the client does not take more response
        self._error: ProxyError | None = None  # that filters of phase failed look at
        self._moved = False  # one of them chose another backend
        self._replied = False  # the source is a reply or an error page
        self._always_ran = False  # filters with ``always`` have seen a reply

    # -- the source -----------------------------------------------------------------------------

    def _ask(self) -> None:
        """Give the request to the source of its backend."""
        traffic = self._traffic
        backend = traffic.backend
        if backend is None:
            self._ask_feature()
            return
        if traffic.backend_name != backend.name:  # a filter chose another one
            try:
                traffic.go_over()
            except ProxyError as error:
                self.fail(error)
                return
            backend = traffic.backend
        policy = traffic.policy
        assert backend is not None and policy is not None
        source = policy.source
        self._begin(backend.source if source is None else source)

    def _ask_feature(self) -> None:
        """Give the request to the feature of the frontend that answers without a backend."""
        traffic = self._traffic
        policy = traffic.policy
        assert policy is not None and policy.source is not None
        if traffic.backend_name:
            why = f"a filter chose the backend {traffic.backend_name!r}; this frontend has none"
            traffic.backend_name = ""
            self.fail(ProxyError(Kind.FILTER_FAILED, why))
            return
        self._begin(policy.source)

    def _begin(self, source: Source) -> None:
        """Give the request to ``source``, which may answer or fail before this returns."""
        traffic = self._traffic
        self._state = _WAITING
        self._source = source
        self._stream = STARTING
        data, self._early = self._early, b""
        paused, self._paused = self._paused, False
        end = self._trailers if traffic.request_ended else None
        try:
            stream = source.begin(traffic.request, data, end, self)
        except BaseException as error:
            self._begin_failed(source, error)
        else:
            self._begun_with(stream)
        # a source that has failed may have been replaced by another one, which wants the body
        if paused and not self._paused and not self.over:
            self._client.resume_request()

    def _begun_with(self, stream: SourceStream) -> None:
        if not self._is_starting():
            stream.close(reuse=False)
            return
        self._stream = stream
        if self._client_paused or (self._delivery is not None and self._delivery.holding):
            stream.pause_response()

    def _is_starting(self) -> bool:
        """Return whether the source has neither answered to the end nor failed in ``begin``."""
        return self._stream is STARTING

    def _begin_failed(self, source: Source, error: BaseException) -> None:
        name = type(source).__name__
        _quiet.failure(f"{name} {type(error).__name__}", "{name} failed", Failure(), name=name)
        self.fail(ProxyError(Kind.FILTER_FAILED, f"{name}: {type(error).__name__}: {error}"))

    def server_events(self, events: list[Any]) -> None:
        """See :class:`ResponseSink`."""
        state = self._state
        if state is _ANSWERING:
            if type(events[-1]) is End:
                self._stream = None
            assert self._delivery is not None
            self._delivery.more(events)
        elif state is _WAITING:
            self._answer(events)
        elif state is _TUNNEL:
            assert self._tunnel is not None
            self._tunnel.from_server(events)
            self._end_tunnel()

    def server_failed(self, error: ProxyError) -> None:
        """See :class:`ResponseSink`."""
        self._stream = None
        if self.over:
            return
        if self._state is _TUNNEL and error.kind is _OK:
            self.finish(_OK)
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

    # -- the response ---------------------------------------------------------------------------

    def _answer(self, events: list[Any]) -> None:
        """A head is here: an interim one, the switch to a tunnel, or the final one."""
        traffic, source = self._traffic, self._source
        assert source is not None
        head: ResponseHead = events[0]
        status = head.status
        origin = source.origin
        if status < 200 or (status < 300 and origin and traffic.request.method == b"CONNECT"):
            self._switch(head, events)
            return
        del events[0]
        if events and type(events[-1]) is End:
            self._stream = None
        hooks = self._hooks()
        traffic.source = source.name
        if origin:
            head = self.frontend.forwarder.response(head, client_version=traffic.request.version)
            filters = hooks.response
        else:
            filters = () if self._always_ran else hooks.always
            self._always_ran = True
            if not self._replied:
                traffic.close = Kind.REPLIED
        traffic.response = head
        self._state = _ANSWERING
        self._delivery = delivery = Delivery(self, self._client, traffic)
        if filters:
            delivery.filter(events, filters)
        else:
            delivery.send(events)

    def hold_source(self, held: bool) -> None:
        """See :class:`DeliveryOwner`."""
        stream, delivery = self._stream, self._delivery
        if stream is None:
            return
        if held:
            stream.pause_response()
        elif not self._client_paused and (delivery is None or not delivery.holding):
            stream.resume_response()

    def drop_source(self) -> None:
        """See :class:`DeliveryOwner`."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close(reuse=False)

    def delivered(self) -> None:
        """See :class:`DeliveryOwner`."""
        self._delivery = None
        self.finish(self._traffic.close)

    # -- tunnels --------------------------------------------------------------------------------

    def _switch(self, head: ResponseHead, events: list[Any]) -> None:
        """Forward an interim head, or start the tunnel of a 101 or a 2xx to CONNECT."""
        traffic, stream = self._traffic, self._stream
        response = self.frontend.forwarder.response(head)
        if head.status < 200 and head.status != 101:
            if traffic.request.version >= 11:
                self._client.send_response(response, b"", None)
            return
        assert stream is not None
        traffic.status = head.status
        traffic.response = response
        response.length = 0
        response.upgrade = head.upgrade or traffic.request.upgrade
        self._state = _TUNNEL
        self._tunnel = tunnel = Tunnel(self, self._client, stream)
        tunnel.open(response, events[1:])
        self._end_tunnel()

    def _end_tunnel(self) -> None:
        if self._tunnel is not None and self._tunnel.ended and not self.over:
            self.finish(_OK)

    def part(self, to_client: bytes, to_server: bytes) -> None:
        """End a tunnel for the sake of balance: each side gets its last words, and is closed after
        them."""
        if self._tunnel is not None:
            self._tunnel.part(to_client, to_server)
        if not self.over:
            self.finish(Kind.REBALANCED)

    # -- replies and failures -------------------------------------------------------------------

    def hook_replied(self, reply: Reply) -> None:
        """A filter, a route or a source answers in place of a server or of an error page."""
        if self.over:
            return
        if isinstance(reply, SourceReply):
            self._begin(reply.source)
            return
        error, traffic = self._error, self._traffic
        if error is not None and self._state is _FAILING:
            self._reply(reply, error.kind, error.detail, "error")
        elif self._replied:  # a filter with ``always``
            kind = traffic.close
            self._drop(kind)
            self._reply(reply, kind, "", traffic.source)
        else:
            self._drop(Kind.REPLIED)
            self._reply(reply, Kind.REPLIED, "", "reply")

    def fail(self, error: ProxyError) -> None:
        """End without a response: an error page, or a cut stream if the response has begun."""
        if self.over:
            return
        traffic = self._traffic
        self._drop(error.kind)
        if traffic.status:
            self._client.abort(error)
            self.finish(error.kind, error.detail)
            return
        failed = self._hooks().failed
        if failed and self._state is not _FAILING and not self._replied:
            self._error = error
            self._state = _FAILING
            traffic.response = None
            run_hooks(self, traffic, failed, self._after_failed, error)
        else:
            self._give_up(error)

    def _hooks(self) -> Hooks:
        hooks = self._traffic.hooks
        return self.frontend.own_hooks if hooks is None else hooks

    def _after_failed(self) -> None:
        """Filters of phase ``failed`` gave no reply: another backend, or a page."""
        error, traffic = self._error, self._traffic
        backend = traffic.backend
        assert error is not None
        if backend is None or traffic.backend_name == backend.name:
            self._give_up(error)
            return
        # a source other than Servers keeps no body
        lost = traffic.body_lost or traffic.body_size + len(self._early) < traffic.bytes_in
        if self._moved or lost or MEANING[error.kind].side == "client":
            traffic.backend_name = backend.name
            self._give_up(error)
            return
        self._moved = True
        traffic.tried = NONE_TRIED
        traffic.detail = error.detail
        traffic.close = _OK
        self._ask()  # in this state a failure of its own is the end

    def _give_up(self, error: ProxyError) -> None:
        if error.kind is Kind.DENIED:
            error.reference = self._traffic.request_id
        detail = error.detail or self._traffic.detail
        self._reply(error_reply(error, self.frontend.methods.allow), error.kind, detail, "error")

    def _reply(self, reply: Reply, kind: Kind, detail: str, name: str) -> None:
        """Let ``reply`` be the source; ``kind`` and ``detail`` are for the log."""
        traffic = self._traffic
        self._replied = True
        traffic.close = kind
        if detail:
            traffic.detail = detail
        try:
            source = ReplySource(reply, name)
        except BAD_HEAD as error:
            self.fail(bad_head(self.frontend.name, "reply", error))
            return
        self._begin(source)

    def _pause_client(self, paused: bool) -> None:
        if paused is not self._paused:
            self._paused = paused
            if paused:
                self._client.pause_request()
            else:
                self._client.resume_request()

    # -- the end --------------------------------------------------------------------------------

    def _drop(self, kind: Kind) -> None:
        """Let go of the source, of filters that wait and of the response; ``kind`` says why."""
        self._traffic.close = kind
        self._traffic.response_transforms = None  # they were meant for that response
        self.drop_source()
        waiting, self.waiting = self.waiting, None
        if waiting is not None:
            waiting.cancel()
        delivery, self._delivery = self._delivery, None
        if delivery is not None:
            delivery.close()

    def finish(self, kind: Kind, detail: str = "") -> None:
        """Exactly once, whatever happened."""
        assert not self.over
        self.over = True
        self._state = _OVER
        traffic = self._traffic
        traffic.close = kind
        if detail:
            traffic.detail = detail
        if self._stream is not None or self.waiting is not None or self._delivery is not None:
            self._drop(kind)
        self._tunnel = None  # it knows us: no cycle for the garbage collector
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
        self._client.exchange_done(reuse=traffic.request_ended and not traffic.tunnelled)
