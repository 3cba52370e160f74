"""DATA. One HTTP request and its response, independent of the protocols of both sides.

An exchange has its public data (:class:`~lbproxy.proxy.http.traffic.HTTPTraffic`), the stream of
the client, and the stream of the :class:`~lbproxy.proxy.http.source.Source` that answers: the
servers of a backend, a reply, or a source of a feature. This module handles the client's calls, and
the filters and the route before the source is known. :mod:`lbproxy.proxy.http.answering` has the
rest, :mod:`lbproxy.proxy.http.exchangestate` the states.

The stream of the client creates an :class:`Exchange` from a complete head, and calls
:meth:`Exchange.start` with the body bytes received with it.
"""

from __future__ import annotations

from typing import Final

from lbproxy.errors import Kind, ProxyError
from lbproxy.http.message import End, Invalid, RequestHead
from lbproxy.proxy.frontend import Frontend
from lbproxy.proxy.hooks import run_hooks
from lbproxy.proxy.http.answering import Answering
from lbproxy.proxy.http.clientsend import ClientSender
from lbproxy.proxy.http.exchangestate import ExchangeState
from lbproxy.proxy.http.streams import ClientStream
from lbproxy.proxy.http.traffic import HTTPTraffic
from lbproxy.proxy.info import ConnectionInfo

__all__ = ["Exchange", "ExchangeState"]

_ASKED: Final = ExchangeState.ASKED
_WAITING: Final = ExchangeState.WAITING
_ANSWERING: Final = ExchangeState.ANSWERING
_TUNNEL: Final = ExchangeState.TUNNEL
_FAILING: Final = ExchangeState.FAILING
_OVER: Final = ExchangeState.OVER


class Exchange(Answering):
    """See the module.  ``traffic``: the data about it."""

    __slots__ = ()

    def __init__(
        self,
        frontend: Frontend,
        client: ClientStream,
        head: RequestHead,
        started: float,
        t_header: float = 0.0,
    ) -> None:
        info: ConnectionInfo
        if isinstance(client, ClientSender):  # which has a field
            info = client.info
        else:
            info = client.info
        super().__init__(frontend, client, HTTPTraffic(frontend, info, head, started, t_header))

    # -- from the client ------------------------------------------------------------------------

    def start(self, data: bytes, end: End | None) -> None:
        """Start with the body bytes received with the head."""
        frontend, traffic = self.frontend, self._traffic
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
            self.fail(ProxyError(Kind.DENIED, frontend.access.why_not(traffic.client_ip)))
            return
        early = frontend.early
        if early:
            run_hooks(self, traffic, early, self._route)
        else:
            self._route()

    def request_data(self, data: bytes) -> None:
        """Handle more of the request body; in a tunnel, bytes for the server."""
        state = self._state
        if state is _OVER:
            return
        if state is _TUNNEL:
            assert self._tunnel is not None
            self._tunnel.from_client(data)
            return
        traffic = self._traffic
        traffic.bytes_in += len(data)
        if 0 <= self._most_body < traffic.bytes_in:
            self._too_large()
            return
        if self._stream is not None:
            self._stream.send_body(data, None)
        elif state is _ASKED or state is _FAILING:
            self._early += data
            self._pause_client(True)

    def request_end(self, end: End) -> None:
        """Handle the end of the request body; in a tunnel, the end of the client's direction."""
        if self.over:
            return
        if self._tunnel is not None:
            self._tunnel.client_end(end)
            self._end_tunnel()
            return
        self._traffic.request_ended = True
        self._trailers = end
        if self._stream is not None:
            self._stream.send_body(b"", end)

    def client_invalid(self, invalid: Invalid) -> None:
        """Handle a protocol violation of the client in this request's body."""
        self.fail(ProxyError(invalid.kind, invalid.detail, invalid.status))

    def client_gone(self, error: ProxyError) -> None:
        """Handle a client that left or was too slow; nothing more can be sent to it."""
        if not self.over:
            self.finish(error.kind, error.detail)

    def client_paused(self) -> None:
        """Handle a client that does not read the response fast enough."""
        if not self._client_paused:  # transports call it with every write
            self._client_paused = True
            if self._stream is not None:
                self._stream.pause_response()

    def client_resumed(self) -> None:
        """Handle a client that reads the response again."""
        self._client_paused = False
        self.hold_source(False)

    @property
    def queued(self) -> bool:
        """True if no server has the request yet."""
        state = self._state
        return state is _ASKED or (
            state is _WAITING and (self._stream is None or self._stream.queued)
        )

    @property
    def begun(self) -> bool:
        """True if the final response head has been passed to the client's stream."""
        return self._traffic.status != 0

    @property
    def left_while(self) -> str:
        """The detail for a client that leaves before the response has :attr:`begun`."""
        if self._state is _ASKED or self._state is _ANSWERING:
            return "left while a filter ran"
        if not self.queued:
            return "left before the response began"
        retry = self._traffic.attempts > 0
        return "left while it waited for a retry" if retry else "left while it was queued"

    # -- the route ------------------------------------------------------------------------------

    def _route(self) -> None:
        frontend, traffic = self.frontend, self._traffic
        request = traffic.request
        method = request.method
        if not (frontend.takes_get and method == b"GET") and (
            method not in frontend.plain_methods and not self._takes_method(request)
        ):
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
        limits = policy.limits
        if limits is not None and limits.max_body >= 0 and not self._fits(limits.max_body):
            return
        hooks = policy.hooks
        if hooks.request:
            run_hooks(self, traffic, hooks.request, self._ask)
        else:
            self._ask()

    def _fits(self, most: int) -> bool:
        """Return whether ``most`` bytes allow the request body, as far as its size is known."""
        traffic = self._traffic
        length = traffic.request.length
        self._most_body = most
        if max(traffic.bytes_in, length or 0) <= most:
            return True
        self._too_large()
        return False

    def _too_large(self) -> None:
        """Fail, once: a filter of phase ``failed`` or a reply may run while more body arrives."""
        detail = f"the route allows a body of {self._most_body} bytes"
        self._most_body = -1
        self.fail(ProxyError(Kind.BODY_TOO_LARGE, detail))

    def _takes_method(self, request: RequestHead) -> bool:
        """Return whether to continue; if not, a refusal or a reply of lbproxy has been sent."""
        try:
            reply = self.frontend.methods.judge(request)
        except ProxyError as error:
            self.fail(error)
            return False
        if reply is not None:
            self.hook_replied(reply)
        return reply is None

    def _no_reply(self) -> None:
        self.fail(ProxyError(Kind.FILTER_FAILED, f"no reply from {self._traffic.route}"))
