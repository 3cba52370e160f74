"""CONTROL. The admin API as a service: its addresses, access rules and streams.

:class:`lbproxy.service.LoadBalancer` owns it if ``[lbproxy] admin`` has an address. It runs on the
reactor's own transports, regardless of the transports of traffic.
"""

# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory

from lbproxy.admin.auth import Role, Tokens
from lbproxy.admin.channel import AdminFactory
from lbproxy.admin.door import Door
from lbproxy.admin.lag import Lag
from lbproxy.admin.pace import AddressPaces, paces
from lbproxy.admin.parts import PARTS
from lbproxy.admin.reloads import Reloads
from lbproxy.admin.route import APICall, APIError, APIRoute, RouteTable
from lbproxy.admin.state import States
from lbproxy.admin.stream import MAX_STREAMS, RESERVED_STREAMS, Follower
from lbproxy.config.model import AdminSpec, Config, GlobalSpec, ListenSpec
from lbproxy.errors import ListenError
from lbproxy.net.endpoints import Binder
from lbproxy.net.inherited import Inherited
from lbproxy.net.stock import StockBinder
from lbproxy.observe.events import EventKind
from lbproxy.tls.contexts import ServerContextFactory, server_contexts

__all__ = ["Admin"]

_log = Logger()

_POLL = 0.1  # seconds between two checks whether all workers serve
_SHOWN = 10  # maximum number of changes in the text of one event


class Admin(Service):
    """The admin API; see the module.

    ``balancer``: the :class:`lbproxy.service.LoadBalancer`. ``table``: the routes. ``states``: the
    state and its followers. Raises TokenError and CertificateError.
    """

    name = "admin"

    def __init__(self, balancer: Any, config: Config, reactor: Any, binder: Binder) -> None:
        settings = config.settings
        self.balancer = balancer
        self.reactor = reactor
        self.started = time.time()
        self.parts = PARTS
        self.metrics_servers = settings.metrics_servers
        self.lag = Lag(reactor)
        self.paces = paces(reactor.seconds)
        self.address_paces = AddressPaces(reactor.seconds)
        self.reloads = Reloads(balancer, reactor)
        self._announcing: Any = None
        self.hosts = frozenset(name.lower() for name in settings.admin_hosts)
        self.public = frozenset(settings.admin_public)
        self.table = RouteTable(route for part in self.parts for route in part.routes)
        self.states = States(self)
        self.doors = self.doors_of(config)
        self._binder = binder if isinstance(binder, StockBinder) else StockBinder(reactor)
        self._factories: list[AdminFactory] = []
        self._followers: set[Follower] = set()

    # -- the service ----------------------------------------------------------------------------

    def bind(self) -> None:
        """Listen on all addresses, once. The load balancer calls it together with its own. Raises
        ListenError.
        """
        self._bind_all(self.doors)

    def _bind_all(self, doors: list[Door]) -> None:
        fresh = [door for door in doors if door.bound is None]
        for door in fresh:
            try:
                self._bind(door)
            except ListenError:
                _close(fresh)
                raise

    def _outer(self, door: Door, factory: AdminFactory) -> Any:
        if door.tls is None:
            return factory
        outer: Any = TLSMemoryBIOFactory(door.tls, False, factory, self.reactor)
        outer.noisy = False
        return outer

    def _bind(self, door: Door) -> None:
        spec = door.spec
        assert spec.address is not None
        door.factory = factory = AdminFactory(self, door)
        outer = self._outer(door, factory)
        door.bound = self._binder.listen(spec.address, outer, backlog=spec.backlog, mode=spec.mode)
        self._factories.append(factory)
        if not (spec.tls or door.unix or door.loopback):
            _log.warn(
                "admin at {address} is not encrypted: tokens can be intercepted; use tls:",
                address=str(door.bound.address),
            )

    def _announce(self) -> None:
        """Log the addresses once they answer; with workers, when all of them serve."""
        self._announcing = None
        if not self.balancer.serving:
            self._announcing = self.reactor.callLater(_POLL, self._announce)
            return
        for door in self.doors:
            if door.bound is not None and not door.announced:
                door.announced = True
                tls = " with TLS" if door.spec.tls else ""
                _log.info("admin is at {address}{tls}", address=str(door.bound.address), tls=tls)

    def inherit(self, sockets: Inherited) -> None:
        """Listen on these sockets instead of new ones if their address is configured."""
        self._binder.inherited = sockets

    def unbind(self) -> list[Deferred[Any]]:
        """Stop listening; connections continue.

        Each Deferred fires when a socket is closed, its file included.
        """
        return _close(self.doors)

    def startService(self) -> None:
        """Start to measure the lag."""
        super().startService()
        self.lag.start()
        self._announcing = self.reactor.callLater(0, self._announce)

    def stopService(self) -> Deferred[Any]:
        """Stop listening and close every connection."""
        super().stopService()
        self.lag.stop()
        self.reloads.stop()
        call, self._announcing = self._announcing, None
        if call is not None:
            call.cancel()
        closing = self.unbind()
        for follower in list(self._followers):
            follower.stop()
        for factory in self._factories:
            factory.close()
        self._factories.clear()
        return DeferredList(closing, consumeErrors=True)

    # -- reload ---------------------------------------------------------------------------------

    @staticmethod
    def doors_of(config: Config) -> list[Door]:
        """Return the addresses of a configuration. Reads tokens and keys.

        Raises TokenError and CertificateError.
        """
        settings = config.settings
        tokens = Tokens.load(settings.admin_tokens) if settings.admin_tokens else None
        return [Door(spec, tokens, _contexts(spec, config)) for spec in settings.admin]

    def open(self, doors: list[Door]) -> None:
        """Bind those of ``doors`` that are not open now.

        Raises ListenError without binding any of them.
        """
        there = [door.spec.address for door in self.doors if door.bound is not None]
        self._bind_all([door for door in doors if door.spec.address not in there])

    def shut(self, doors: list[Door]) -> None:
        """Undo :meth:`open`."""
        _close(doors)

    def take(self, doors: list[Door], settings: GlobalSpec) -> None:
        """Continue with ``doors``, which are open already. From now on all callers are checked by
        the new rules.
        """
        present = {door.spec.address: door for door in self.doors}
        self.doors = [self._renewed(present.pop(door.spec.address, None), door) for door in doors]
        for door in present.values():
            door.role, door.tokens = (
                Role.NONE,
                Tokens(),
            )  # open connections lose their rights
        _close(present.values())
        self.hosts = frozenset(name.lower() for name in settings.admin_hosts)
        self.public = frozenset(settings.admin_public)
        self.metrics_servers = settings.metrics_servers
        if self._announcing is None:
            self._announce()

    def _renewed(self, old: Door | None, new: Door) -> Door:
        if old is None:
            return new
        mode = new.spec.mode if new.spec.mode != old.spec.mode else None
        old.spec, old.role, old.tokens, old.tls = new.spec, new.role, new.tokens, new.tls
        if old.bound is not None and old.factory is not None:
            old.bound.serve(self._outer(old, old.factory), mode=mode)
        return old

    # -- streams --------------------------------------------------------------------------------

    def following(self, follower: Follower, role: Role = Role.WRITE) -> None:
        """Count a new stream of a caller with ``role``. Raises :class:`APIError` 503."""
        limit = MAX_STREAMS if role is Role.WRITE else MAX_STREAMS - RESERVED_STREAMS
        if len(self._followers) >= limit:
            raise APIError(503, f"too many open streams; the limit is {limit}")
        self._followers.add(follower)

    def unfollowed(self, follower: Follower) -> None:
        """Count a closed stream."""
        self._followers.discard(follower)
        follower.lost()

    @property
    def followers(self) -> int:
        """Number of open streams."""
        return len(self._followers)

    # -- the log --------------------------------------------------------------------------------

    def audit(self, call: APICall, route: APIRoute, status: int) -> None:
        """Record a change, or an attempt to make one, with its caller.

        The log shows the body of the request, or the changes of a request without one.
        """
        path = route.path
        for name, value in call.path.items():
            path = path.replace(f"{{{name}}}", value[:100])
        _log.info(
            "admin: {who}: {method} {path} {body} -> {status}",
            who=call.who.name,
            method=route.method,
            path=path,
            body=_listed(call.changes) if call.body is None else str(call.body)[:300],
            status=status,
        )
        if call.changes:
            subject = "/".join(value[:100] for value in call.path.values())
            self.balancer.events.add(
                EventKind.CHANGED,
                subject,
                f"{_listed(call.changes)}, by {call.who.name}",
                who=call.who.name,
                method=route.method,
                path=path,
            )


def _listed(changes: list[str]) -> str:
    """Join the first changes to one line."""
    more = len(changes) - _SHOWN
    rest = f" and {more} more" if more > 0 else ""
    return "; ".join(one[:300] for one in changes[:_SHOWN]) + rest


def _close(doors: Iterable[Door]) -> list[Deferred[Any]]:
    closing = []
    for door in doors:
        bound, door.bound, door.announced = door.bound, None, False
        if bound is not None:
            closing.append(maybeDeferred(bound.close))
    return closing


def _contexts(spec: AdminSpec, config: Config) -> ServerContextFactory | None:
    if not spec.tls:
        return None
    listen = ListenSpec(
        address=spec.address,
        endpoint=spec.endpoint,
        tls=True,
        certificates=spec.certificates,
        where=spec.where,
    )
    contexts = server_contexts(listen, config.certificates, "http")
    if spec.client_ca:
        contexts.demand_client(spec.client_ca)
    return contexts
