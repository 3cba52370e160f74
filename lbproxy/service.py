"""The load balancer as a Twisted service, for ``twistd lbproxy`` and for other programs that embed
it.

    from lbproxy.service import LoadBalancer

    balancer = LoadBalancer.from_config("lb.ini", reactor=reactor)
    balancer.setServiceParent(application)

See ``docs/embedding.rst``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random
from secrets import token_bytes
from typing import TYPE_CHECKING, Any

from attrs import evolve
from twisted.logger import Logger
from twisted.python.failure import Failure

from lbproxy.admin.problems import admin_problems
from lbproxy.admin.server import Admin
from lbproxy.alerts.alerter import Alerter
from lbproxy.alerts.watch import Watch
from lbproxy.config.errors import ConfigErrors
from lbproxy.config.model import Address, Config, GlobalSpec, LogSpec, read_name_server
from lbproxy.configsource import ConfigSource, read_config
from lbproxy.ending import Ending
from lbproxy.errors import ListenError
from lbproxy.generation.assemble import compile_config
from lbproxy.generation.generation import Ground
from lbproxy.generation.listening import Listener, bind, unbind
from lbproxy.generation.reload import Reloader, ReloadReport
from lbproxy.generation.secret import KEPT_BYTES, kept_path, kept_secret
from lbproxy.guard.connections import ConnectionTotal
from lbproxy.logs.sink import LogSink
from lbproxy.net.descriptors import client_bound, handshake_bound
from lbproxy.net.endpoints import Network
from lbproxy.net.fast import choose_network
from lbproxy.net.steady import steady
from lbproxy.observe.events import EventKind, Events
from lbproxy.operate.changing import Changing
from lbproxy.operate.drain import Drains
from lbproxy.operate.journal import KeptJournal, journal_path
from lbproxy.operate.statefile import StateFile, write_whole
from lbproxy.process.filewatch import FileWatch
from lbproxy.process.upgrade import Upgrader
from lbproxy.proxy.ratelog import Quiet
from lbproxy.registry import refuse_nothing
from lbproxy.sharing.contracts import Replicated, Shared
from lbproxy.sharing.local import LocalReplicated, LocalShared

if TYPE_CHECKING:
    from lbproxy.nodes.store import SharedStore

__all__ = ["Listener", "LoadBalancer", "refuse_nothing"]

_log = Logger()
_quiet = Quiet(_log)


def _subscriber_failed(error: BaseException) -> None:
    _quiet.failure("subscriber", "a subscriber of events failed", Failure(error))


def _resolving(reactor: Any, config: Config) -> Any:
    """Return ``reactor``, or a wrapper that uses the name servers of ``config``."""
    servers = [read_name_server(one) for one in config.settings.nameservers]
    if not servers:
        return reactor
    # twisted.names, which few configurations need
    from lbproxy.net.nameservers import with_nameservers

    return with_nameservers(reactor, servers)


class LoadBalancer(Ending):
    """Frontends and backends of one configuration, on one reactor.

    ``generation``: the live objects of ``config``. ``network``: its connections. ``total``: the
    number of client connections. ``events``: see ``docs/events.rst``. ``processes``: number of
    processes that serve this configuration. ``worker_lag``, ``worker_lag_max``: the largest
    reactor lag of a worker in the last second and in the last minute, in seconds; 0 without
    workers. ``sinks`` creates the output of each access log (default: by the log's line).
    ``shared``, ``replicated``: state that processes share (:mod:`lbproxy.sharing`; default: not
    shared). ``nodes``: the service of ``[shared]``, or None.
    """

    processes = 1
    worker_lag = 0.0
    worker_lag_max = 0.0

    def __init__(
        self,
        config: Config,
        *,
        reactor: Any,
        network: Network | None = None,
        random: Random | None = None,
        shared: Shared | None = None,
        replicated: Replicated | None = None,
        sinks: Callable[[LogSpec, Any], LogSink] | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        reactor = steady(reactor)
        self.network: Network = (
            network if network is not None else choose_network(config.settings.transport, reactor)
        )
        self.reactor = reactor = _resolving(reactor, config)
        self.total = ConnectionTotal(config.settings.maxconn)
        self.handshakes = self.network.dialler.loop.handshakes
        self.events = Events(failed=_subscriber_failed)
        if random is None:
            random = Random()
        if replicated is None:
            replicated = LocalReplicated(self.network.wheel.now)
        if shared is None:
            shared = LocalShared()
        self.nodes: SharedStore | None = None
        if config.shared.on:
            from lbproxy.nodes.store import SharedStore  # few configurations need it

            dialler, machine = self.network.dialler, shared.machine
            self.nodes = SharedStore(config.shared, reactor, dialler, random, replicated, machine)
            self.nodes.setServiceParent(self)  # type: ignore[no-untyped-call]
        self._ground = Ground(
            reactor,
            self.network,
            random,
            self.total,
            self.events,
            shared,
            replicated,
            sinks,
            kept_secret(config) or token_bytes(KEPT_BYTES),
            nodes=self.nodes,
        )
        self.generation = compile_config(config, self._ground).commit()
        self._reloader = Reloader(self._ground, self)
        self._source = ConfigSource()
        self._file_watch = FileWatch(reactor, self._watched, self.reload)
        self._file_watch.setServiceParent(self)  # type: ignore[no-untyped-call]
        self._drains = Drains(reactor, self.network.wheel)
        self._drains.setServiceParent(self)  # type: ignore[no-untyped-call]
        for service in self.generation.services():
            service.setServiceParent(self)
        self.watch = Watch(self, reactor)
        self.watch.setServiceParent(self)  # type: ignore[no-untyped-call]
        self.alerter = Alerter(self, reactor)
        self.alerter.setServiceParent(self)  # type: ignore[no-untyped-call]
        file = StateFile(config.settings.state, reactor) if config.settings.state else None
        if file is not None:
            file.setServiceParent(self)  # type: ignore[no-untyped-call]
        self.changing = Changing(self, file)
        self._journal: KeptJournal | None = None
        shares = self._ground.replicated
        if file is not None and isinstance(shares, LocalReplicated):
            self._journal = KeptJournal(journal_path(config.settings.state), reactor, shares)
            self._journal.setServiceParent(self)  # type: ignore[no-untyped-call]
        self.handed_over = False
        self.stopping = False
        self._hurried = False
        # set by lbproxy.tap; None in a program that embeds lbproxy
        self.upgrader: Upgrader | None = None
        self.admin: Admin | None = None
        if config.settings.admin:
            self.admin = self._make_admin(config)
            self.admin.setServiceParent(self)  # type: ignore[no-untyped-call]

    def _make_admin(self, config: Config) -> Admin:
        return admin_problems(
            config, lambda: Admin(self, config, self.reactor, self.network.binder)
        )

    @property
    def serving(self) -> bool:
        """True if traffic is served."""
        return bool(self.running) and not self.stopping

    @property
    def turning(self) -> bool:
        """True if the reactors of all processes run, which is the case for this one."""
        return True

    @classmethod
    def from_config(
        cls,
        source: str | Path,
        *,
        reactor: Any = None,
        network: Network | None = None,
        random: Random | None = None,
        shared: Shared | None = None,
        replicated: Replicated | None = None,
        sinks: Callable[[LogSpec, Any], LogSink] | None = None,
    ) -> LoadBalancer:
        """Create one from a file (a Path, or a str of one line) or from a text of several lines.

        ``reactor`` defaults to the global one. Raises :class:`lbproxy.config.errors.ConfigErrors`
        with all errors. Nothing is opened or bound before :meth:`startService`.
        """
        config = read_config(source)
        if reactor is None:
            from twisted.internet import reactor
        state = {"shared": shared, "replicated": replicated, "sinks": sinks}  # a master has its own
        given: dict[str, Any] = {name: one for name, one in state.items() if one is not None}
        balancer = cls(config, reactor=reactor, network=network, random=random, **given)
        balancer._source.use(source)
        return balancer

    # -- the service ----------------------------------------------------------------------------

    def privilegedStartService(self) -> None:
        """Bind, while the process may still be root."""
        super().privilegedStartService()  # type: ignore[no-untyped-call]
        self._bind()

    def startService(self) -> None:
        """Listen and serve.

        Raises :class:`ListenError` if an address cannot be bound; nothing stays bound then.
        """
        self.stopping = self._hurried = False
        self._limit()
        self.changing.restore()
        self._keep_secret()
        if self._journal is not None:
            self._journal.restore()
        for frontend in self.frontends.values():
            frontend.start()
        for sink in self.generation.sinks.values():
            sink.start()
        super().startService()  # type: ignore[no-untyped-call]
        try:
            self._bind()
        except ListenError:
            super().stopService()
            for sink in self.generation.sinks.values():
                sink.stop()
            raise
        self._start_backends()

    def _keep_secret(self) -> None:
        """Write a random secret to its file, so that it survives a restart."""
        path = kept_path(self.config)
        if path and kept_secret(self.config) != self._ground.secret:
            try:
                write_whole(path, self._ground.secret)
            except OSError as error:
                _log.error(
                    "secret {path} cannot be written: {error}", path=path, error=error.strerror
                )

    def _start_backends(self) -> None:
        """Start the features of backends."""
        for backend in self.backends.values():
            backend.start(self.processes)

    def _limit(self) -> None:
        settings = self.config.settings
        self.total.maxconn = settings.maxconn or client_bound()
        self.handshakes.most = settings.max_handshakes or handshake_bound(self.total.maxconn)

    def _bound(self) -> list[Address]:
        """Return the addresses where this process listens now."""
        bounds = [one.bound for one in self.listeners]
        if self.admin is not None:
            bounds += [door.bound for door in self.admin.doors]
        return [bound.address for bound in bounds if bound is not None]

    def _bind(self) -> None:
        self.network.listening = self._bound
        bind(self.listeners, self.network.binder, self.reactor)
        if self.admin is not None:
            try:
                self.admin.bind()
            except ListenError:
                unbind(self.listeners)
                raise

    # -- reload ---------------------------------------------------------------------------------

    def reload(
        self, source: Config | str | Path | None = None, *, dry_run: bool = False
    ) -> ReloadReport:
        """Replace the configuration, and keep the sessions that the change does not affect.

        ``source``: as in :meth:`from_config`, a Config, or None for the file it was created from.
        ``dry_run``: only report the changes. Never raises. The report contains the reason for a
        failure: an invalid or empty configuration, an address that cannot be bound, or a process
        that stops or has been replaced. See ``docs/operations.rst``.
        """
        if self.stopping or self.handed_over:
            why = "another process serves by now" if self.handed_over else "lbproxy is stopping"
            return self._reloader.refused((why,), dry_run)
        try:
            config = self._source.read(source, self.config)
            if self.frontends:
                refuse_nothing(config)
            doors = admin_problems(config, lambda: Admin.doors_of(config))
            if doors and self.admin is None and not dry_run:
                self._begin_admin()
            if self.admin is not None and self.running and not dry_run:
                self.admin.open(doors)
        except ConfigErrors as errors:
            return self._reloader.refused(tuple(map(str, errors.errors)), dry_run)
        except ListenError as error:
            return self._reloader.refused((str(error),))
        self.generation, report = self._reloader.apply(self.generation, config, dry_run=dry_run)
        if not report.ok and self.admin is not None:
            self.admin.shut(doors)
        if report.ok and not dry_run:
            if self.admin is not None:
                self.admin.take(doors, config.settings)
            if self.running:
                self._limit()
                self._keep_secret()
                self._start_backends()
            self.changing.settle()
            if source is not None:
                self._source.use(source)
            # the state matches the event
            self.events.add(EventKind.RELOAD, "", f"reload: {report.summary()}")
        return report

    def _begin_admin(self) -> None:
        """Create the admin side, which has no address yet."""
        self.admin = self._make_admin(evolve(self.config, settings=GlobalSpec()))
        self.admin.setServiceParent(self)  # type: ignore[no-untyped-call]

    def _watched(self) -> tuple[str, ...]:
        """Return the files whose changes trigger a reload."""
        return self.config.sources if self.config.settings.watch and self._source.path else ()
