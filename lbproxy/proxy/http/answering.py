"""DATA. The half of an exchange that sends the answer: the response, tunnels, replies and failures.

:class:`Answering` extends :class:`~lbproxy.proxy.http.sourcing.Sourcing`, which has the source of
the response. :class:`~lbproxy.proxy.http.exchange.Exchange` extends it with the client's calls and
the routing. The states are in :mod:`lbproxy.proxy.http.exchangestate`.

1. After a failure before the head is sent, another source replaces the first: a reply of a filter
   of phase ``failed``, another backend that a filter chose, or an error page. Later failures abort
   the client's stream.
2. A reply of a filter or of a route, and an error page, are sources too. Once one of these answers
   (``_replied``), phase ``failed`` does not run any more, and filters with ``always`` run once.
3. A source releases its server before it gives the End, because the next request of the client may
   use that connection.
"""

from __future__ import annotations

from typing import Any, Final

from lbproxy.errors import MEANING, Kind, ProxyError
from lbproxy.http.message import End, Reply, ResponseHead
from lbproxy.proxy.hooks import run_hooks
from lbproxy.proxy.http.attempts import SERVERS
from lbproxy.proxy.http.delivery import BAD_HEAD, Delivery, bad_head
from lbproxy.proxy.http.exchangestate import ExchangeState
from lbproxy.proxy.http.replies import error_reply
from lbproxy.proxy.http.replysource import ReplySource
from lbproxy.proxy.http.source import SourceReply
from lbproxy.proxy.http.sourcing import Sourcing
from lbproxy.proxy.http.tunnel import Tunnel
from lbproxy.proxy.tries import NONE_TRIED

__all__ = ["Answering"]

_OK: Final = Kind.OK  # cached lookup
_WAITING: Final = ExchangeState.WAITING
_ANSWERING: Final = ExchangeState.ANSWERING
_TUNNEL: Final = ExchangeState.TUNNEL
_FAILING: Final = ExchangeState.FAILING


class Answering(Sourcing):
    """The answering half of an exchange; see the module."""

    __slots__ = ()

    # -- the stream of the source ---------------------------------------------------------------

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

    # -- the response ---------------------------------------------------------------------------

    def _answer(self, events: list[Any]) -> None:
        """Handle a head: an interim one, the switch to a tunnel, or the final one."""
        traffic, source = self._traffic, self._source
        assert source is not None
        head: ResponseHead = events[0]
        status = head.status
        servers = source is SERVERS  # for nearly all exchanges: a comparison instead of a lookup
        origin = servers or source.origin
        if status < 200 or (status < 300 and origin and traffic.request.method == b"CONNECT"):
            self._switch(head, events)
            return
        del events[0]
        if events and type(events[-1]) is End:
            self._stream = None
        hooks = self._hooks()
        traffic.source = "server" if servers else source.name
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
        """End a tunnel for rebalancing: each side gets the closing message of its protocol, and is
        closed.
        """
        if self._tunnel is not None:
            self._tunnel.part(to_client, to_server)
        if not self.over:
            self.finish(Kind.REBALANCED)

    # -- replies and failures -------------------------------------------------------------------

    def hook_replied(self, reply: Reply) -> None:
        """Answer with a reply of a filter, a route or a source instead of a server or an error
        page.
        """
        if self.over:
            return
        if isinstance(reply, SourceReply):
            self._begin(reply.source)
            return
        error, traffic = self._error, self._traffic
        if error is not None and self._state is _FAILING:
            self._reply(reply, error.kind, error.detail, "error")
        elif self._replied:  # from a filter with ``always``
            kind = traffic.close
            self._drop(kind)
            self._reply(reply, kind, "", traffic.source)
        else:
            self._drop(Kind.REPLIED)
            self._reply(reply, Kind.REPLIED, "", "reply")

    def fail(self, error: ProxyError) -> None:
        """End without a response: with an error page, or by aborting the stream if the response has
        begun.
        """
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

    def _after_failed(self) -> None:
        """Continue after filters of phase ``failed`` without a reply: with another backend, or an
        error page.
        """
        error, traffic = self._error, self._traffic
        backend = traffic.backend
        assert error is not None
        if backend is None or traffic.backend_name == backend.name:
            self._give_up(error)
            return
        # only Servers stores the body
        lost = traffic.body_lost or traffic.body_size + len(self._early) < traffic.bytes_in
        if self._moved or lost or MEANING[error.kind].side == "client":
            traffic.backend_name = backend.name
            self._give_up(error)
            return
        self._moved = True
        traffic.tried = NONE_TRIED
        traffic.detail = error.detail
        traffic.close = _OK
        self._ask()  # in this state a further failure is final

    def _give_up(self, error: ProxyError) -> None:
        if error.kind in (Kind.DENIED, Kind.RATE_LIMITED):
            error.reference = self._traffic.request_id
        detail = error.detail or self._traffic.detail
        self._reply(error_reply(error, self.frontend.methods.allow), error.kind, detail, "error")

    def _reply(self, reply: Reply, kind: Kind, detail: str, name: str) -> None:
        """Make ``reply`` the source. ``kind`` and ``detail`` are for the log."""
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
