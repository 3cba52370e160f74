"""DATA. What is known about one HTTP exchange: what filters and the access log read, and what its two halves share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred

from lbproxy.balance.lease import Lease
from lbproxy.balance.server import ServerState
from lbproxy.http.message import END, End, RequestHead
from lbproxy.net.timers import Timer
from lbproxy.observe.record import HTTPRecord
from lbproxy.proxy.http.streams import ClientStream, ServerStream

if TYPE_CHECKING:
    from lbproxy.health.breaker import RetryLimit
    from lbproxy.net.endpoints import Dial
    from lbproxy.proxy.backend import Backend
    from lbproxy.proxy.frontend import Frontend, Hooks

__all__ = ["HTTPTraffic"]


class HTTPTraffic(HTTPRecord):
    """The state of an exchange; :mod:`lbproxy.proxy.http.attempt` and :mod:`lbproxy.proxy.http.exchange` act on it.

    The attributes without underscore are for filters and the access log (``docs/filters.rst``); times as in
    :class:`lbproxy.observe.record.HTTPRecord`.  ``status``: of what was sent to the client; 0: nothing yet.
    """

    __slots__ = (
        "_body",
        "_body_size",
        "_client",
        "_client_paused",
        "_dial",
        "_dialled",
        "_fresh",
        "_held",
        "_hooks",
        "_lease",
        "_lost",
        "_mark",
        "_paused",
        "_request_ended",
        "_response_ended",
        "_retrying",
        "_sent",
        "_server",
        "_server_paused",
        "_server_status",
        "_stream",
        "_timer",
        "_trailers",
        "_tunnel",
        "alpn",
        "backend",
        "filter_timeout",
        "frontend",
        "over",
        "priority",
        "scheme",
        "server_request",
        "sni",
        "tried",
        "vars",
        "waiting",
        "watched",
    )

    def __init__(
        self,
        frontend: Frontend,
        client: ClientStream,
        head: RequestHead,
        started: float,
        t_header: float = 0.0,
    ) -> None:
        info = client.info
        super().__init__(info, head, started, t_header)
        self.frontend = frontend
        self.frontend_name = frontend.name
        self.server_request: RequestHead | None = None
        self.scheme = "http" if info.tls is None else "https"
        self.sni = info.sni
        self.alpn = info.alpn
        self.backend: Backend | None = None
        self.priority = 0  # in the backend's queue; lower ones first
        self.tried: list[ServerState] = []
        self.filter_timeout = frontend.timeout_filter
        self.over = False
        self.waiting: Deferred[Any] | None = None  # the asynchronous filter that is waited for
        self.vars: dict[str, Any] | None = None  # a filter's own notes from phase to phase
        self._client = client
        self._retrying: RetryLimit | None = None
        self._body: list[bytes] = []  # request body not yet sent, or kept for a replay
        self._body_size = 0
        self._lost = False  # body bytes were sent and not kept: no replay
        self._sent = False  # the present attempt has sent the head
        self._request_ended = False  # in a tunnel: the client sends no more
        self._response_ended = False  # in a tunnel: the server sends no more
        self._trailers: End = END
        self._paused = False  # the client is not to send more body
        self._server_status = 0  # that it answered with, if that is an error; for passive health
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
        self._timer: Timer | None = None
        self._tunnel = False
        self.watched: Any = None  # a Watched: of a tunnel of a backend with ``rebalance``

    @property
    def server(self) -> ServerState | None:
        """The server of the present attempt, or of the last one."""
        return self._server

    def kept_body(self) -> bytes | None:
        """The whole request body; None if it is not complete, or no longer kept.  For filters of phase ``response``."""
        if self._lost or not self._request_ended:
            return None
        return b"".join(self._body)

    def tap_response(self, tap: Callable[[Any, Any], Any], note: Any) -> None:
        """Let ``tap(stream, note)`` stand between us and the client's stream.  For filters of phase ``response``."""
        self._client = tap(self._client, note)

    @property
    def tunnelled(self) -> bool:
        """It has become a tunnel: WebSocket, another upgrade, or CONNECT."""
        return self._tunnel
