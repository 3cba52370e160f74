"""The load balancer as a Twisted service: what ``twistd lbproxy`` runs and what other programs embed.

    from lbproxy.service import LoadBalancer

    balancer = LoadBalancer.from_config("lb.ini", reactor=reactor)
    balancer.setServiceParent(application)

See ``docs/embedding.rst``.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure

from lbproxy.balance.server import AdminState, ServerState
from lbproxy.config.errors import Problems
from lbproxy.config.model import (
    Address,
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
from lbproxy.control.logsink import LogSink, trouble_with
from lbproxy.control.resolver import Resolver
from lbproxy.errors import Kind, ListenError
from lbproxy.guard.connections import ConnectionTotal
from lbproxy.http.route import Router
from lbproxy.interfaces import Env
from lbproxy.net.descriptors import client_bound
from lbproxy.net.endpoints import Bound, Network, TLSParameters
from lbproxy.net.fast import choose_network
from lbproxy.net.stock import listen_endpoint
from lbproxy.observe.accesslog import compile_format
from lbproxy.proxy.accept import ProxyFactory
from lbproxy.proxy.backend import Backend
from lbproxy.proxy.client import HTTPProxyFactory
from lbproxy.proxy.frontend import Frontend
from lbproxy.proxy.tcp import TCPProxyFactory
from lbproxy.registry import load_config, parse_config, parse_server_line
from lbproxy.tls.certificates import CertificateError
from lbproxy.tls.contexts import client_contexts, server_contexts

__all__ = ["Listener", "LoadBalancer"]

_log = Logger()


class Listener:
    """One bound address of a frontend."""

    def __init__(self, frontend: Frontend, spec: ListenSpec, factory: ProxyFactory) -> None:
        self.frontend = frontend
        self.spec = spec
        self.factory = factory
        self.bound: Bound | None = None
        self.binding: Deferred[Any] | None = None  # an endpoint of Twisted's that takes its time

    @property
    def address(self) -> Address | None:
        """Where it really listens; None before it is bound."""
        return self.bound.address if self.bound is not None else None


class LoadBalancer(MultiService):
    """Frontends and backends of one configuration, on one reactor.

    ``frontends`` and ``backends`` by name; ``listeners`` in configuration order.
    """

    def __init__(
        self,
        config: Config,
        *,
        reactor: Any,
        network: Network | None = None,
        random: Random | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.config = config
        self.reactor = reactor
        self.network: Network = (
            network if network is not None else choose_network(config.settings.transport, reactor)
        )
        self.random = random if random is not None else Random()
        self.total = ConnectionTotal(config.settings.maxconn)
        self._sinks: dict[str, LogSink] = {}
        self._checkers: dict[str, Checker] = {}
        self._resolvers: dict[str, Resolver] = {}
        self._problems: Problems | None = Problems()  # while we are made
        self.backends: dict[str, Backend] = {}
        for backend_spec in config.backends:
            self._add_backend(backend_spec)
        self.frontends: dict[str, Frontend] = {}
        self.listeners: list[Listener] = []
        for frontend_spec in config.frontends:
            self._add_frontend(frontend_spec)
        self._problems.raise_if_any()
        self._problems = None

    @classmethod
    def from_config(
        cls,
        source: str | Path,
        *,
        reactor: Any = None,
        network: Network | None = None,
        random: Random | None = None,
    ) -> LoadBalancer:
        """From a file (a Path, or a str of one line) or from configuration text (a str with line breaks).

        ``reactor`` defaults to the global one.  Raises :class:`lbproxy.config.errors.ConfigErrors` with
        everything that is wrong; nothing is opened or bound before :meth:`startService`.
        """
        if isinstance(source, str) and "\n" in source:
            config = parse_config(source)
        else:
            config = load_config(Path(source))
        if reactor is None:
            from twisted.internet import reactor
        return cls(config, reactor=reactor, network=network, random=random)

    # -- construction ---------------------------------------------------------------------------

    def _env(self, name: str) -> Env:
        return Env(now=self.network.wheel.now, random=self.random, name=name, reactor=self.reactor)

    def _add_backend(self, spec: BackendSpec) -> None:
        env = self._env(spec.name)
        backend = Backend(
            spec,
            self.network,
            spec.balance.cls(spec.balance.options, env),
            filters=self._filters(spec.filters, env, f"backend {spec.name}"),
            tls_for=partial(self._tls_for, spec),
        )
        self.backends[spec.name] = backend
        resolver = Resolver(backend.group, self.reactor, every=spec.resolve_every)
        resolver.setServiceParent(self)  # type: ignore[no-untyped-call]
        self._resolvers[spec.name] = resolver
        if spec.check is not None:
            checker = Checker(
                spec.name,
                backend.group,
                spec.check,
                self.network,
                env,
                tls_for=backend.tls_parameters,
            )
            checker.setServiceParent(self)  # type: ignore[no-untyped-call]
            self._checkers[spec.name] = checker

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

    def _problem(self, where: Where, section: str, key: str, error: Exception) -> None:
        """While we are made all mistakes are collected; afterwards (a server added) one is raised at once."""
        problems = self._problems or Problems()
        problems.add_exception(where, section, key, error)
        if self._problems is None:
            problems.raise_if_any()

    def _add_frontend(self, spec: FrontendSpec) -> None:
        env = self._env(spec.name)
        log = spec.access_log if spec.access_log is not None else self.config.settings.access_log
        frontend = Frontend(
            spec,
            self.network,
            self.backends,
            filters=self._filters(spec.filters, env, f"frontend {spec.name}"),
            router=Router(spec.routes, spec.backend, env=env),
            total=self.total,
            write_log=self._log_writer(log, spec),
        )
        self.frontends[spec.name] = frontend
        for listen in spec.listen:
            tls = None
            if listen.tls:
                try:
                    contexts = server_contexts(listen, self.config.certificates, spec.mode)
                except CertificateError as error:
                    self._problem(listen.where, f"frontend {spec.name}", "listen", error)
                    continue
                tls = TLSParameters(contexts, server_side=True)
            self.listeners.append(Listener(frontend, listen, self._factory(frontend, listen, tls)))

    @staticmethod
    def _factory(
        frontend: Frontend, listen: ListenSpec | None, tls: TLSParameters | None
    ) -> ProxyFactory:
        kind = TCPProxyFactory if frontend.mode == "tcp" else HTTPProxyFactory
        return kind(frontend, listen, tls)

    def _log_writer(self, log: LogSpec, spec: FrontendSpec) -> Any:
        if not log.path or log.path == "off":
            return None
        sink = self._sinks.get(log.path)
        if sink is None:
            trouble = trouble_with(log.path)
            if trouble:
                self._problem(log.where, f"frontend {spec.name}", "access_log", ValueError(trouble))
            sink = self._sinks[log.path] = LogSink(log, self.reactor)
        line = compile_format(log.format, spec.mode)
        write = sink.write

        def write_log(record: Any) -> None:
            write(line(record))

        return write_log

    # -- the service ----------------------------------------------------------------------------

    def privilegedStartService(self) -> None:
        """Bind, while we may still be root."""
        super().privilegedStartService()  # type: ignore[no-untyped-call]
        self._bind()

    def startService(self) -> None:
        """Listen and serve.  Raises :class:`ListenError` when an address cannot be bound; nothing stays bound then."""
        self.total.maxconn = self.config.settings.maxconn or client_bound()
        for frontend in self.frontends.values():
            frontend.start()
        for sink in self._sinks.values():
            sink.start()
        super().startService()  # type: ignore[no-untyped-call]
        try:
            self._bind()
        except ListenError:
            super().stopService()  # type: ignore[no-untyped-call]
            for sink in self._sinks.values():
                sink.stop()
            raise

    def _bind(self) -> None:
        for listener in self.listeners:
            if listener.bound is not None or listener.binding is not None:
                continue
            try:
                self._bind_one(listener)
            except ListenError:
                self._unbind()
                raise

    def _bind_one(self, listener: Listener) -> None:
        spec = listener.spec
        if spec.address is None:
            self._bind_endpoint(listener)
            return
        bound = self.network.listen(
            spec.address, listener.factory, backlog=spec.backlog, mode=spec.mode
        )
        self._bound(listener, bound)

    def _bind_endpoint(self, listener: Listener) -> None:
        """One of Twisted's: most answer at once, and a refusal is then raised like any other."""
        refused: list[Failure] = []

        def bound(port: Bound) -> None:
            if listener.binding is None:
                port.close()  # we have stopped meanwhile
            else:
                self._bound(listener, port)

        def failed(failure: Failure) -> None:
            if listener.binding is not None:
                listener.binding = None
                refused.append(failure)

        def too_late(_: Any) -> None:
            for failure in refused:
                _log.error(
                    "frontend {name}: {reason}",
                    name=listener.frontend.name,
                    reason=failure.getErrorMessage(),
                )

        binding = listen_endpoint(self.reactor, listener.spec.endpoint, listener.factory)
        listener.binding = binding
        binding.addCallbacks(bound, failed)
        if refused:
            refused[0].raiseException()
        binding.addCallback(too_late)

    def _bound(self, listener: Listener, bound: Bound) -> None:
        listener.binding = None
        listener.bound = bound
        _log.info(
            "frontend {name} ({mode}) listens on {address}{tls}",
            name=listener.frontend.name,
            mode=listener.frontend.mode,
            address=str(bound.address),
            tls=" with TLS" if listener.spec.tls else "",
        )

    def _unbind(self) -> list[Deferred[Any]]:
        closing = []
        for listener in self.listeners:
            binding, listener.binding = listener.binding, None
            if binding is not None:
                binding.cancel()
            bound, listener.bound = listener.bound, None
            if bound is not None:
                closing.append(maybeDeferred(bound.close))
        return closing

    def stopService(self) -> Deferred[None]:
        """Stop accepting, let what runs finish for ``timeout_shutdown``, then cut it off.  Fires when all is closed."""
        done: Deferred[None] = Deferred()
        closing = self._unbind()
        for frontend in self.frontends.values():
            frontend.stop()
        for backend in self.backends.values():
            backend.close()
        deadline = self.network.wheel.now() + self.config.settings.timeout_shutdown

        def look() -> None:
            left = sum(len(frontend.clients) for frontend in self.frontends.values())
            if left and self.network.wheel.now() < deadline:
                self.reactor.callLater(0.05, look)
                return
            if left:
                _log.warn("{left} sessions cut off at shutdown", left=left)
            self._cut()
            finishing = [*closing, maybeDeferred(super(LoadBalancer, self).stopService)]
            DeferredList(finishing, consumeErrors=True).addCallback(finish)

        def finish(_: Any) -> None:
            self._cut()
            for sink in self._sinks.values():
                sink.stop()
            done.callback(None)

        look()
        return done

    def _cut(self) -> None:
        for frontend in self.frontends.values():
            frontend.abort()
        for backend in self.backends.values():
            for server in backend.group.servers.values():
                backend.kill_sessions(server, Kind.SHUTDOWN)

    # -- for embedders --------------------------------------------------------------------------

    def frontend(self, name: str) -> Frontend:
        """KeyError if there is none."""
        return self.frontends[name]

    def backend(self, name: str) -> Backend:
        """KeyError if there is none."""
        return self.backends[name]

    def factory(self, frontend: str) -> Factory:
        """A protocol factory of a frontend, for an endpoint of your own (TLS is then the endpoint's business)."""
        return self._factory(self.frontends[frontend], None, None)

    # -- servers at run time --------------------------------------------------------------------

    def add_server(self, backend: str, line: str) -> ServerState:
        """Add a server, written as in ``servers``: ``add_server("app", "c 10.0.0.3:8000 weight=2")``.

        It is checked and resolved like one from the file.  Raises KeyError (backend), ConfigErrors (line),
        ValueError (name taken).
        """
        owner = self.backends[backend]
        server = owner.add(parse_server_line(line, self.config))
        self._sync(backend)
        return server

    def remove_server(self, backend: str, name: str) -> ServerState:
        """Take a server out at once; what runs on it finishes.  KeyError."""
        server = self.backends[backend].remove(name)
        self._sync(backend)
        return server

    def set_weight(self, backend: str, name: str, weight: int) -> None:
        """0 takes no new traffic.  KeyError, ValueError."""
        self.backends[backend].group.set_weight(name, weight)

    def drain(self, backend: str, name: str) -> None:
        """No new traffic; sessions finish by themselves.  KeyError."""
        self.backends[backend].set_admin(name, AdminState.DRAIN)

    def maint(self, backend: str, name: str) -> None:
        """No new traffic and no checks.  KeyError."""
        self.backends[backend].set_admin(name, AdminState.MAINT)
        self._sync(backend)

    def ready(self, backend: str, name: str) -> None:
        """Back to work, if it is healthy.  KeyError."""
        self.backends[backend].set_admin(name, AdminState.READY)
        self._sync(backend)

    def _sync(self, backend: str) -> None:
        self._resolvers[backend].sync()
        if backend in self._checkers:
            self._checkers[backend].sync()

    def reopen_logs(self) -> None:
        """After rotation: write to new files."""
        for sink in self._sinks.values():
            sink.reopen()
