"""CONTROL. A prepared generation: all objects are created and checked, and nothing changes before
:meth:`Plan.commit`.

:mod:`lbproxy.generation.assemble` creates plans. The first plan of a process creates all objects.
The plan of a reload keeps those that its configuration does not change:

1. A backend with the same name and mode continues: pools, queue, leases, counters. Servers that
   keep name and address continue too: counters, health, changes by operators.
2. Its checks continue if ``check`` is the same, its name look-ups if ``resolve_every`` is, a filter
   or balancer if its line is. A feature decides for itself
   (:meth:`lbproxy.proxy.feature.Feature.prepare`).
3. A frontend with the same name and mode continues: counters, limits, clients. Connections use its
   new form from their next request on.
4. A listener whose address stays keeps its socket, even if another frontend has it now.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attrs import define, field

from lbproxy.balance.base import Balancer
from lbproxy.balance.server import ServerState
from lbproxy.checks.checker import Checker
from lbproxy.checks.resolver import Resolver
from lbproxy.config.model import (
    BackendSpec,
    CertificateSpec,
    Config,
    FrontendSpec,
    ListenSpec,
    ServerSpec,
)
from lbproxy.features import features_of
from lbproxy.generation.generation import Generation, Ground
from lbproxy.generation.listening import Listener
from lbproxy.http.route import Router
from lbproxy.logs.sink import LogSink
from lbproxy.proxy.accept import ProxyFactory
from lbproxy.proxy.backend import Backend
from lbproxy.proxy.feature import FeatureSet
from lbproxy.proxy.frontend import Frontend
from lbproxy.proxy.http.factory import HTTPProxyFactory
from lbproxy.proxy.routeowner import RouteOwner
from lbproxy.proxy.tcp.factory import TCPProxyFactory
from lbproxy.tls.parameters import TLSParameters

__all__ = ["BackendPlan", "FrontendPlan", "ListenerPlan", "Plan", "proxy_factory"]


if TYPE_CHECKING:  # lbproxy.interfaces documents what filters get
    from lbproxy.interfaces import HTTPFilterTraffic, TCPFilterTraffic
    from lbproxy.proxy.http.traffic import HTTPTraffic
    from lbproxy.proxy.tcp.session import Session

    _HTTP: type[HTTPFilterTraffic] = HTTPTraffic
    _TCP: type[TCPFilterTraffic] = Session


def proxy_factory(
    frontend: Frontend, listen: ListenSpec | None, tls: TLSParameters | None
) -> ProxyFactory:
    """Return the protocol factory of one listener, or of an external endpoint if ``listen`` is
    None.
    """
    kind = TCPProxyFactory if frontend.mode == "tcp" else HTTPProxyFactory
    return kind(frontend, listen, tls)


@define(eq=False)
class BackendPlan:
    """The plan for one backend. ``refit``: it belongs to the old generation and has to change."""

    spec: BackendSpec
    backend: Backend
    refit: bool
    filters: Sequence[Any]
    balancer: Balancer | None
    features: FeatureSet
    tls_for: Callable[[ServerSpec], TLSParameters | None]
    tls: Mapping[str, TLSParameters | None]
    resolver: Resolver
    checker: Checker | None
    measure: bool

    def commit(self, certificates: Sequence[CertificateSpec]) -> None:
        """Apply the plan to the backend."""
        if self.measure:
            self.backend.counters.measure()
        if self.checker is not None:
            self.checker.trust(certificates)
        if self.refit:
            self.backend.refit(
                self.spec,
                filters=self.filters,
                balancer=self.balancer,
                features=self.features,
                tls_for=self.tls_for,
                tls=self.tls,
            )


@define(eq=False)
class FrontendPlan:
    """The plan for one frontend. ``old``: the frontend whose clients and counts it takes over.
    ``keep``: the old one continues unchanged.
    """

    spec: FrontendSpec
    old: Frontend | None
    keep: bool
    filters: Sequence[Any]
    features: FeatureSet
    routes: Sequence[RouteOwner]
    router: Router
    write_log: Any
    measure: bool

    def commit(self, ground: Ground, backends: Mapping[str, Backend]) -> Frontend:
        """Return the frontend after applying the plan."""
        if self.keep and self.old is not None:
            return self.old
        frontend = Frontend(
            self.spec,
            ground.network.dialler,
            backends,
            filters=self.filters,
            kinds=features_of("frontend"),
            features=self.features,
            routes=self.routes,
            router=self.router,
            total=ground.total,
            write_log=self.write_log,
            after=self.old,
        )
        frontend.lead()
        if self.measure:
            frontend.counters.measure()
        return frontend


@define(eq=False)
class ListenerPlan:
    """The plan for one listener. ``fresh``: not of the old generation. ``keep``: its connections go
    to the same frontend as before.
    """

    frontend: str
    spec: ListenSpec
    tls: TLSParameters | None
    listener: Listener
    fresh: bool
    keep: bool

    def commit(self, frontend: Frontend) -> Listener:
        """Pass accepted connections to ``frontend``."""
        listener = self.listener
        factory = listener.factory if self.keep else proxy_factory(frontend, self.spec, self.tls)
        listener.serve(frontend, self.spec, factory)
        return listener


@define(eq=False)
class Plan:
    """The plan of a generation; see the module. ``gone_*``: objects that only the old generation
    has.
    """

    config: Config
    ground: Ground
    backends: list[BackendPlan] = field(factory=list)
    frontends: list[FrontendPlan] = field(factory=list)
    listeners: list[ListenerPlan] = field(factory=list)
    sinks: dict[str, LogSink] = field(factory=dict)
    gone_backends: list[Backend] = field(factory=list)
    gone_frontends: list[Frontend] = field(factory=list)
    gone_listeners: list[Listener] = field(factory=list)
    gone_sinks: list[LogSink] = field(factory=list)

    def gone_servers(self) -> list[tuple[Backend, ServerState]]:
        """Return the servers that remaining backends lose. Call it before the commit."""
        return [
            (plan.backend, server)
            for plan in self.backends
            if plan.refit
            for server in plan.backend.moves(plan.spec).gone
        ]

    def fresh_listeners(self) -> list[Listener]:
        """The listeners that need a new socket."""
        return [plan.listener for plan in self.listeners if plan.fresh]

    def commit(self) -> Generation:
        """Apply the plan. All steps that may fail were done before."""
        made = Generation(self.config, sinks=self.sinks)
        for backend in self.backends:
            backend.commit(self.config.certificates)
            name = backend.spec.name
            made.backends[name] = backend.backend
            made.resolvers[name] = backend.resolver
            if backend.checker is not None:
                made.checkers[name] = backend.checker
        for frontend in self.frontends:
            made.frontends[frontend.spec.name] = frontend.commit(self.ground, made.backends)
        for listener in self.listeners:
            made.listeners.append(listener.commit(made.frontends[listener.frontend]))
        made.note_services()
        return made
