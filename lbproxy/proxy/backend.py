"""DATA. A backend at work: its group of servers, its queue, its features, and the connectors of
its servers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from lbproxy.balance.base import Balancer, Need
from lbproxy.balance.group import Claims, ServerGroup
from lbproxy.balance.lease import Lease
from lbproxy.balance.live import LiveServer
from lbproxy.balance.server import CONFIG, AdminState, ServerState, State
from lbproxy.balance.sticky import Sticky
from lbproxy.config.diff import server_moves
from lbproxy.config.model import BackendSpec, ServerSpec
from lbproxy.errors import Kind, ProxyError
from lbproxy.health.breaker import RetryLimit
from lbproxy.http.filter import Phases, compile_phases
from lbproxy.http.retry import RetryPolicy
from lbproxy.interfaces import PickContext
from lbproxy.net.endpoints import Dial, Dialler
from lbproxy.observe.metrics import BackendCounters
from lbproxy.proxy.dial import dial_server
from lbproxy.proxy.feature import Feature, FeatureSet, counts_of, shown, take_over
from lbproxy.proxy.guarding import each, guard
from lbproxy.proxy.http.connector import connector_of
from lbproxy.proxy.http.guardedsource import source_of
from lbproxy.proxy.http.h1connector import H1Connector
from lbproxy.proxy.http.missingconnector import MakeConnector, make_connector_for
from lbproxy.proxy.http.source import Source
from lbproxy.proxy.queue import Queue, Waiter
from lbproxy.proxy.ratelog import Quiet
from lbproxy.proxy.terms import Terms
from lbproxy.sharing.contracts import Turn
from lbproxy.tls.parameters import TLSParameters

if TYPE_CHECKING:
    from lbproxy.proxy.roles import Evidence, Pick, SessionWatch

__all__ = ["Backend", "MakeConnector", "Moves"]

_quiet = Quiet(Logger(__name__))

TLSFor = Callable[[ServerSpec], TLSParameters | None]


class Moves:
    """The difference between two configurations of a backend: servers to remove, change and add."""

    def __init__(self, gone: list[ServerState]) -> None:
        self.gone = gone
        self.changed: list[tuple[ServerState, ServerSpec]] = []
        self.added: list[ServerSpec] = []


class Backend:
    """The servers of a backend, their balancer, queue and features.

    ``tls_for`` gives the client side TLS parameters of a server line, None in the clear.
    ``servers``: the source of exchanges, around which features put theirs (``source``).
    ``make_connector`` makes the connectors of servers. ``random`` is for pauses before retries.
    ``kinds``: the features it could have; ``features``: those it has, by name; ``counts``: what
    they count. ``processes``: how many serve the same servers, this one included.
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
        # Roles of features that traffic asks directly (lbproxy.proxy.roles)
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
        # After a feature has added or removed servers: services follow (Generation.note_services)
        self.sync: Callable[[], None] = _nothing
        self._configure(spec, filters)
        self.group.on_state(self._state_changed)
        self.group.on_addresses(self._addresses_changed)
        self.group.on_change(self._servers_changed)
        self.group.on_free(self.serve_queue)
        self.group.on_error(self._balancer_failed)
        self.random = (random or Random()).random
        self._tls_for = tls_for
        self._serving = False
        with self.group.changes():
            for server in spec.servers:
                self.add(server)
        self._use(features or {})

    # -- configuration --------------------------------------------------------------------------

    def _configure(self, spec: BackendSpec, filters: Sequence[Any]) -> None:
        """Take over what follows from the section, but for servers and balancer; at start and with
        each reload."""
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
        """Have exactly these features."""
        take_over(self, self.features, features)
        self.source = source_of(self.features, self._servers)

    def moves(self, spec: BackendSpec) -> Moves:
        """Return the effect of :meth:`refit` with ``spec`` on the current servers.

        What the configuration does not change, an operator may have changed meanwhile, and that
        stays: a server removed stays removed, one added stays, and so do a weight, a limit, drain
        and maint.
        """
        live = self.group.servers
        planned = server_moves(self.spec.servers, spec.servers)
        moves = Moves([live[name] for name in planned.removed if name in live])
        for server in spec.servers:
            name = server.name
            there = live.get(name)
            if there is None:
                if name in planned.added:
                    moves.added.append(server)
            elif there in moves.gone:
                moves.added.append(server)
            elif there.discovered:
                moves.gone.append(there)
                moves.added.append(server)
            elif there.spec.target == server.target:
                if there.spec != server:
                    moves.changed.append((there, server))
            elif name in planned.added or name in planned.changed:
                moves.gone.append(there)
                moves.added.append(server)
        return moves

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
        """Go on as ``spec`` says.  Servers that keep name and address keep all they are; leases,
        queue and pools stay.

        ``balancer``: a new one, or None to keep the present one.  ``features``: all of them, old
        and new. ``tls``: what ``tls_for`` gave for each server of ``spec``.  Raises nothing: the
        caller makes what may fail."""
        moves = self.moves(spec)
        self._tls_for = tls_for
        self._configure(spec, filters)
        self._use(features)
        for server in self.group.servers.values():
            guard(connector_of(server).refit)
        with self.group.changes():
            for server in moves.gone:
                if self.group.servers.get(server.name) is server:  # else its discovery has done it
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
        """Another line for the same server: only what is different in it counts."""
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
        """A new server; it takes traffic once it has an address.  ValueError if the name is taken.

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
        """Give a server that is not the configuration's another line with the same address.

        It keeps its sessions, health and counters, and what operators changed of it. Certificates
        are read again.  ConfigErrors, and then nothing is changed.
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
        """Take a server out: no new work, idle connections closed, running work finishes.  KeyError
        if unknown."""
        server = self.group.remove(name)
        guard(connector_of(server).close)
        each(self.features.values(), "server_removed", server)
        return server

    def set_admin(self, name: str, state: AdminState) -> None:
        """Set the state that the operator wants."""
        self.group.set_admin(name, state)

    @property
    def needs(self) -> frozenset[Need]:
        """Properties of a client that the choice of a server needs."""
        needs = self.group.balancer.needs
        return needs if self.sticky is None else needs | self.sticky.needs

    def tls_parameters(self, server: ServerState) -> TLSParameters | None:
        """How to speak TLS with it; None in the clear."""
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
        """A name has moved, or checks have excluded an address.

        No further request goes over a connection to an address that is not used any more.
        ``on_down = close`` ends what runs there, as if a server had gone down."""
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
            "balancer of backend {backend} failed, took the first usable server",
            Failure(error),
            backend=self.name,
        )

    def kill_sessions(self, server: ServerState, kind: Kind = Kind.SESSION_KILLED) -> int:
        """End every session of ``server``; how many there were."""
        sessions = list(server.sessions)
        for session in sessions:
            session.server_gone(kind)
        return len(sessions)

    def feature_snapshot(self) -> dict[str, Any]:
        """Return the snapshots of its features as plain JSON types."""
        return shown(self)

    # -- leases ---------------------------------------------------------------------------------

    def acquire(
        self, waiter: Waiter, traffic: PickContext, tried: Sequence[ServerState]
    ) -> Lease | None:
        """A lease now, or None: then ``waiter`` waits in the queue and is told later.

        ``traffic`` and ``tried`` are those of the waiter.  Raises :class:`ProxyError` QUEUE_FULL,
        CIRCUIT_OPEN, or NO_SERVER when none is up and ``no_server`` is ``fail``."""
        group = self.group
        if self.maxconn and group.active + len(self.queue) >= self.maxconn:
            self.counters.circuit_open += 1
            raise ProxyError(Kind.CIRCUIT_OPEN, f"{group.active} active, {len(self.queue)} waiting")
        if self.retry_limit is not None and not tried:
            self.retry_limit.request(self.wheel.now())
        if self.terms.bound:
            lease = self._bound_lease(traffic, tried)
            if lease is not None:
                return lease
        queue = self.queue
        if not len(queue) and (queue.turn is None or not queue.others_wait):
            lease = self.pick(traffic, tried)
            if lease is None and tried:
                lease = self.pick(traffic)
            if lease is not None:
                return lease
        elif self.sticky is not None:  # its server may be one that those who wait cannot have
            lease = self.sticky.keep(traffic, tried)
            if lease is not None:
                return lease
        if not group.has_eligible and self.spec.no_server == "fail":
            self.counters.no_server += 1
            raise ProxyError(Kind.NO_SERVER, f"no server of {self.name} is up")
        try:
            self.queue.join(waiter)
        except ProxyError:
            self.counters.queue_full += 1
            raise
        self.counters.queued += 1
        return None

    def _bound_lease(self, traffic: Any, tried: Sequence[ServerState]) -> Lease | None:
        """A lease of the server that knows the user of this client connection, or None."""
        bound = traffic.info.bound
        server: ServerState | None = None if bound is None else bound.server(self.name)
        return None if server is None or server in tried else self.group.take(server)

    def acquire_at_once(self, traffic: PickContext, tried: Sequence[ServerState]) -> Lease | None:
        """A lease of a server not in ``tried``, if nobody waits in the queue and ``maxconn``
        allows; never waits."""
        queue = self.queue
        if len(queue) or (self.maxconn and self.group.active >= self.maxconn):
            return None
        if queue.turn is not None and queue.others_wait:
            return None
        return self.group.pick(traffic, tried)

    def turned_away(self, kind: Kind) -> None:
        """Count one who waited in the queue in vain."""
        if kind is Kind.QUEUE_TIMEOUT:
            self.counters.queue_timeouts += 1
        elif kind is Kind.QUEUE_FULL:  # gave way to another
            self.counters.queue_full += 1

    def has_other(self, tried: Sequence[ServerState]) -> bool:
        """Whether some server that could be picked is not among ``tried``."""
        return any(server not in tried for server in self.group.listed)

    def serve_queue(self) -> None:
        """Give free places to waiters, in turn; where other processes have earlier waiters, wake
        those."""
        if self._serving:
            return
        turn = self.queue.turn
        if turn is not None and not self.group.has_free:
            return
        self._serving = True
        try:
            queue, pick = self.queue, self.pick
            while (waiter := queue.first()) is not None:
                if turn is not None and not queue.has_turn:
                    break
                traffic = waiter.traffic
                lease = pick(traffic, waiter.tried) or pick(traffic)
                if lease is None:
                    break
                queue.leave(waiter)
                waiter.leased(lease)
        finally:
            self._serving = False
        if turn is not None and self.group.has_free:
            turn.wake_first()

    def join(self, claims: Claims | None, turn: Turn | None) -> None:
        """Keep the limits of servers, and the order of the queue, together with other processes."""
        self.group.claims = claims
        self.queue.turn = turn

    # -- dialling -------------------------------------------------------------------------------

    def dial(
        self,
        server: ServerState,
        protocol: IProtocol,
        failed: Callable[[ProxyError], None],
        preamble: bytes = b"",
    ) -> Dial:
        """Connect to ``server``, trying its addresses in turn within ``timeout_connect``."""
        return dial_server(self.terms, server, protocol, failed, preamble)

    def use_connectors(self, make: MakeConnector) -> None:
        """Speak to all servers by connectors that ``make`` makes, from the next request on."""
        self.make_connector = make
        for server in self.group.servers.values():
            guard(connector_of(server).close)
            server.connector = make_connector_for(make, self.terms, server)

    def start(self, processes: int = 1) -> None:
        """Traffic begins.  Called again after each reload.  ``processes``: how many serve the same
        servers."""
        self.processes = processes
        each(self.features.values(), "start")

    def retire(self) -> None:
        """Accept no new traffic: those who are here may finish, the waiting too; no connection is
        kept idle.
        """
        each(self.features.values(), "retire")
        for server in self.group.servers.values():
            guard(connector_of(server).close)

    def close(self) -> None:
        """:meth:`retire`, and send the waiting away."""
        self.queue.refuse_all(ProxyError(Kind.SHUTDOWN))
        self.retire()
        each(self.features.values(), "close")


def _nothing() -> None:
    """The backend serves in no generation yet."""
