"""DATA. The parts of a backend: configuration, servers with their connectors, and features.

:class:`~lbproxy.proxy.backend.Backend` extends it with traffic.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import TYPE_CHECKING, Any

from twisted.logger import Logger
from twisted.python.failure import Failure

from lbproxy.balance.base import Balancer, Need
from lbproxy.balance.group import ServerGroup
from lbproxy.balance.live import LiveServer
from lbproxy.balance.server import CONFIG, AdminState, ServerState, State
from lbproxy.balance.sticky import Sticky
from lbproxy.config.model import BackendSpec, ServerSpec
from lbproxy.errors import Kind
from lbproxy.health.breaker import RetryLimit
from lbproxy.http.filter import Phases, compile_phases
from lbproxy.http.retry import RetryPolicy
from lbproxy.net.endpoints import Dialler
from lbproxy.observe.metrics import BackendCounters
from lbproxy.proxy.feature import Feature, FeatureSet, counts_of, shown, take_over
from lbproxy.proxy.guarding import each, guard
from lbproxy.proxy.http.connector import connector_of
from lbproxy.proxy.http.guardedsource import source_of
from lbproxy.proxy.http.h1connector import H1Connector
from lbproxy.proxy.http.missingconnector import MakeConnector, make_connector_for
from lbproxy.proxy.http.source import Source
from lbproxy.proxy.queue import Queue
from lbproxy.proxy.ratelog import Quiet
from lbproxy.proxy.servermoves import Moves, moves_between
from lbproxy.proxy.terms import Terms
from lbproxy.tls.parameters import TLSParameters

if TYPE_CHECKING:
    from lbproxy.proxy.roles import Evidence, Pick, SessionWatch

__all__ = ["BackendMembers", "TLSFor"]

_quiet = Quiet(Logger(__name__))

TLSFor = Callable[[ServerSpec], TLSParameters | None]


class BackendMembers:
    """The servers and features of a backend; configuration, operators and checks change them.

    ``tls_for`` returns the TLS parameters for a server line, None for plain text. ``servers`` is
    the source of exchanges, around which features put theirs (``source``). ``make_connector``
    creates the connector of a server. ``random`` is for pauses before retries. ``kinds``: the
    features that it could have; ``features``: those it has, by name; ``counts``: their counters.
    ``processes``: number of processes that serve the same servers, this one included.
    """

    def __init__(
        self,
        spec: BackendSpec,
        dialler: Dialler,
        balancer: Balancer,
        *,
        servers: Source,
        filters: Sequence[Any] = (),
        tls_for: TLSFor = lambda server: None,
        make_connector: MakeConnector = H1Connector,
        random: Random | None = None,
        kinds: Sequence[type[Feature[Any]]] = (),
        features: FeatureSet | None = None,
    ) -> None:
        self.name = spec.name
        self.mode = spec.mode
        self.dialler = dialler
        self.make_connector = make_connector
        self.terms = Terms(dialler, spec)
        self.wheel = dialler.wheel
        self.counters = BackendCounters()
        self.queue = Queue(dialler.wheel, spec.queue, spec.timeout_queue)
        self.group = ServerGroup(balancer, dialler.wheel.now, panic=spec.panic)
        self._panicking = False
        # roles of features that traffic calls directly (lbproxy.proxy.roles)
        self.pick: Pick = self.group.pick
        self.sticky: Sticky | None = None
        self.passive: Evidence | None = None
        self.retry_limit: RetryLimit | None = None
        self.rebalancer: SessionWatch | None = None
        self._servers = servers
        self.source = servers
        self.kinds: Sequence[type[Feature[Any]]] = kinds
        self.counts: dict[str, Any] = counts_of(kinds)
        self.features: dict[str, Feature[Any]] = {}
        self.processes = 1
        # called after a feature has added or removed servers, so that services update
        # (Generation.note_services)
        self.sync: Callable[[], None] = _nothing
        self._configure(spec, filters)
        self.group.on_state(self._state_changed)
        self.group.on_addresses(self._addresses_changed)
        self.group.on_change(self._servers_changed)
        self.group.on_free(self.serve_queue)
        self.group.on_error(self._balancer_failed)
        self.random = (random or Random()).random
        self._tls_for = tls_for
        self._serving = False  # serve_queue() is running
        with self.group.changes():
            for server in spec.servers:
                self.add(server)
        self._use(features or {})

    # -- configuration --------------------------------------------------------------------------

    def _configure(self, spec: BackendSpec, filters: Sequence[Any]) -> None:
        """Apply the keys of the section, except servers and balancer; at start and at each
        reload.
        """
        self.spec = spec
        self.filters = tuple(filters)
        self.phases: Phases = compile_phases(filters)
        self.terms.read(spec)
        self.retry_buffer = spec.retry_buffer
        self.host_header = spec.host_header.encode("ascii")
        self.retry = RetryPolicy.of(spec.retry_on, spec.retry_backoff)
        self.maxconn = spec.maxconn
        self.queue.limit = spec.queue
        self.queue.timeout = spec.timeout_queue
        self.group.panic = spec.panic

    def _use(self, features: FeatureSet) -> None:
        """Replace the features by these."""
        take_over(self, self.features, features)
        self.source = source_of(self.features, self._servers)

    def moves(self, spec: BackendSpec) -> Moves:
        """Return the effect of :meth:`refit` with ``spec`` on the current servers."""
        return moves_between(self.group.servers, self.spec, spec)

    def refit(
        self,
        spec: BackendSpec,
        *,
        filters: Sequence[Any],
        balancer: Balancer | None,
        features: FeatureSet,
        tls_for: TLSFor,
        tls: Mapping[str, TLSParameters | None],
    ) -> None:
        """Apply a new configuration. Servers that keep name and address keep their state; leases,
        queue and pools stay.

        ``balancer``: a new one, or None to keep the present one. ``features``: all of them, old and
        new. ``tls``: the TLS parameters of each server of ``spec``. Raises nothing: the caller
        creates everything that may fail.
        """
        moves = self.moves(spec)
        self._tls_for = tls_for
        self._configure(spec, filters)
        self._use(features)
        for server in self.group.servers.values():
            guard(connector_of(server).refit)
        with self.group.changes():
            for server in moves.gone:
                if (
                    self.group.servers.get(server.name) is server
                ):  # otherwise its discovery has removed it
                    self.remove(server.name)
            for server, line in moves.changed:
                self._change(server, line)
            for line in moves.added:
                self._add(line, tls[line.name])
            self.group.reorder([line.name for line in spec.servers])
        if balancer is not None:
            self.group.set_balancer(balancer)
        for line in spec.servers:
            there = self.group.servers.get(line.name)
            if there is not None and there.spec == line and there.tls is not tls[line.name]:
                there.tls = tls[line.name]
                guard(connector_of(there).renew)

    def _change(self, server: ServerState, line: ServerSpec) -> None:
        """Apply the differences between the line of ``server`` and ``line``."""
        old, server.spec = server.spec, line
        server.origin = CONFIG
        if line.weight != old.weight:
            self.group.set_weight(server.name, line.weight)
        if line.maxconn != old.maxconn:
            self.group.set_maxconn(server.name, line.maxconn)
        if line.disabled is not old.disabled:
            self.set_admin(server.name, AdminState(line.admin))
        if line.send_proxy != old.send_proxy:
            guard(connector_of(server).renew)

    # -- servers --------------------------------------------------------------------------------

    def add(self, spec: ServerSpec, origin: str = CONFIG) -> ServerState:
        """Add a server, which gets traffic once it has an address. Raises ValueError if the name is
        taken.

        ``origin``: see :class:`~lbproxy.balance.server.ServerState`.
        """
        if spec.name in self.group.servers:
            raise ValueError(f"backend {self.name} already has a server named {spec.name!r}")
        return self._add(spec, self._tls_for(spec), origin)

    def _add(
        self, spec: ServerSpec, tls: TLSParameters | None, origin: str = CONFIG
    ) -> ServerState:
        server = LiveServer.from_spec(self.name, spec, origin)
        server.tls = tls
        check = self.spec.check
        if check is not None and check.initial == "down" and not spec.no_check:
            server.healthy, server.health_note = False, "not checked yet"
        server.connector = make_connector_for(self.make_connector, self.terms, server)
        self.group.add(server)
        each(self.features.values(), "server_added", server)
        return server

    def change(self, server: ServerState, line: ServerSpec) -> None:
        """Replace the line of a server that is not from the configuration; the address stays.

        The server keeps its sessions, health, counters and changes by operators. Certificates are
        read again. A ConfigErrors leaves everything unchanged.
        """
        old, new = server.tls, self._tls_for(line)
        if old is not None and new is not None:
            new = old if old.creator.fingerprint == new.creator.fingerprint else new
        origin = server.origin
        self._change(server, line)
        server.origin = origin
        if new is not old:
            server.tls = new
            guard(connector_of(server).renew)

    def remove(self, name: str) -> ServerState:
        """Remove a server: idle connections are closed, running work continues. Raises KeyError if
        it is unknown.
        """
        server = self.group.remove(name)
        guard(connector_of(server).close)
        each(self.features.values(), "server_removed", server)
        return server

    def set_admin(self, name: str, state: AdminState) -> None:
        """Set the state that the operator wants."""
        self.group.set_admin(name, state)

    @property
    def needs(self) -> frozenset[Need]:
        """Return the client properties that the choice of a server needs."""
        needs = self.group.balancer.needs
        return needs if self.sticky is None else needs | self.sticky.needs

    def tls_parameters(self, server: ServerState) -> TLSParameters | None:
        """Return the TLS parameters for ``server``, None for plain text."""
        tls: TLSParameters | None = server.tls
        return tls

    def _state_changed(self, server: ServerState, old: State, new: State) -> None:
        if new is State.DOWN and old is not new:
            server.counters.downs += 1
        if new is not State.UP:
            connector = connector_of(server)
            if new is State.DRAIN:
                guard(connector.drain)
            else:
                guard(connector.clear)
            if new is State.DOWN and self.spec.on_down == "close":
                self.kill_sessions(server, Kind.SERVER_DOWN)
        each(self.features.values(), "state_changed", server, old, new)
        if self.group.panicking is not self._panicking:
            self._panicking = self.group.panicking
            _quiet.warn(
                f"{self.name} panic {self._panicking}",
                "backend {backend}: {what}",
                backend=self.name,
                what="too few servers are up, health is ignored (panic)"
                if self._panicking
                else "enough servers are up again, panic is over",
            )

    def _addresses_changed(self, server: ServerState) -> None:
        """Stop using connections to addresses that DNS or checks have removed.

        With ``on_down = close`` their sessions end, as if a server had gone down.
        """
        guard(connector_of(server).moved)
        if self.spec.on_down != "close":
            return
        for session in list(server.sessions):
            if session.address is not None and session.address not in server.usable:
                session.server_gone(Kind.SERVER_DOWN)

    def _servers_changed(self) -> None:
        each(self.features.values(), "servers_changed")

    def _balancer_failed(self, error: BaseException) -> None:
        _quiet.failure(
            f"{self.name} balancer",
            "balancer of backend {backend} failed; using the first usable server",
            Failure(error),
            backend=self.name,
        )

    def kill_sessions(self, server: ServerState, kind: Kind = Kind.SESSION_KILLED) -> int:
        """End every session of ``server``; return their number."""
        sessions = list(server.sessions)
        for session in sessions:
            session.server_gone(kind)
        return len(sessions)

    def feature_snapshot(self) -> dict[str, Any]:
        """Return the snapshots of the features as plain JSON types."""
        return shown(self)

    def serve_queue(self) -> None:
        """Give free places to waiters. Called when a server has room again."""
        raise NotImplementedError

    def use_connectors(self, make: MakeConnector) -> None:
        """Replace the connectors of all servers by those that ``make`` creates."""
        self.make_connector = make
        for server in self.group.servers.values():
            guard(connector_of(server).close)
            server.connector = make_connector_for(make, self.terms, server)


def _nothing() -> None:
    """Do nothing: the backend serves in no generation yet."""
