"""CONTROL. From a configuration to a :class:`~lbproxy.control.generation.Generation`: every live object is made here.

Called by :mod:`lbproxy.service`.  Reads keys and certificates, opens and binds nothing.  What can be wrong with
a configuration that was read without error (a certificate, a filter that cannot be made) is found here, all of it
at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

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
from lbproxy.control.checker import Checker
from lbproxy.control.generation import Generation, Ground
from lbproxy.control.listening import Listener
from lbproxy.control.logsink import LogSink, trouble_with
from lbproxy.control.resolver import Resolver
from lbproxy.control.syslog import SyslogSink
from lbproxy.control.watch import follow
from lbproxy.http.route import Router
from lbproxy.interfaces import Env
from lbproxy.net.endpoints import TLSParameters
from lbproxy.observe.accesslog import choose, compile_format
from lbproxy.proxy.accept import ProxyFactory
from lbproxy.proxy.backend import Backend
from lbproxy.proxy.client import HTTPProxyFactory
from lbproxy.proxy.frontend import Frontend
from lbproxy.proxy.tcp import TCPProxyFactory
from lbproxy.tls.certificates import CertificateError
from lbproxy.tls.contexts import client_contexts, server_contexts

__all__ = ["compile_config", "proxy_factory"]


def compile_config(config: Config, ground: Ground) -> Generation:
    """The live objects of ``config``, nothing started.  Raises ConfigErrors with everything that is wrong."""
    return _Compiler(config, ground).run()


def proxy_factory(
    frontend: Frontend, listen: ListenSpec | None, tls: TLSParameters | None
) -> ProxyFactory:
    """The protocol factory of one listener, or (``listen`` None) of an endpoint that is not ours."""
    kind = TCPProxyFactory if frontend.mode == "tcp" else HTTPProxyFactory
    return kind(frontend, listen, tls)


class _Compiler:
    def __init__(self, config: Config, ground: Ground) -> None:
        self.config = config
        self.ground = ground
        self.made = Generation(config)
        self.problems: Problems | None = Problems()  # while we are at it

    def run(self) -> Generation:
        for backend in self.config.backends:
            self._backend(backend)
        for frontend in self.config.frontends:
            self._frontend(frontend)
        problems, self.problems = self.problems, None
        assert problems is not None
        problems.raise_if_any()
        return self.made

    def _problem(self, where: Where, section: str, key: str, error: Exception) -> None:
        """All mistakes are collected; afterwards (a server added) one is raised at once."""
        problems = self.problems or Problems()
        problems.add_exception(where, section, key, error)
        if self.problems is None:
            problems.raise_if_any()

    # -- backends -------------------------------------------------------------------------------

    def _backend(self, spec: BackendSpec) -> None:
        ground = self.ground
        env = ground.env(spec.name)
        backend = Backend(
            spec,
            ground.network,
            spec.balance.cls(spec.balance.options, env),
            filters=self._filters(spec.filters, env, f"backend {spec.name}"),
            tls_for=partial(self._tls_for, spec),
            random=ground.random,
        )
        if self.config.settings.admin:
            backend.counters.measure()
        self.made.backends[spec.name] = backend
        follow(backend, ground.events)
        self.made.resolvers[spec.name] = Resolver(
            backend.group, ground.reactor, every=spec.resolve_every
        )
        if spec.check is not None:
            checker = self.made.checkers[spec.name] = Checker(
                spec.name,
                backend.group,
                spec.check,
                ground.network,
                env,
                tls_for=backend.tls_parameters,
                certificates=self.config.certificates,
            )
            self._try_tls(backend, checker, spec.check.where)

    def _try_tls(self, backend: Backend, checker: Checker, where: Where) -> None:
        """What is wrong with the check's TLS is found out now, not by the first check."""
        for server in backend.group.servers.values():
            try:
                checker.tls_for(server)
            except CertificateError as error:
                self._problem(where, f"backend {backend.name}", "check", error)
                return

    def _filters(self, plugins: Iterable[PluginSpec], env: Env, section: str) -> list[Any]:
        filters = []
        for plugin in plugins:
            try:
                filters.append(plugin.cls(plugin.options, env))
            except Exception as error:
                reason = ValueError(f"{plugin.name}: {type(error).__name__}: {error}")
                self._problem(plugin.where, section, "filters", reason)
        return filters

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

    # -- frontends ------------------------------------------------------------------------------

    def _frontend(self, spec: FrontendSpec) -> None:
        env = self.ground.env(spec.name)
        log = spec.access_log if spec.access_log is not None else self.config.settings.access_log
        frontend = Frontend(
            spec,
            self.ground.network,
            self.made.backends,
            filters=self._filters(spec.filters, env, f"frontend {spec.name}"),
            router=Router(spec.routes, spec.backend, env=env),
            total=self.ground.total,
            write_log=self._log_writer(log, spec),
        )
        if self.config.settings.admin:
            frontend.counters.measure()
        self.made.frontends[spec.name] = frontend
        for listen in spec.listen:
            self._listener(frontend, listen)

    def _listener(self, frontend: Frontend, spec: ListenSpec) -> None:
        tls = None
        if spec.tls:
            try:
                contexts = server_contexts(spec, self.config.certificates, frontend.mode)
            except CertificateError as error:
                self._problem(spec.where, f"frontend {frontend.name}", "listen", error)
                return
            tls = TLSParameters(contexts, server_side=True)
        factory = proxy_factory(frontend, spec, tls)
        self.made.listeners.append(Listener(frontend, spec, factory, self.ground.events))

    def _log_writer(self, log: LogSpec, spec: FrontendSpec) -> Any:
        if not log.path or log.path == "off":
            return None
        sink = self.made.sinks.get(log.path)
        if sink is None:
            trouble = trouble_with(log.path)
            if trouble:
                self._problem(log.where, f"frontend {spec.name}", "access_log", ValueError(trouble))
            kind = SyslogSink if log.path.startswith("syslog:") else LogSink
            sink = self.made.sinks[log.path] = kind(log, self.ground.reactor)
        line = compile_format(log.format, spec.mode)
        write = sink.write

        def write_log(record: Any) -> None:
            write(line(record))

        if log.sample >= 1 and not log.min_time:
            return write_log
        wanted = choose(log.sample, log.min_time, self.ground.random.random)

        def write_some(record: Any) -> None:
            if wanted(record):
                write(line(record))

        return write_some
