"""The load balancer as a Twisted service: what ``twistd lbproxy`` runs and what other programs
embed.

    from lbproxy.service import LoadBalancer

    balancer = LoadBalancer.from_config("lb.ini", reactor=reactor)
    balancer.setServiceParent(application)

See ``docs/embedding.rst``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from random import Random
from secrets import token_bytes
from typing import Any, TypeVar

from attrs import evolve
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from lbproxy.admin.auth import TokenError
from lbproxy.admin.server import Admin
from lbproxy.alerts.alerter import Alerter
from lbproxy.alerts.watch import Watch
from lbproxy.config.changes import Changes
from lbproxy.config.errors import ConfigError, ConfigErrors, Problems
from lbproxy.config.model import Address, Config, GlobalSpec, LogSpec, Where
from lbproxy.errors import Kind, ListenError
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
from lbproxy.net.inherited import Inherited
from lbproxy.net.steady import steady
from lbproxy.nodes.store import SharedStore
from lbproxy.observe.events import EventKind, Events
from lbproxy.operate.changing import Changing
from lbproxy.operate.drain import Drains
from lbproxy.operate.journal import KeptJournal, journal_path
from lbproxy.operate.statefile import StateFile, write_whole
from lbproxy.process import replication
from lbproxy.process.filewatch import FileWatch
from lbproxy.process.remainder import Kept
from lbproxy.process.upgrade import Upgrader
from lbproxy.proxy.ratelog import Quiet
from lbproxy.registry import load_config, parse_config, refuse_nothing
from lbproxy.runtime import Runtime
from lbproxy.sharing.contracts import Replicated, Shared
from lbproxy.sharing.local import LocalReplicated, LocalShared
from lbproxy.tls.certificates import CertificateError

__all__ = ["Listener", "LoadBalancer", "refuse_nothing"]

T = TypeVar("T")

_IDLE_GRACE = 5.0  # seconds in which an idle client may ask once more after an upgrade

_log = Logger()
_quiet = Quiet(_log)


def _subscriber_failed(error: BaseException) -> None:
    _quiet.failure("subscriber", "a subscriber of events failed", Failure(error))


def _is_text(source: Any) -> bool:
    """Return whether ``source`` is a configuration or its text, and not the name of a file."""
    return isinstance(source, Config) or (isinstance(source, str) and "\n" in source)


def _read(source: str | Path) -> Config:
    return parse_config(str(source)) if _is_text(source) else load_config(Path(source))


class LoadBalancer(Runtime):
    """Frontends and backends of one configuration, on one reactor.

    ``generation``: the live objects of ``config``. ``network`` moves all bytes; ``total`` counts
    client connections. ``events``: what happened (see ``docs/events.rst``). ``processes``: how many
    serve the same, this one included. ``worker_lag``, ``worker_lag_max``: the largest reactor lag
    of a worker process in the last second and in the last minute, in seconds; 0 without workers.
    ``sinks`` makes the output of each access log; without it, the log's line decides.
    ``shared``, ``replicated``: the state that processes share (:mod:`lbproxy.sharing`); without
    others, it is that of this process.  ``nodes``: what this process does with ``[shared]``.
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
        self.reactor = reactor = steady(reactor)
        self.network: Network = (
            network if network is not None else choose_network(config.settings.transport, reactor)
        )
        self.total = ConnectionTotal(config.settings.maxconn)
        self.handshakes = self.network.dialler.loop.handshakes
        self.events = Events(failed=_subscriber_failed)
        if random is None:
            random = Random()
        if replicated is None:
            replicated = LocalReplicated(self.network.wheel.now)
        self.nodes: SharedStore | None = None
        if config.shared.on:
            self.nodes = SharedStore(
                config.shared, reactor, self.network.dialler, random, replicated
            )
            self.nodes.setServiceParent(self)  # type: ignore[no-untyped-call]
        self._ground = Ground(
            reactor,
            self.network,
            random,
            self.total,
            self.events,
            shared if shared is not None else LocalShared(),
            replicated,
            sinks,
            kept_secret(config) or token_bytes(KEPT_BYTES),
            nodes=self.nodes,
        )
        self.generation = compile_config(config, self._ground).commit()
        self._reloader = Reloader(self._ground, self)
        self._source: Path | None = None  # the file it was made from
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
        self.upgrader: Upgrader | None = None  # lbproxy.tap's; a program that embeds this has none
        self.admin: Admin | None = None
        if config.settings.admin:
            self.admin = self._make_admin(config)
            self.admin.setServiceParent(self)  # type: ignore[no-untyped-call]

    def _make_admin(self, config: Config) -> Admin:
        return self._admin_problems(
            config, lambda: Admin(self, config, self.reactor, self.network.binder)
        )

    @staticmethod
    def _admin_problems(config: Config, make: Callable[[], T]) -> T:
        """``make()``, with what is wrong with tokens and keys as errors of the configuration."""
        problems = Problems()
        try:
            return make()
        except TokenError as error:
            where = config.place(config.settings.where, "lbproxy", "admin_tokens")
            problems.add_exception(where, "lbproxy", "admin_tokens", error)
        except CertificateError as error:
            problems.add_exception(config.settings.admin[0].where, "lbproxy", "admin", error)
        problems.raise_if_any()
        raise AssertionError("one of them was raised")

    @property
    def serving(self) -> bool:
        """Whether traffic is served."""
        return bool(self.running) and not self.stopping

    @property
    def turning(self) -> bool:
        """Whether the reactors of all processes run; True, since this one answers."""
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
        """From a file (a Path, or a str of one line) or from configuration text (a str with line
        breaks).

        ``reactor`` defaults to the global one. Raises :class:`lbproxy.config.errors.ConfigErrors`
        with everything that is wrong; nothing is opened or bound before :meth:`startService`.
        """
        config = _read(source)
        if reactor is None:
            from twisted.internet import reactor
        state = {"shared": shared, "replicated": replicated, "sinks": sinks}  # a master has its own
        given: dict[str, Any] = {name: one for name, one in state.items() if one is not None}
        balancer = cls(config, reactor=reactor, network=network, random=random, **given)
        if not _is_text(source):
            balancer._source = Path(source).absolute()  # a daemon changes its folder
        return balancer

    # -- the service ----------------------------------------------------------------------------

    def privilegedStartService(self) -> None:
        """Bind, while the process may still be root."""
        super().privilegedStartService()  # type: ignore[no-untyped-call]
        self._bind()

    def startService(self) -> None:
        """Listen and serve.

        Raises :class:`ListenError` when an address cannot be bound; nothing stays bound then.
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
            super().stopService()  # type: ignore[no-untyped-call]
            for sink in self.generation.sinks.values():
                sink.stop()
            raise
        self._start_backends()

    def _keep_secret(self) -> None:
        """Write a random secret to its file, so that it outlives a restart."""
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
        """The addresses where this process listens now."""
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

    def stopService(self) -> Deferred[None]:
        """Stop accepting, let what runs finish for ``timeout_shutdown``, then cut it off.

        Fires when all is closed.
        """
        self.stopping = True
        closing = unbind(self.listeners)
        patient = self.handed_over
        for frontend in self.frontends.values():
            frontend.stop(idle=not patient)
        if not patient:
            for backend in self.backends.values():
                backend.close()
        return Deferred.fromCoroutine(self._finish(closing, patient))

    async def _finish(self, closing: list[Deferred[Any]], patient: bool) -> None:
        """Close everything; an error in one object does not affect the others."""
        left = await self._sessions_end(patient)
        if left:
            _log.warn("{left} sessions cut off at shutdown", left=left)
        try:
            if self.handed_over:
                for backend in self.backends.values():
                    backend.close()
            self._cut()
            self._reloader.finish()
        finally:
            finishing = [*closing, maybeDeferred(super().stopService)]
            await DeferredList(finishing, consumeErrors=True)
            try:
                self._cut()
            finally:
                for sink in self.generation.sinks.values():
                    sink.stop()
                self.stopping = False

    def hurry(self) -> None:
        """Abort the remaining sessions, if lbproxy is stopping."""
        self._hurried = True

    async def _sessions_end(self, patient: bool) -> int:
        """Wait for sessions to end; return how many are left after their time.

        ``patient``: idle clients are not closed at once.
        """
        limit = self.config.settings.timeout_shutdown
        now = self.network.wheel.now
        deadline = now() + limit
        idle_until = now() + min(_IDLE_GRACE, limit / 2)
        while True:
            if patient and now() >= idle_until:
                patient = False
                for frontend in self.frontends.values():
                    frontend.stop()
            left = self.generation.sessions()
            left += sum(one.sessions for one in self._reloader.leaving)
            if not left or self._hurried or now() >= deadline:
                return left
            await deferLater(self.reactor, 0.05)

    # -- upgrade --------------------------------------------------------------------------------

    def sockets(self) -> list[tuple[Address, list[int]]]:
        """The descriptors that are listened on, by the address as it is configured.

        ListenError for an endpoint of Twisted's: nobody knows how to give its socket away."""
        bounds = [(one.spec.address, one.spec.endpoint, one.bound) for one in self.listeners]
        if self.admin is not None:
            bounds += [(d.spec.address, d.spec.endpoint, d.bound) for d in self.admin.doors]
        found = []
        for address, endpoint, bound in bounds:
            if address is None:
                raise ListenError(f"{endpoint} cannot be handed over, a restart is needed")
            if bound is not None:
                found.append((address, bound.sockets()))
        return found

    def inherit(self, sockets: Inherited, known: dict[str, Any]) -> None:
        """Take over the sockets and :meth:`known` of another process, before the start."""
        self.network.binder.inherited = sockets
        if self.admin is not None:
            self.admin.inherit(sockets)
        self.events.restore(known.get("events", ()))
        self.changing.inherit(Changes.from_json(known["changes"]))
        for name, server, address, healthy, note in known["health"]:
            backend = self.backends.get(name)
            found = backend.group.servers.get(server) if backend is not None else None
            if backend is None or found is None or str(found.spec.target) != address:
                continue
            if name in self.generation.checkers and not found.spec.no_check:
                backend.group.set_health(found, healthy, note)
        for message in known["sticky"]:
            replication.learn(self.backends, message)
        self._learn(known.get("kept", ()))
        if self._journal is not None:
            self._journal.inherit()

    def complete(self, events: Iterable[Mapping[str, Any]], kept: Iterable[Kept]) -> None:
        """Take over what the other process has added since :meth:`inherit`; it writes no more."""
        self.events.insert(events)
        self._learn(kept)
        if self._journal is not None:
            self._journal.own()

    def _learn(self, kept: Iterable[Kept]) -> None:
        """Take over messages that another process of this node knows."""
        shares = self._ground.replicated
        if isinstance(shares, LocalReplicated):
            for topic, message in kept:
                shares.spread(topic, message)

    def known(self) -> dict[str, Any]:
        """Return what a successor needs for :meth:`inherit`, as plain JSON types."""
        health = [
            (name, server.name, str(server.spec.target), server.healthy, server.health_note)
            for name in self.generation.checkers
            for server in self.backends[name].group.servers.values()
            if not server.spec.no_check
        ]
        shares = self._ground.replicated
        return {
            "changes": self.changing.changes.as_json(),
            "events": [event.as_dict() for event in self.events.since()],
            "health": health,
            "sticky": list(replication.whole(self.backends, replication.MOST_HANDED_OVER)),
            "kept": list(shares.everything()) if isinstance(shares, LocalReplicated) else [],
        }

    def note_kept(self) -> None:
        """See :class:`lbproxy.process.upgrade.Upgradable`."""
        shares = self._ground.replicated
        if isinstance(shares, LocalReplicated):
            shares.noted = []

    def noted(self) -> list[Kept]:
        """See :class:`lbproxy.process.upgrade.Upgradable`."""
        shares = self._ground.replicated
        if not isinstance(shares, LocalReplicated):
            return []
        found, shares.noted = shares.noted or [], None
        return found

    def own_sockets(self, owner: bool = True) -> None:
        """Set whether this process removes the files of Unix sockets."""
        doors = self.admin.doors if self.admin is not None else []
        for bound in (*(one.bound for one in self.listeners), *(door.bound for door in doors)):
            if bound is not None:
                bound.own(owner)

    def hand_over(self) -> None:
        """Another process serves on our sockets: accept no more.

        Files are its from now on.

        Connections live on until :meth:`stopService`, which then is patient with idle ones and with
        the waiting: it lets a client that keeps its connection ask once more.
        """
        self.handed_over = True
        self.own_sockets(False)
        self.changing.hand_over()
        if self._journal is not None:
            self._journal.silence()
        unbind(self.listeners)
        if self.admin is not None:
            self.admin.unbind()

    def _cut(self) -> None:
        for frontend in self.frontends.values():
            frontend.abort()
        for backend in self.backends.values():
            for server in backend.group.servers.values():
                backend.kill_sessions(server, Kind.SHUTDOWN)

    # -- reload ---------------------------------------------------------------------------------

    def reload(
        self, source: Config | str | Path | None = None, *, dry_run: bool = False
    ) -> ReloadReport:
        """Serve another configuration from now on; what it does not change lives on, sessions first
        of all.

        ``source``: as in :meth:`from_config`, a Config, or None for the file this was made from. A
        configuration that is wrong or serves nothing, or an address that cannot be bound, changes
        nothing: the report says why. Neither does any when lbproxy stops or has been replaced.
        Never raises. ``dry_run``: only say what would happen. See ``docs/operations.rst``.
        """
        if self.stopping or self.handed_over:
            why = "another process serves by now" if self.handed_over else "lbproxy is stopping"
            return self._reloader.refused((why,), dry_run)
        try:
            config = source if isinstance(source, Config) else self._reread(source)
            if self.frontends:
                refuse_nothing(config)
            doors = self._admin_problems(config, lambda: Admin.doors_of(config))
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
                self._source = None if _is_text(source) else Path(str(source)).absolute()
            self.events.add(
                EventKind.RELOAD, "", f"reload: {report.summary()}"
            )  # all is as it says
        return report

    def _begin_admin(self) -> None:
        """Create the admin side, which has no address yet."""
        self.admin = self._make_admin(evolve(self.config, settings=GlobalSpec()))
        self.admin.setServiceParent(self)  # type: ignore[no-untyped-call]

    def _watched(self) -> tuple[str, ...]:
        """The files whose changes ask for a reload."""
        return self.config.sources if self.config.settings.watch and self._source else ()

    def _reread(self, source: str | Path | None) -> Config:
        if source is not None:
            return _read(source)
        if self._source is None:
            message = "there is no file to read again: it was made from a text or a Config"
            raise ConfigErrors([ConfigError(Where(self.config.file), "", "", message)])
        return load_config(self._source)
