"""CONTROL. The backends of a configuration, with their balancers, checks and TLS.

New backends are created, and old ones that continue are found.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from lbproxy.alerts.watch import follow
from lbproxy.balance.live import LiveServer
from lbproxy.checks.checker import Checker
from lbproxy.checks.checktls import CheckTLS
from lbproxy.checks.resolver import Resolver
from lbproxy.config.diff import successor
from lbproxy.config.model import BackendSpec, ServerSpec
from lbproxy.features import features_of
from lbproxy.generation.assembly import Assembly, same_tls
from lbproxy.generation.features import prepare_features
from lbproxy.generation.guarding import judge_of, server_reason
from lbproxy.generation.plan import BackendPlan
from lbproxy.proxy.backend import Backend
from lbproxy.proxy.feature import Feature, FeatureSet
from lbproxy.proxy.http.attempts import SERVERS
from lbproxy.tls.certificates import CertificateError
from lbproxy.tls.contexts import client_contexts
from lbproxy.tls.parameters import TLSParameters

__all__ = ["BackendAssembly"]

TLSFor = Callable[[ServerSpec], TLSParameters | None]


class BackendAssembly:
    """Adds the backends of an assembly to its plan."""

    def __init__(self, run: Assembly) -> None:
        self._run = run

    def add(self, spec: BackendSpec) -> None:
        """Plan one backend."""
        ground, old, name = self._run.ground, self._run.old, spec.name
        section = f"backend {name}"
        before = old.backends.get(name)
        if before is not None and successor(before.spec, [spec]) is None:
            before = None
        filters = self._run.filters(spec.filters, section, before)
        same_balancer = before is not None and before.spec.balance == spec.balance
        balancer = None if same_balancer else self._balancer(spec)
        given = self._run.given(name)
        features = prepare_features("backend", spec, before, given, self._run.problem)
        if (
            before is None
            or not same_balancer
            or list(before.filters) != filters
            or _hooked(before.features) != _hooked(features)
        ):
            self._run.hooks_changed = True
        tls_for = partial(self._tls_for, spec)
        tls = {
            server.name: self._old_tls(before, server, tls_for(server)) for server in spec.servers
        }
        for line in spec.discover:
            tls_for(line.server_at(line.names[0], "192.0.2.1"))  # to find errors now
        if before is not None:
            backend = before
        elif balancer is None:
            return  # the error is recorded already
        else:
            first = self._made_first(spec, tls, tls_for)
            backend = Backend(
                spec,
                ground.network.dialler,
                balancer,
                servers=SERVERS,
                filters=filters,
                tls_for=first,
                random=ground.random,
                kinds=features_of("backend"),
                features=features,
            )
            follow(backend, ground.events)
        checker = self._checker(spec, before, backend)
        self._try_check_tls(spec, checker, tls)
        self._run.plan.backends.append(
            BackendPlan(
                spec,
                backend,
                before is not None,
                filters,
                balancer,
                features,
                tls_for,
                tls,
                self._resolver(spec, before, backend),
                checker,
                bool(self._run.config.settings.admin),
            )
        )

    def _balancer(self, spec: BackendSpec) -> Any:
        def make() -> Any:
            balancer = spec.balance.cls(spec.balance.options, self._run.env(spec.name))
            frozenset(balancer.needs)  # frontends need it
            return balancer

        return self._run.make(spec.balance, f"backend {spec.name}", "balance", make)

    def _resolver(self, spec: BackendSpec, before: Backend | None, backend: Backend) -> Resolver:
        judge = judge_of(self._run.config, spec)
        for server in spec.servers if judge is not None else ():
            if judge is not None and (reason := server_reason(judge, server)):
                section = f"backend {spec.name}"
                self._run.problem(server.where, section, "servers", ValueError(reason))
        same = before is not None and before.spec.resolve_every == spec.resolve_every
        if same and before is not None and before.spec.guard == spec.guard == "off":
            return self._run.old.resolvers[spec.name]
        return Resolver(
            backend.group, self._run.ground.reactor, every=spec.resolve_every, judge=judge
        )

    def _checker(
        self, spec: BackendSpec, before: Backend | None, backend: Backend
    ) -> Checker | None:
        check = spec.check
        if check is None:
            return None
        if before is not None and before.spec.check == check:
            return self._run.old.checkers[spec.name]

        def make() -> Checker:
            return Checker(
                spec.name,
                backend.group,
                check,
                self._run.ground.network.dialler,
                self._run.env(spec.name),
                tls_for=backend.tls_parameters,
                certificates=self._run.config.certificates,
            )

        return self._run.make(check.probe, f"backend {spec.name}", "check", make)

    def _try_check_tls(
        self, spec: BackendSpec, checker: Checker | None, tls: Mapping[str, Any]
    ) -> None:
        """Report errors of the check's TLS parameters now, not at the first check."""
        if spec.check is None or checker is None:
            return
        ask = CheckTLS(
            spec.check, checker.probe, self._run.config.certificates, lambda one: one.tls
        )
        for line in spec.servers:
            server = LiveServer.from_spec(spec.name, line)
            server.tls = tls[line.name]
            try:
                ask(server)
            except CertificateError as error:
                self._run.problem(spec.check.where, f"backend {spec.name}", "check", error)
                return

    @staticmethod
    def _made_first(spec: BackendSpec, tls: Mapping[str, Any], tls_for: TLSFor) -> TLSFor:
        """Return the TLS parameters for the servers of ``spec``, and for servers that are added
        later.
        """
        ours = {id(server) for server in spec.servers}

        def tls_of(server: ServerSpec) -> TLSParameters | None:
            return tls[server.name] if id(server) in ours else tls_for(server)

        return tls_of

    def _tls_for(self, backend: BackendSpec, spec: ServerSpec) -> TLSParameters | None:
        if not spec.tls:
            return None
        alpn = ("http/1.1",) if backend.mode == "http" else ()
        try:
            contexts = client_contexts(spec, self._run.config.certificates, alpn)
        except CertificateError as error:
            self._run.problem(spec.where, f"backend {backend.name}", "servers", error)
            return None
        return TLSParameters(contexts, server_side=False)

    @staticmethod
    def _old_tls(
        backend: Backend | None, spec: ServerSpec, new: TLSParameters | None
    ) -> TLSParameters | None:
        """Return the present parameters of this server if they have the same effect, so that TLS
        sessions can be resumed.
        """
        server = backend.group.servers.get(spec.name) if backend is not None else None
        old = backend.tls_parameters(server) if backend is not None and server is not None else None
        return old if same_tls(old, new) else new

    def finish(self) -> None:
        """Plan the end of old backends that do not continue."""
        kept = {id(plan.backend) for plan in self._run.plan.backends}
        self._run.plan.gone_backends = [
            b for b in self._run.old.backends.values() if id(b) not in kept
        ]
        self._run.hooks_changed |= bool(self._run.plan.gone_backends)


def _hooked(features: FeatureSet) -> list[Feature[Any]]:
    """Return the features that have hooks. If one is replaced, frontends get new hooks."""
    return [one for one in features.values() if one.has_hooks()]
