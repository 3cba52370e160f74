"""DATA. The source that answers an exchange: its start, its back-pressure, its end.

:class:`Sourcing` is the base of :class:`~lbproxy.proxy.http.answering.Answering`, which handles the
response of the source. The states are in :mod:`lbproxy.proxy.http.exchangestate`.

:meth:`Sourcing.finish` runs exactly once: counters, log, filters of phase ``finish``, then
``exchange_done`` of the client's stream.
"""

from __future__ import annotations

from typing import Any, Final

from twisted.logger import Logger
from twisted.python.failure import Failure

from lbproxy.errors import Kind, ProxyError
from lbproxy.http.message import END, End
from lbproxy.proxy.frontend import Frontend
from lbproxy.proxy.http.clientsend import ClientSender
from lbproxy.proxy.http.delivery import Delivery, DeliveryOwner
from lbproxy.proxy.http.exchangestate import ExchangeState
from lbproxy.proxy.http.source import STARTING, Source
from lbproxy.proxy.http.streams import ClientStream, SourceStream
from lbproxy.proxy.http.traffic import HTTPTraffic
from lbproxy.proxy.http.tunnel import Tunnel
from lbproxy.proxy.policy import Hooks
from lbproxy.proxy.ratelog import Quiet

__all__ = ["Sourcing"]

_quiet: Final = Quiet(Logger(__name__))

_ASKED: Final = ExchangeState.ASKED  # cached, because each enum member access costs a lookup
_WAITING: Final = ExchangeState.WAITING
_OVER: Final = ExchangeState.OVER


class Sourcing(DeliveryOwner):
    """See the module.

    Independent of the state are the back-pressure of both sides (``_paused``, ``_client_paused``),
    and flags for events that happen once: another backend after a failure (``_moved``), a reply as
    the source (``_replied``), and filters with ``always`` (``_always_ran``).
    """

    __slots__ = (
        "_always_ran",
        "_client",
        "_client_paused",
        "_delivery",
        "_early",
        "_error",
        "_most_body",
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
        self._most_body = -1  # maximum bytes that the route allows
        self._early = b""  # request body received before the source was known
        self._trailers: End = END
        self._paused = False  # the client must not send more body at present
        self._client_paused = False  # the client accepts no more response data at present
        self._error: ProxyError | None = None  # the failure that filters of phase failed see
        self._moved = False  # a filter chose another backend
        self._replied = False  # the source is a reply or an error page
        self._always_ran = False  # filters with ``always`` have seen a reply

    # -- its beginning --------------------------------------------------------------------------

    def _ask(self) -> None:
        """Pass the request to the source of its backend."""
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
        """Pass the request to the feature of the frontend that answers without a backend."""
        traffic = self._traffic
        policy = traffic.policy
        assert policy is not None and policy.source is not None
        if traffic.backend_name:
            why = f"a filter chose the backend {traffic.backend_name!r}, but this frontend has none"
            traffic.backend_name = ""
            self.fail(ProxyError(Kind.FILTER_FAILED, why))
            return
        self._begin(policy.source)

    def _begin(self, source: Source) -> None:
        """Pass the request to ``source``, which may answer or fail before this returns."""
        traffic = self._traffic
        self._state = _WAITING
        self._source = source
        self._stream = STARTING
        data, self._early = self._early, b""
        paused, self._paused = self._paused, False
        end = self._trailers if traffic.request_ended else None
        try:
            stream = source.begin(traffic.request, data, end, self)
        except ProxyError as error:  # such as an ambiguous path that a condition must compare
            self.fail(error)
        except BaseException as error:
            self._begin_failed(source, error)
        else:
            self._begun_with(stream)
        # a failed source may have been replaced by another one, which needs the body
        if paused and not self._paused and not self.over:
            self._client.resume_request()

    def _begun_with(self, stream: SourceStream) -> None:
        if not self.starting:
            if stream is not STARTING:
                stream.close(reuse=False)
            return
        self._stream = stream
        if self._client_paused or (self._delivery is not None and self._delivery.holding):
            stream.pause_response()

    @property
    def starting(self) -> bool:
        """True while ``begin`` of the source runs and it has neither completed nor failed nor been
        replaced.
        """
        return self._stream is STARTING

    def _begin_failed(self, source: Source, error: BaseException) -> None:
        name = type(source).__name__
        _quiet.failure(f"{name} {type(error).__name__}", "{name} failed", Failure(), name=name)
        self.fail(ProxyError(Kind.FILTER_FAILED, f"{name}: {type(error).__name__}: {error}"))

    # -- back-pressure --------------------------------------------------------------------------

    def server_paused(self) -> None:
        """See :class:`ResponseSink`."""
        if not self.over:
            if self._tunnel is not None:
                self._tunnel.full = True
            self._pause_client(True)

    def server_resumed(self) -> None:
        """See :class:`ResponseSink`."""
        if self.over:
            return
        tunnel = self._tunnel
        if tunnel is not None:
            tunnel.full = False
            if tunnel.held:
                return
        self._pause_client(False)

    def _pause_client(self, paused: bool) -> None:
        if paused is not self._paused:
            self._paused = paused
            if paused:
                self._client.pause_request()
            else:
                self._client.resume_request()

    @property
    def response_paused(self) -> bool:
        """True if the source must pause, because the client or a filter accepts no more."""
        delivery = self._delivery
        return self._client_paused or (delivery is not None and delivery.holding)

    def offer(self, data: Any) -> int:
        """Send the part of ``data`` that the client accepts now, and return its length.

        For a source whose body is in a buffer that it reuses: ``data`` is more of the body, after
        the head. If the client does not accept all of it, the response is paused. The result is -1
        if the body must be passed as bytes: with TLS, chunks or transforms, and for other
        protocols.
        """
        delivery = self._delivery
        return -1 if delivery is None else delivery.offer(data)

    def hold_source(self, held: bool) -> None:
        """See :class:`DeliveryOwner`."""
        stream, delivery = self._stream, self._delivery
        if stream is None:
            return
        if held:
            stream.pause_response()
        elif (
            not self._client_paused
            and (delivery is None or not delivery.holding)
            and (self._tunnel is None or not self._tunnel.held)
        ):
            stream.resume_response()

    def hold_tunnel(self, held: bool) -> None:
        """See :class:`DeliveryOwner`."""
        tunnel = self._tunnel
        if tunnel is None or self.over:
            return
        tunnel.held = held
        if held or not tunnel.full:
            self._pause_client(held)
        if not self.over:
            self.hold_source(held)

    # -- the end --------------------------------------------------------------------------------

    def drop_source(self) -> None:
        """See :class:`DeliveryOwner`."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close(reuse=False)

    def _drop(self, kind: Kind) -> None:
        """Drop the source, waiting filters and the response, for the reason ``kind``."""
        self._traffic.close = kind
        self._traffic.response_transforms = None  # they were meant for that response
        self.drop_source()
        waiting, self.waiting = self.waiting, None
        if waiting is not None:
            waiting.cancel()
        delivery, self._delivery = self._delivery, None
        if delivery is not None:
            delivery.close()

    def _hooks(self) -> Hooks:
        hooks = self._traffic.hooks
        return self.frontend.own_hooks if hooks is None else hooks

    def finish(self, kind: Kind, detail: str = "") -> None:
        """Finish the exchange. It runs exactly once in every case."""
        assert not self.over
        self.over = True
        self._state = _OVER
        traffic = self._traffic
        traffic.close = kind
        if detail:
            traffic.detail = detail
        if self._stream is not None or self.waiting is not None or self._delivery is not None:
            self._drop(kind)
        self._tunnel = None  # it refers to this object: avoid a cycle for the garbage collector
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
        client, reuse = self._client, traffic.request_ended and not traffic.tunnelled
        if isinstance(client, ClientSender):  # the same as below, compiled to a C call
            client.exchange_done(reuse=reuse)
        else:
            client.exchange_done(reuse=reuse)
