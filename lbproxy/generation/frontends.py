"""CONTROL. The frontends of a configuration, with their routes and listeners.

New frontends are created, and old ones that continue are found.
"""

from __future__ import annotations

from twisted.logger import Logger

from lbproxy.config.diff import listener_key, successor
from lbproxy.config.model import FrontendSpec, ListenSpec
from lbproxy.generation.accesslogs import LogAssembly
from lbproxy.generation.assembly import Assembly, same_tls
from lbproxy.generation.exposure import exposed_keys
from lbproxy.generation.features import prepare_features, prepare_routes
from lbproxy.generation.listening import Listener
from lbproxy.generation.plan import FrontendPlan, ListenerPlan
from lbproxy.http.route import Router
from lbproxy.proxy.frontend import Frontend
from lbproxy.tls.certificates import CertificateError
from lbproxy.tls.contexts import server_contexts, unused_certificates
from lbproxy.tls.parameters import TLSParameters

__all__ = ["FrontendAssembly"]

_log = Logger()


class FrontendAssembly:
    """Adds the frontends of an assembly to its plan. Backends come first."""

    def __init__(self, run: Assembly) -> None:
        self._run = run
        self._backends = {one.name: one for one in run.config.backends}
        self._logs = LogAssembly(run)
        self._left = list(run.old.listeners)  # not taken over yet

    def add(self, spec: FrontendSpec) -> None:
        """Plan one frontend and its listeners."""
        section = f"frontend {spec.name}"
        old = self._run.old.frontends.get(spec.name)
        if old is not None and successor(old.spec, [spec]) is None:
            old = None
        write_log = self._logs.writer(spec, old)
        filters = self._run.filters(spec.filters, section, old)
        given = self._run.given(spec.name)
        features = prepare_features("frontend", spec, old, given, self._run.problem)
        routes = prepare_routes(spec, self._backends, old, self._run.given, self._run.problem)
        keep = (
            old is not None
            and not self._run.hooks_changed
            and old.spec == spec
            and list(old.filters) == filters
            and old.features == features
            and [one.features for one in old.routes] == [one.planned for one in routes]
            and old.write_log is write_log
        )
        router = self._router(spec, old)
        if router is not None:
            plan = FrontendPlan(
                spec,
                old,
                keep,
                filters,
                features,
                routes,
                router,
                write_log,
                bool(self._run.config.settings.admin),
            )
            self._run.plan.frontends.append(plan)
        for listen in spec.listen:
            self._listener(spec, listen, old)

    def _router(self, spec: FrontendSpec, old: Frontend | None) -> Router | None:
        if old is not None and (old.spec.routes, old.spec.backend) == (spec.routes, spec.backend):
            return old.router
        try:
            return Router(spec.routes, spec.backend, env=self._run.env(spec.name))
        except Exception as error:
            reason = ValueError(f"{type(error).__name__}: {error}")
            self._run.problem(spec.where, f"frontend {spec.name}", "routes", reason)
            return None

    def _listener(self, owner: FrontendSpec, spec: ListenSpec, frontend: Frontend | None) -> None:
        old = self._old_listener(spec, frontend)
        tls = None
        if spec.tls:
            try:
                contexts = server_contexts(spec, self._run.config.certificates, owner.protocol)
            except CertificateError as error:
                self._run.problem(spec.where, f"frontend {owner.name}", "listen", error)
                return
            tls = TLSParameters(contexts, server_side=True)
            for text in unused_certificates(owner.name, contexts):
                _log.warn("{text}", text=text)
            for text in exposed_keys(f"frontend {owner.name}", contexts.pairs, self._run.config):
                _log.warn("{text}", text=text)
        keep = False
        if old is not None:
            if same_tls(old.factory.tls, tls):
                tls = old.factory.tls
            keep = tls is old.factory.tls and old.spec == spec
            keep &= frontend is not None and old.factory.frontend.lineage is frontend.lineage
        listener = old if old is not None else Listener(owner, spec, self._run.ground.events)
        self._run.plan.listeners.append(
            ListenerPlan(owner.name, spec, tls, listener, old is None, keep)
        )

    def _old_listener(self, spec: ListenSpec, frontend: Frontend | None) -> Listener | None:
        """Return the old listener with this address, preferably one of the same frontend."""
        key = listener_key(spec)
        fitting = [one for one in self._left if listener_key(one.spec) == key]
        fitting.sort(key=lambda one: one.frontend is not frontend)
        if not fitting:
            return None
        self._left.remove(fitting[0])
        return fitting[0]

    def finish(self) -> None:
        """Plan the end of old frontends, listeners and outputs that do not continue."""
        kept = {id(plan.old) for plan in self._run.plan.frontends}
        self._run.plan.gone_frontends = [
            f for f in self._run.old.frontends.values() if id(f) not in kept
        ]
        self._run.plan.gone_listeners = self._left
        sinks = list(self._run.plan.sinks.values())
        self._run.plan.gone_sinks = [
            sink for sink in self._run.old.sinks.values() if sink not in sinks
        ]
