"""DATA. The choice of a TCP session: its route, its backend and its server.

It is the middle part of :class:`lbproxy.proxy.tcp.session.Session`, whose docstring numbers the
rules.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lbproxy.balance.lease import Lease
from lbproxy.errors import Kind, ProxyError
from lbproxy.proxy.hooks import run_hooks
from lbproxy.proxy.http.streams import ConnectionInfo
from lbproxy.proxy.tcp.attempt import TCPAttempt
from lbproxy.proxy.tcp.ends import TwoEnds
from lbproxy.proxy.tcp.state import SessionState

if TYPE_CHECKING:
    from lbproxy.proxy.backend import Backend
    from lbproxy.proxy.frontend import Frontend
    from lbproxy.proxy.policy import RoutePolicy

__all__ = ["Routing"]

_WAITING: Final = SessionState.WAITING  # cached, because each enum member access costs a lookup
_LEASED: Final = SessionState.LEASED


class Routing(TwoEnds):
    """A session until it has a server."""

    __slots__ = ("_mark", "_policy")

    def __init__(self, frontend: Frontend, info: ConnectionInfo) -> None:
        super().__init__(frontend, info)
        self._policy: RoutePolicy | None = None
        self._mark = 0.0  # time of joining the queue

    def _connect(self) -> None:
        """Dial the server of the lease."""
        raise NotImplementedError

    def _route(self) -> None:
        policy = self.frontend.policies.match(self)
        if policy is None:
            self.fail(ProxyError(Kind.NO_ROUTE))
            return
        self.route = policy.text
        if policy.priority:
            self.priority = policy.priority
        self._use(policy)
        hooks = policy.hooks
        if hooks.request:
            run_hooks(self, self, hooks.request, self._acquire)
        else:
            self._acquire()

    def _use(self, policy: RoutePolicy) -> None:
        """Apply ``policy``, and use its backend."""
        self._policy = policy
        self._hooks = policy.hooks
        self._limits = policy.limits
        self.backend = policy.backend
        self.backend_name = policy.backend_name

    def _go_elsewhere(self, backend: Backend) -> Backend | None:
        """Return the backend that a filter chose instead of ``backend``; None if it cannot be
        used.
        """
        name = self.backend_name
        chosen = self.frontend.backends.get(name)
        if chosen is None or chosen.mode != "tcp":
            self.backend_name = backend.name
            self.fail(ProxyError(Kind.FILTER_FAILED, f"there is no tcp backend {name!r}"))
            return None
        policy = self._policy
        assert policy is not None
        self._use(policy.at(name))
        return chosen

    def _acquire(self) -> None:
        backend = self.backend
        assert backend is not None
        if backend.name != self.backend_name:
            chosen = self._go_elsewhere(backend)
            if chosen is None:
                return
            backend = chosen
        self.state = _WAITING
        try:
            lease = backend.acquire(self, self, self.tried)
        except ProxyError as error:
            self.fail(error)
            return
        if lease is None:
            self._mark = self.frontend.now()
        else:
            self._take(backend, lease, 0.0)

    def leased(self, lease: Lease) -> None:
        """Handle a lease from the queue."""
        assert self.backend is not None
        self._take(self.backend, lease, self.frontend.now() - self._mark)

    def refused(self, error: ProxyError) -> None:
        """Handle a refusal by the queue."""
        if self.backend is not None:
            self.backend.turned_away(error.kind)
        self.fail(error)

    def _take(self, backend: Backend, lease: Lease, waited: float) -> None:
        self._attempt = attempt = TCPAttempt(self, backend, lease)
        self.state = _LEASED
        self.server_name = attempt.server.spec.name
        self.attempts += 1
        self.t_queue = waited if self.t_queue < 0.0 else self.t_queue + waited
        hooks = self._hooks
        if hooks is not None and hooks.server_request:
            run_hooks(self, self, hooks.server_request, self._connect)
        else:
            self._connect()

    def _retry(self) -> None:
        """See :class:`TwoEnds`."""
        self._acquire()
