"""CONTROL. From a configuration to a :class:`~lbproxy.generation.plan.Plan`: every live object is
made here.

Called by :mod:`lbproxy.service` at start, :mod:`lbproxy.generation.reload` and ``lbproxy check``.
Reads keys and certificates, opens and binds nothing, and touches nothing that serves.  What can be
wrong with a configuration that was read without error (a certificate, a filter that cannot be made)
is found here, all of it at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, TypeVar

from attrs import evolve
from twisted.logger import Logger

from lbproxy.alerts.watch import follow
from lbproxy.balance.live import LiveServer
from lbproxy.checks.checker import Checker
from lbproxy.checks.checktls import CheckTLS
from lbproxy.checks.resolver import Resolver
from lbproxy.config.diff import listener_key, successor
from lbproxy.config.errors import Problems
from lbproxy.config.model import (
    BackendSpec,
    Config,
    FrontendSpec,
    ListenSpec,
    LogSpec,
    PluginSpec,
    ServerSpec,
    Where,
)
from lbproxy.features import features_of
from lbproxy.generation.exposure import exposed_files, exposed_keys
from lbproxy.generation.features import prepare_features, prepare_routes
from lbproxy.generation.generation import Generation, Ground
from lbproxy.generation.guarding import guard_warnings, judge_of, server_reason
from lbproxy.generation.listening import Listener
from lbproxy.generation.plan import BackendPlan, FrontendPlan, ListenerPlan, Plan
from lbproxy.generation.secret import read_secret, secret_warnings
from lbproxy.http.conditional import make_filter
from lbproxy.http.filter import compile_phases
from lbproxy.http.route import Router
from lbproxy.interfaces import Env
from lbproxy.logs.selection import selection
from lbproxy.logs.several import SeveralLogs, parts_of
from lbproxy.logs.sink import LogSink, LogWriter
from lbproxy.logs.syslog import SyslogSink
from lbproxy.logs.trouble import trouble_with
from lbproxy.observe.accesslog import compile_format
from lbproxy.proxy.backend import Backend
from lbproxy.proxy.feature import Feature, FeatureSet, Given
from lbproxy.proxy.frontend import Frontend
from lbproxy.proxy.http.attempts import SERVERS
from lbproxy.tls.certificates import CertificateError
from lbproxy.tls.contexts import client_contexts, server_contexts, unused_certificates
from lbproxy.tls.parameters import TLSParameters

__all__ = ["compile_config"]

_log = Logger()

T = TypeVar("T")
TLSFor = Callable[[ServerSpec], TLSParameters | None]


def compile_config(config: Config, ground: Ground, old: Generation | None = None) -> Plan:
    """Return the objects that ``config`` needs, not started, with those of ``old`` that continue.
    Raises ConfigErrors with everything wrong.
    """
    return _Compiler(config, ground, old or Generation(Config())).run()


class _Compiler:
    def __init__(self, config: Config, ground: Ground, old: Generation) -> None:
        self.config = config
        self.ground = ground
        self.old = old
        self.plan = Plan(config, ground)
        self.problems: Problems | None = Problems()  # while we are at it
        self._left = list(old.listeners)  # not yet taken over
        self._hooks_changed = False  # frontends have to be compiled anew

        self.secret = b""

    def run(self) -> Plan:
        self._read_secret()
        for backend in self.config.backends:
            self._backend(backend)
        self._gone_backends()
        for frontend in self.config.frontends:
            self._frontend(frontend)
        self._gone_frontends()
        problems, self.problems = self.problems, None
        assert problems is not None
        problems.raise_if_any()
        config = self.config
        for text in (
            *exposed_files(config),
            *guard_warnings(config),
            *secret_warnings(config),
        ):
            _log.warn("{text}", text=text)
        return self.plan

    def _problem(self, where: Where, section: str, key: str, error: Exception) -> None:
        """All mistakes are collected; afterwards (a server added) one is raised at once."""
        problems = self.problems or Problems()
        problems.add_exception(self.config.place(where, section, key), section, key, error)
        if self.problems is None:
            problems.raise_if_any()

    def _make(self, plugin: PluginSpec, section: str, key: str, make: Callable[[], T]) -> T | None:
        """``make()``, which runs somebody's code; None after a problem."""
        try:
            return make()
        except Exception as error:
            reason = ValueError(f"{plugin.name}: {type(error).__name__}: {error}")
            self._problem(plugin.where, section, key, reason)
            return None

    def _env(self, name: str) -> Env:
        return self.ground.env(name, self.secret)

    def _read_secret(self) -> None:
        settings = self.config.settings
        try:
            self.secret = read_secret(settings.secret)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            self._problem(settings.where, "lbproxy", "secret", ValueError(reason))

    # -- backends -------------------------------------------------------------------------------

    def _backend(self, spec: BackendSpec) -> None:
        ground, old, name = self.ground, self.old, spec.name
        section = f"backend {name}"
        before = old.backends.get(name)
        if before is not None and successor(before.spec, [spec]) is None:
            before = None
        filters = self._filters(spec.filters, section, before)
        same_balancer = before is not None and before.spec.balance == spec.balance
        balancer = None if same_balancer else self._balancer(spec)
        given = self._given(name)
        features = prepare_features("backend", spec, before, given, self._problem)
        if (
            before is None
            or not same_balancer
            or list(before.filters) != filters
            or _hooked(before.features) != _hooked(features)
        ):
            self._hooks_changed = True
        tls_for = partial(self._tls_for, spec)
        tls = {
            server.name: self._old_tls(before, server, tls_for(server)) for server in spec.servers
        }
        for line in spec.discover:
            tls_for(line.server_at(line.names[0], "192.0.2.1"))  # its mistakes are told now
        if before is not None:
            backend = before
        elif balancer is None:
            return  # a problem, told already
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
        self.plan.backends.append(
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
                bool(self.config.settings.admin),
            )
        )

    def _balancer(self, spec: BackendSpec) -> Any:
        def make() -> Any:
            balancer = spec.balance.cls(spec.balance.options, self._env(spec.name))
            frozenset(balancer.needs)  # frontends will ask
            return balancer

        return self._make(spec.balance, f"backend {spec.name}", "balance", make)

    def _resolver(self, spec: BackendSpec, before: Backend | None, backend: Backend) -> Resolver:
        judge = judge_of(self.config, spec)
        for server in spec.servers if judge is not None else ():
            if judge is not None and (reason := server_reason(judge, server)):
                section = f"backend {spec.name}"
                self._problem(server.where, section, "servers", ValueError(reason))
        same = before is not None and before.spec.resolve_every == spec.resolve_every
        if same and before is not None and before.spec.guard == spec.guard == "off":
            return self.old.resolvers[spec.name]
        return Resolver(backend.group, self.ground.reactor, every=spec.resolve_every, judge=judge)

    def _checker(
        self, spec: BackendSpec, before: Backend | None, backend: Backend
    ) -> Checker | None:
        check = spec.check
        if check is None:
            return None
        if before is not None and before.spec.check == check:
            return self.old.checkers[spec.name]

        def make() -> Checker:
            return Checker(
                spec.name,
                backend.group,
                check,
                self.ground.network.dialler,
                self._env(spec.name),
                tls_for=backend.tls_parameters,
                certificates=self.config.certificates,
            )

        return self._make(check.probe, f"backend {spec.name}", "check", make)

    def _try_check_tls(
        self, spec: BackendSpec, checker: Checker | None, tls: Mapping[str, Any]
    ) -> None:
        """Report errors of the check's TLS parameters now, not at the first check."""
        if spec.check is None or checker is None:
            return
        ask = CheckTLS(spec.check, checker.probe, self.config.certificates, lambda one: one.tls)
        for line in spec.servers:
            server = LiveServer.from_spec(spec.name, line)
            server.tls = tls[line.name]
            try:
                ask(server)
            except CertificateError as error:
                self._problem(spec.check.where, f"backend {spec.name}", "check", error)
                return

    def _given(self, name: str) -> Given:
        """Return the argument of ``prepare`` for features of the section or route ``name``."""
        ground = self.ground
        env = self._env(name)
        return Given(
            self.config, env, ground.network, ground.shared, ground.replicated, ground.kept
        )

    def _filters(self, plugins: Iterable[PluginSpec], section: str, old: Any) -> list[Any]:
        """The filters of a section; one whose line is as before goes on, with all it knows."""
        there = list(zip(old.spec.filters, old.filters, strict=True)) if old is not None else []
        env = self._env(section.partition(" ")[2])
        filters = []
        for plugin in plugins:
            found = next((pair for pair in there if pair[0] == plugin), None)
            if found is not None:
                there.remove(found)
                filters.append(found[1])
                continue
            made = self._make(plugin, section, "filters", partial(_filter, plugin, env))
            if made is not None:
                filters.append(made)
        return filters

    @staticmethod
    def _made_first(spec: BackendSpec, tls: Mapping[str, Any], tls_for: TLSFor) -> TLSFor:
        """Return the TLS parameters made for the servers of ``spec``; others are servers that are
        added later.
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
            contexts = client_contexts(spec, self.config.certificates, alpn)
        except CertificateError as error:
            self._problem(spec.where, f"backend {backend.name}", "servers", error)
            return None
        return TLSParameters(contexts, server_side=False)

    @staticmethod
    def _old_tls(
        backend: Backend | None, spec: ServerSpec, new: TLSParameters | None
    ) -> TLSParameters | None:
        """The present parameters of this server, if they are the same: its sessions can be
        resumed.
        """
        server = backend.group.servers.get(spec.name) if backend is not None else None
        old = backend.tls_parameters(server) if backend is not None and server is not None else None
        return old if _same_tls(old, new) else new

    def _gone_backends(self) -> None:
        kept = {id(plan.backend) for plan in self.plan.backends}
        self.plan.gone_backends = [b for b in self.old.backends.values() if id(b) not in kept]
        self._hooks_changed |= bool(self.plan.gone_backends)

    # -- frontends ------------------------------------------------------------------------------

    def _frontend(self, spec: FrontendSpec) -> None:
        section = f"frontend {spec.name}"
        old = self.old.frontends.get(spec.name)
        if old is not None and successor(old.spec, [spec]) is None:
            old = None
        write_log = self._write_logs(spec, old)
        filters = self._filters(spec.filters, section, old)
        given = self._given(spec.name)
        features = prepare_features("frontend", spec, old, given, self._problem)
        routes = prepare_routes(spec, old, self._given, self._problem)
        keep = (
            old is not None
            and not self._hooks_changed
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
                bool(self.config.settings.admin),
            )
            self.plan.frontends.append(plan)
        for listen in spec.listen:
            self._listener(spec, listen, old)

    def _router(self, spec: FrontendSpec, old: Frontend | None) -> Router | None:
        if old is not None and (old.spec.routes, old.spec.backend) == (spec.routes, spec.backend):
            return old.router
        try:
            return Router(spec.routes, spec.backend, env=self._env(spec.name))
        except Exception as error:
            reason = ValueError(f"{type(error).__name__}: {error}")
            self._problem(spec.where, f"frontend {spec.name}", "routes", reason)
            return None

    def _listener(self, owner: FrontendSpec, spec: ListenSpec, frontend: Frontend | None) -> None:
        old = self._old_listener(spec, frontend)
        tls = None
        if spec.tls:
            try:
                contexts = server_contexts(spec, self.config.certificates, owner.protocol)
            except CertificateError as error:
                self._problem(spec.where, f"frontend {owner.name}", "listen", error)
                return
            tls = TLSParameters(contexts, server_side=True)
            for text in unused_certificates(owner.name, contexts):
                _log.warn("{text}", text=text)
            for text in exposed_keys(f"frontend {owner.name}", contexts.pairs, self.config):
                _log.warn("{text}", text=text)
        keep = False
        if old is not None:
            if _same_tls(old.factory.tls, tls):
                tls = old.factory.tls
            keep = tls is old.factory.tls and old.spec == spec
            keep &= frontend is not None and old.factory.frontend.lineage is frontend.lineage
        listener = old if old is not None else Listener(owner, spec, self.ground.events)
        self.plan.listeners.append(ListenerPlan(owner.name, spec, tls, listener, old is None, keep))

    def _old_listener(self, spec: ListenSpec, frontend: Frontend | None) -> Listener | None:
        """The old listener with this address, rather of the same frontend than of another."""
        key = listener_key(spec)
        fitting = [one for one in self._left if listener_key(one.spec) == key]
        fitting.sort(key=lambda one: one.frontend is not frontend)
        if not fitting:
            return None
        self._left.remove(fitting[0])
        return fitting[0]

    def _gone_frontends(self) -> None:
        kept = {id(plan.old) for plan in self.plan.frontends}
        self.plan.gone_frontends = [f for f in self.old.frontends.values() if id(f) not in kept]
        self.plan.gone_listeners = self._left
        sinks = list(self.plan.sinks.values())
        self.plan.gone_sinks = [sink for sink in self.old.sinks.values() if sink not in sinks]

    def _sink(self, log: LogSpec, spec: FrontendSpec) -> LogSink:
        sink = self.plan.sinks.get(log.path)
        if sink is not None:
            return sink
        sink = self.old.sinks.get(log.path)
        if sink is None or not _same_target(sink.spec, log):
            sink = self._new_sink(log, spec)
        self.plan.sinks[log.path] = sink
        return sink

    def _new_sink(self, log: LogSpec, spec: FrontendSpec) -> LogSink:
        if self.ground.sinks is not None:
            return self.ground.sinks(log, self.ground.reactor)
        trouble = trouble_with(log.path)
        if trouble:
            self._problem(log.where, f"frontend {spec.name}", "access_log", ValueError(trouble))
        kind = SyslogSink if log.path.startswith("syslog:") else LogSink
        return kind(log, self.ground.reactor)

    def _write_logs(self, spec: FrontendSpec, old: Frontend | None) -> Any:
        """Return the writer of a frontend's records: None, one log, or several logs."""
        before: dict[LogSpec, Any] = {}
        if old is not None:
            before = dict(
                zip(logs_of(old.spec, self.old.config), parts_of(old.write_log), strict=False)
            )
        logs = logs_of(spec, self.config)
        parts = tuple(self._write_log(log, spec, before.get(log)) for log in logs)
        if old is not None and parts_of(old.write_log) == parts:
            return old.write_log
        return SeveralLogs(parts) if len(parts) > 1 else next(iter(parts), None)

    def _write_log(self, log: LogSpec, spec: FrontendSpec, old: Any) -> Any:
        """``old``: what writes the same log in the present generation; None if nothing does."""
        sink = self._sink(log, spec)
        if old is not None and self.old.sinks.get(log.path) is sink:
            return old
        write_log = LogWriter(compile_format(log.format, spec.protocol), sink).write
        wanted = selection(log, self.ground.random.random)
        if wanted is None:
            return write_log

        def write_some(record: Any) -> None:
            if wanted(record):
                write_log(record)

        return write_some


def _hooked(features: FeatureSet) -> list[Feature[Any]]:
    """Return the features that have hooks: when one of them is another, so are the hooks of
    frontends.
    """
    return [one for one in features.values() if one.has_hooks()]


def _filter(plugin: PluginSpec, env: Any) -> Any:
    made = make_filter(plugin, env)
    compile_phases([made])  # frontends will
    return made


def logs_of(spec: FrontendSpec, config: Config) -> list[LogSpec]:
    """The access logs of a frontend; those of ``[lbproxy]`` where it has none of its own."""
    settings = config.settings
    first = spec.access_log if spec.access_log is not None else settings.access_log
    logs = (first, *(spec.more_logs or settings.more_logs))
    return [log for log in logs if log.path not in ("", "off")]


def _same_target(old: LogSpec, new: LogSpec) -> bool:
    """Only what is written differs, not where to."""
    alike = evolve(
        old,
        format=new.format,
        sample=new.sample,
        min_time=new.min_time,
        skip_empty=new.skip_empty,
        request_ids=new.request_ids,
        conditions=new.conditions,
    )
    return bool(alike == new)


def _same_tls(old: TLSParameters | None, new: TLSParameters | None) -> bool:
    """Both do the same, so the old one is as good; by what they are made of, not by the name of a
    file.
    """
    if old is None or new is None:
        return old is new
    return bool(old.creator.fingerprint == new.creator.fingerprint)
