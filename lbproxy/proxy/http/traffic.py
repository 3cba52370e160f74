"""DATA. The data about one HTTP exchange, for filters, balancers and the access log."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from lbproxy.balance.server import ServerState
from lbproxy.errors import Kind, ProxyError
from lbproxy.http.message import RequestHead
from lbproxy.http.transform import Transform
from lbproxy.observe.record import HTTPRecord
from lbproxy.proxy.http.bodies import StreamTap
from lbproxy.proxy.info import ConnectionInfo
from lbproxy.proxy.tries import NONE_TRIED

if TYPE_CHECKING:
    from lbproxy.proxy.backend import Backend
    from lbproxy.proxy.frontend import Frontend
    from lbproxy.proxy.policy import Hooks, RoutePolicy

__all__ = ["HTTPTraffic"]


class HTTPTraffic(HTTPRecord):
    """The argument of a filter's methods, and the input of balancers.

    :class:`lbproxy.proxy.http.exchange.Exchange` and its source update it. Times are those of
    :class:`lbproxy.observe.record.HTTPRecord`.

    ``source`` of the response: ``server``, ``reply`` (of a filter or route), ``error`` (a page); ""
    before there is one. ``status``: of what was sent to the client; 0: nothing yet.  ``server``: of
    the present attempt, or of the last one. ``server_request``: the request as the server gets it.
    ``tried``: servers whose attempts failed. ``priority``: in the backend's queue; lower ones
    first.  ``tunnelled``: a WebSocket, another upgrade, or CONNECT. ``vars``: notes of filters from
    phase to phase. ``policy``: of its route and backend, None before the route is known; ``hooks``:
    those of the policy. ``watched``: a Watched, for a tunnel of a backend with ``rebalance``.
    """

    __slots__ = (
        "alpn",
        "backend",
        "body",
        "body_lost",
        "body_size",
        "frontend",
        "hooks",
        "policy",
        "priority",
        "request_ended",
        "request_transforms",
        "response_transforms",
        "scheme",
        "server",
        "server_request",
        "sni",
        "source",
        "tried",
        "tunnelled",
        "vars",
        "watched",
    )

    def __init__(
        self,
        frontend: Frontend,
        info: ConnectionInfo,
        head: RequestHead,
        started: float,
        t_header: float,
    ) -> None:
        super().__init__(info, head, started, t_header)
        self.frontend = frontend
        self.frontend_name = frontend.name
        self.scheme = "http" if info.tls is None else "https"
        self.sni = info.sni
        self.alpn = info.alpn
        self.backend: Backend | None = None
        self.policy: RoutePolicy | None = None
        self.hooks: Hooks | None = None
        self.server: ServerState | None = None
        self.server_request: RequestHead | None = None
        self.priority = 0
        self.tried: Sequence[ServerState] = NONE_TRIED
        self.vars: dict[str, Any] | None = None
        self.source = ""
        self.request_transforms: list[Transform] | None = None
        self.response_transforms: list[Transform] | None = None
        self.tunnelled = False
        self.watched: Any = None
        self.request_ended = False
        self.body: list[bytes] | None = None  # request body not yet sent, or kept for a replay
        self.body_size = 0
        self.body_lost = False  # body bytes were sent and not kept: no replay

    def use(self, policy: RoutePolicy) -> None:
        """Apply ``policy``, and use its backend."""
        self.policy = policy
        self.hooks = policy.hooks
        self.backend = policy.backend
        self.backend_name = policy.backend_name
        if policy.priority:
            self.priority = policy.priority

    def go_over(self) -> None:
        """Change to the backend that a filter has set in ``backend_name``.

        Raises ProxyError FILTER_FAILED if it does not exist, and leaves ``backend_name`` unchanged.
        """
        name, backend, policy = self.backend_name, self.backend, self.policy
        assert backend is not None and policy is not None
        chosen = self.frontend.backends.get(name)
        if chosen is None or chosen.mode != "http":
            self.backend_name = backend.name
            raise ProxyError(Kind.FILTER_FAILED, f"no http backend {name!r} to go to")
        self.policy = policy = policy.at(name)
        self.backend = chosen
        self.hooks = policy.hooks

    def track(self, name: str, amount: float = 1.0) -> None:
        """Count ``amount`` in the ``[track name]``, for the key of this traffic.

        Raises ValueError if the configuration has no such section.
        """
        found = self.frontend.tracks.get(name)
        if found is None:
            raise ValueError(f"there is no [track {name}]")
        found.add(self, amount)

    def kept_body(self) -> bytes | None:
        """Return the whole request body; None if it is incomplete, or no longer kept.

        For filters of phase ``response``.
        """
        if self.body_lost or not self.request_ended:
            return None
        return self.joined_body()

    def joined_body(self) -> bytes:
        """Return the kept part of the request body."""
        body = self.body
        if body is None:
            return b""
        return body[0] if len(body) == 1 else b"".join(body)

    def lose_body(self) -> None:
        """Drop the request body. A replay is no longer possible."""
        self.body_lost = True
        self.body = None

    def transform_request(self, transform: Transform) -> None:
        """Send the request body of this attempt through ``transform``.

        For filters of phase ``server_request``. It runs after earlier transforms.
        """
        if self.request_transforms is None:
            self.request_transforms = []
        self.request_transforms.append(transform)

    def transform_response(self, transform: Transform) -> None:
        """Send the body of the source's response through ``transform``.

        For filters of phase ``response``. It runs after earlier transforms. A Reply that replaces
        the response drops it.
        """
        if self.response_transforms is None:
            self.response_transforms = []
        self.response_transforms.append(transform)

    def tap_response(self, tap: Callable[[Any, Any], Any], note: Any) -> None:
        """Call ``tap(stream, note)`` for the response on its way to the client's ``stream``.

        Prefer a :class:`~lbproxy.http.transform.Transform`.
        """
        self.transform_response(StreamTap(self.info, tap, note))
