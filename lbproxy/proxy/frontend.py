"""DATA. A frontend in traffic: routes, features, generations and the end.

:mod:`lbproxy.proxy.admission` admits clients; :mod:`lbproxy.proxy.accounting` has counters and
access log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final
from weakref import WeakSet

from lbproxy.balance.base import Need
from lbproxy.config.model import FrontendSpec
from lbproxy.errors import Kind, ProxyError
from lbproxy.guard.connections import ConnectionLimits, ConnectionTotal
from lbproxy.http.filter import Hook, Phases, compile_phases
from lbproxy.http.forward import Forwarder
from lbproxy.http.geo import GeoLookup
from lbproxy.http.message import Limits, RequestHead
from lbproxy.http.methods import MethodPolicy
from lbproxy.http.route import Router
from lbproxy.http.upgrade import may_upgrade
from lbproxy.net.endpoints import Dialler
from lbproxy.observe.metrics import FrontendCounters
from lbproxy.proxy.admission import Admission
from lbproxy.proxy.backend import Backend
from lbproxy.proxy.feature import Feature, FeatureSet, counts_of, shown, take_over
from lbproxy.proxy.guarding import each
from lbproxy.proxy.http.pipelineline import PipelineLine
from lbproxy.proxy.policy import Hooks, Policies
from lbproxy.proxy.roles import FrontendClient
from lbproxy.proxy.routeowner import RouteOwner, take_over_routes
from lbproxy.proxy.weakhandle import WeakHandle

__all__ = ["Frontend", "Lineage"]

_IDLE_HTTP: Final = 60.0
_IDLE_TCP: Final = 3600.0


class Lineage:
    """The part of a frontend that all its generations share: counts and clients.

    ``current`` is the frontend of the newest generation. ``members`` are all frontends that a
    connection still uses.
    """

    def __init__(self, first: Frontend, total: ConnectionTotal | None) -> None:
        self.current = first
        self._members: WeakSet[WeakHandle[Frontend]] = WeakSet()
        self.counters = FrontendCounters()
        self.counts: dict[str, Any] = counts_of(first.kinds)
        self.limits = ConnectionLimits(total=total)
        self.remote_clients = 0  # clients of the workers, in a master
        self.clients: set[FrontendClient] = set()

    @property
    def members(self) -> list[Frontend]:
        """The frontends that connections still use, in no order."""
        return [handle.frontend for handle in self._members]

    def join(self, handle: WeakHandle[Frontend]) -> None:
        """Add a frontend, which holds ``handle`` as long as it exists."""
        self._members.add(handle)


class Frontend(Admission):
    """One configuration of a ``[frontend]`` section, shared by its connections.

    A reload that changes the section creates a new frontend ``after`` the old one. New connections
    use the new one, and existing connections use theirs until their next request begins. Both share
    counters, limits and clients, so only the log and ``stopping`` of a frontend change. ``kinds``,
    ``features``, ``counts``: as in a backend. ``routes``: the routes that own features.
    ``write_log``: called with each finished exchange or session; None without an access log.
    """

    def __init__(
        self,
        spec: FrontendSpec,
        dialler: Dialler,
        backends: Mapping[str, Backend],
        *,
        filters: Sequence[Any] = (),
        router: Router,
        total: ConnectionTotal | None = None,
        write_log: Callable[[Any], None] | None = None,
        after: Frontend | None = None,
        kinds: Sequence[type[Feature[Any]]] = (),
        features: FeatureSet | None = None,
        routes: Sequence[RouteOwner] = (),
    ) -> None:
        self.kinds: Sequence[type[Feature[Any]]] = kinds
        lineage = Lineage(self, total) if after is None else after.lineage
        offenders = None if after is None else after.offenders
        super().__init__(
            spec, dialler.wheel, lineage.counters, lineage.limits, write_log, offenders
        )
        self.lineage: Lineage = lineage
        self.pipelines: PipelineLine = (
            PipelineLine(dialler.wheel) if after is None else after.pipelines
        )
        self._handle = WeakHandle(self)
        self.max_requests = spec.max_requests
        self.timeout_filter = spec.timeout_filter
        self.timeout_keepalive = spec.timeout_keepalive
        self.dialler = dialler
        self.backends = backends
        self.router = router
        self.filters = tuple(filters)
        # follows the alert ``attack`` for this frontend
        self.alarm: Callable[[bool], None] | None = None
        self.tracks: Mapping[str, Any] = {}  # set by a feature
        self.geo: GeoLookup | None = None  # set by a feature
        self.forwarder = Forwarder(spec)
        self.methods = MethodPolicy(spec)
        self.plain_methods = self.methods.plain
        self.takes_get = b"GET" in self.plain_methods  # comparing costs less than hashing
        self.request_limits = Limits(
            header_bytes=spec.max_header_bytes,
            header_count=spec.max_headers,
            url_bytes=spec.max_url,
            body_bytes=spec.max_body,
        )
        self.keepalive = spec.timeout_keepalive > 0
        self.abort_on_close = spec.abort_on_close
        self.client_timeout = spec.timeout_client or (
            _IDLE_TCP if spec.mode == "tcp" else _IDLE_HTTP
        )
        self.looks_at_hello = spec.mode == "tcp" and self._needs_hello()
        self.clients = lineage.clients
        self.counts: dict[str, Any] = lineage.counts
        self.features: dict[str, Feature[Any]] = {}
        take_over(self, {} if after is None else after.features, features or {})
        self.routes = tuple(routes)
        take_over_routes(() if after is None else after.routes, self.routes)
        self.compile(compile_phases(filters))
        if after is None:
            self.lead()

    def compile(self, filters: Phases) -> None:
        """Combine ``filters`` with features, backends and routes (:mod:`lbproxy.proxy.policy`)."""
        routes = [one.features for one in self.routes]
        self.policies = Policies(filters, self.backends, self.router, self.features, routes)
        self.early: tuple[Hook, ...] = self.policies.early
        self.own_hooks: Hooks = self.policies.own

    @property
    def client_count(self) -> int:
        """Number of client connections, here and in the workers of a master."""
        return len(self.clients) + self.lineage.remote_clients

    def lead(self) -> None:
        """Become the current frontend of the lineage, with its new clients and its log."""
        lineage = self.lineage
        before, lineage.current = lineage.current, self
        self.followers = before.followers
        lineage.join(self._handle)
        lineage.limits.maxconn = self.spec.maxconn
        lineage.limits.maxconn_per_ip = self.spec.maxconn_per_ip
        for older in lineage.members:
            older.write_log = self.write_log

    def _needs_hello(self) -> bool:
        """Return whether a route, or the balancer of its backend, needs data from the
        ClientHello.
        """
        routes = self.spec.routes
        filters = [one for owner in self.backends.values() for one in owner.spec.filters]
        conditions = [one.conditions for one in routes]
        conditions += [one.conditions for one in (*self.spec.filters, *filters)]
        if any(verb in ("sni", "alpn") for some in conditions for verb, _, _ in some):
            return True
        targets = {self.spec.backend, *[route.backend for route in routes]} & self.backends.keys()
        return any(Need.SNI in self.backends[name].needs for name in targets)

    def may_upgrade(self, head: RequestHead) -> bool:
        """Return whether the protocol switch that ``head`` requests is allowed."""
        return may_upgrade(self.spec.upgrade, head)

    # -- the end of traffic ---------------------------------------------------------------------

    def feature_snapshot(self) -> dict[str, Any]:
        """Return the snapshots of the features as plain JSON types."""
        return shown(self)

    def all_features(self) -> Iterator[Feature[Any]]:
        """Return the features of the frontend and of its routes."""
        yield from self.features.values()
        for route in self.routes:
            yield from route.features.values()

    # -- stopping -------------------------------------------------------------------------------

    def start(self) -> None:
        """Start to serve, also after :meth:`stop`."""
        self.stopping = False
        each(self.all_features(), "start")

    def stop(self, *, idle: bool = True) -> None:
        """Accept no new clients. Idle clients are closed at once, busy ones after their request.

        ``idle`` False: idle clients may send one more request and are closed after it, because a
        request sent at the moment of the close would be lost.
        """
        for member in self.lineage.members:
            member.stopping = True
        each(self.all_features(), "retire")
        if not idle:
            return
        for client in list(self.clients):
            client.shut()

    def abort(self) -> int:
        """Abort all client connections; return their number."""
        clients = list(self.clients)
        for client in clients:
            client.kill(ProxyError(Kind.SHUTDOWN))
        each(self.all_features(), "close")
        return len(clients)
