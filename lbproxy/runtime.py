"""The queries and run-time changes of a load balancer, for operators and embedding programs.

:class:`lbproxy.service.LoadBalancer` implements them. The admin API and the commands call the same
methods.
"""

from __future__ import annotations

from itertools import islice
from typing import Any

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.protocol import Factory

from lbproxy.balance.server import OPERATOR, AdminState, ServerState
from lbproxy.balance.stickytable import StickyEntry
from lbproxy.config.errors import ConfigError, ConfigErrors
from lbproxy.config.model import Config
from lbproxy.errors import Kind
from lbproxy.generation.exposure import exposed_files, exposed_keys
from lbproxy.generation.forgetting import forgotten
from lbproxy.generation.generation import Generation
from lbproxy.generation.guarding import guard_warnings, judge_of, server_reason
from lbproxy.generation.listening import Listener
from lbproxy.generation.plan import proxy_factory
from lbproxy.generation.secret import secret_warnings
from lbproxy.logs.sink import LogSink
from lbproxy.operate.changing import Changing
from lbproxy.operate.drain import (
    Drains,
    DrainStatus,
    SessionView,
    session_id,
    sessions_of,
    status_of,
)
from lbproxy.proxy.backend import Backend
from lbproxy.proxy.feature import Feature
from lbproxy.proxy.features.caching.cache import Cache
from lbproxy.proxy.features.caching.feature import Caching
from lbproxy.proxy.features.mirror import Mirror, MirrorDifference
from lbproxy.proxy.features.rebalancer import Rebalance, Rebalancer
from lbproxy.proxy.frontend import Frontend
from lbproxy.proxy.routeowner import RouteOwner
from lbproxy.registry import parse_server_line
from lbproxy.tls.certificates import KeyPair
from lbproxy.tls.contexts import unused_certificates

__all__ = ["Runtime"]


class Runtime(MultiService):
    """``generation``: the live objects of the configuration that is served."""

    generation: Generation
    changing: Changing
    _drains: Drains

    # -- what there is --------------------------------------------------------------------------

    @property
    def config(self) -> Config:
        """The current configuration."""
        return self.generation.config

    @property
    def frontends(self) -> dict[str, Frontend]:
        """By name."""
        return self.generation.frontends

    @property
    def routes(self) -> dict[str, RouteOwner]:
        """The routes as owners of features, by name; empty if no feature belongs to routes."""
        owners = (route for frontend in self.frontends.values() for route in frontend.routes)
        return {route.name: route for route in owners}

    @property
    def backends(self) -> dict[str, Backend]:
        """By name."""
        return self.generation.backends

    @property
    def listeners(self) -> list[Listener]:
        """In configuration order."""
        return self.generation.listeners

    @property
    def caches(self) -> dict[str, Cache[Any]]:
        """The caches that routes use, by name."""
        found = (Caching.of(route) for route in self.routes.values())
        return {one.cache.name: one.cache for one in found if one is not None}

    def warnings(self) -> list[str]:
        """Settings that are valid and probably mistakes, and files with secrets that all
        can read.
        """
        config = self.config
        found = [
            *exposed_files(config),
            *guard_warnings(config),
            *secret_warnings(config),
            *forgotten(config),
        ]
        for listener in self.listeners:
            tls = getattr(getattr(listener, "factory", None), "tls", None)
            if tls is not None:
                found += unused_certificates(listener.owner.name, tls.creator)
                found += exposed_keys(
                    f"frontend {listener.owner.name}", tls.creator.pairs, self.config
                )
        return found

    def frontend(self, name: str) -> Frontend:
        """KeyError if there is none."""
        return self.frontends[name]

    def backend(self, name: str) -> Backend:
        """KeyError if there is none."""
        return self.backends[name]

    def factory(self, frontend: str) -> Factory:
        """A protocol factory of a frontend, for an endpoint of your own (TLS is then the endpoint's
        business).
        """
        return proxy_factory(self.frontends[frontend], None, None)

    def _owners(self, kind: str) -> dict[str, Any]:
        """Backends, frontends or routes: those that have features."""
        owners: dict[str, dict[str, Any]] = {
            "backend": self.backends,
            "frontend": self.frontends,
            "route": self.routes,
        }
        return owners[kind]

    # -- servers at run time --------------------------------------------------------------------

    def add_server(self, backend: str, line: str) -> ServerState:
        """Add a server, written as in ``servers``:

        ``add_server("app", "c 10.0.0.3:8000 weight=2")``.

        It is checked and resolved like one from the file. Raises KeyError (backend), ConfigErrors
        (line), ValueError (name taken).
        """
        owner = self.backends[backend]
        spec = parse_server_line(line, self.config)
        judge = judge_of(self.config, owner.spec)
        if judge is not None and (reason := server_reason(judge, spec)):
            raise ConfigErrors([ConfigError(spec.where, "", "servers", reason, str(spec.target))])
        server = owner.add(spec, OPERATOR)
        self.generation.sync(backend)
        self.changing.added(server)
        return server

    def remove_server(self, backend: str, name: str) -> ServerState:
        """Take a server out at once; what runs on it finishes.  KeyError."""
        server = self.backends[backend].remove(name)
        self.generation.sync(backend)
        self.changing.removed(server)
        return server

    def set_weight(self, backend: str, name: str, weight: int) -> None:
        """0 takes no new traffic.  KeyError, ValueError."""
        group = self.backends[backend].group
        group.set_weight(name, weight)
        self.changing.note(group.servers[name], "weight", weight)

    def set_maxconn(self, backend: str, name: str, maxconn: int) -> None:
        """Most concurrent requests or connections, 0 for no limit; those above it run on.

        KeyError, ValueError.
        """
        group = self.backends[backend].group
        group.set_maxconn(name, maxconn)
        self.changing.note(group.servers[name], "maxconn", maxconn)

    def set_admin(self, backend: str, name: str, admin: AdminState) -> None:
        """Set the operator's state of a server:

        :meth:`drain`, :meth:`maint` and :meth:`ready` in one.

        Raises KeyError.
        """
        owner = self.backends[backend]
        owner.set_admin(name, admin)
        self.generation.sync(backend)
        self.changing.note(owner.group.servers[name], "admin", admin.value)

    def drain(self, backend: str, name: str) -> DrainStatus:
        """Stop new traffic to a server, except from sticky clients. Raises KeyError.

        Sessions finish by themselves. Returns how many are left. :meth:`drain_status` returns it
        again later, :meth:`drained` waits.
        """
        self.set_admin(backend, name, AdminState.DRAIN)
        return self.drain_status(backend, name)

    def drain_status(self, backend: str, name: str) -> DrainStatus:
        """Return what still runs on a server, whatever its state. Raises KeyError."""
        owner = self.backends[backend]
        return status_of(owner, owner.group.servers[name])

    def drained(self, backend: str, name: str, timeout: float = 60.0) -> Deferred[DrainStatus]:
        """Wait until nothing runs on a server that was drained (or put in maint).  KeyError.

        Fires with the status then; at the latest after ``timeout`` seconds, when the server is made
        ready again, or when lbproxy stops: ``done`` tells which.  Never fails; may be cancelled.
        """
        owner = self.backends[backend]
        return self._drains.wait(owner, owner.group.servers[name], timeout)

    def kill_sessions(self, backend: str, name: str) -> int:
        """End every session of a server now; how many there were.

        KeyError.

        TCP sessions and tunnels are cut. A request without a response head yet goes to another
        server if it may be sent again. Nothing keeps new ones away: :meth:`drain` or :meth:`maint`
        first.
        """
        owner = self.backends[backend]
        return owner.kill_sessions(owner.group.servers[name])

    def rebalance(self, backend: str) -> Rebalance:
        """Begin to move long-lived sessions to where there is room, as after a change of servers,
        and say how many.

        KeyError; ValueError for a backend without ``rebalance``. See ``docs/rebalancing.rst``.
        """
        return self._rebalancer(backend).run()

    def _rebalancer(self, backend: str) -> Rebalancer:
        rebalancer = Rebalancer.of(self.backends[backend])
        if rebalancer is None:
            raise ValueError(f"backend {backend!r} has no rebalance in its configuration")
        return rebalancer

    def operate(
        self, owner: str, name: str, feature: str, operation: str, arguments: dict[str, Any]
    ) -> Any:
        """Run ``operation`` (``METHOD path``) of a feature, as the API does.

        ``owner``: "backend", "frontend" or "route", ``name``: its name. KeyError for something that
        does not exist; ValueError if the configuration of the owner does not have the feature, or
        the feature refuses.
        """
        found = self.feature(owner, name, feature)
        return found.operation(operation).run(found, **arguments)

    def feature(self, owner: str, name: str, feature: str) -> Feature[Any]:
        """Return the feature of a "backend", "frontend" or "route".

        Raises KeyError and ValueError as :meth:`operate`.
        """
        found: Feature[Any] | None = self._owners(owner)[name].features.get(feature)
        if found is None:
            raise ValueError(f"{owner} {name!r} has no {feature} in its configuration")
        return found

    def sessions(
        self,
        backend: str = "",
        name: str = "",
        *,
        frontend: str = "",
        client: str = "",
        limit: int = 1000,
    ) -> list[SessionView]:
        """Return at most ``limit`` sessions of this process, optionally by server, backend or
        client.

        They can also be selected by frontend. KeyError for an unknown backend or server.
        O(sessions): do not poll it many times a second.
        """
        owners = [self.backends[backend]] if backend else list(self.backends.values())
        found: list[SessionView] = []
        for owner in owners:
            servers = owner.group.servers
            chosen = [servers[name]] if name else list(servers.values())
            views = (
                view
                for view in sessions_of(owner, chosen)
                if frontend in ("", view.frontend) and client in ("", view.client_ip)
            )
            found += islice(views, limit - len(found))
        return found

    def all_sessions(
        self,
        backend: str = "",
        name: str = "",
        *,
        frontend: str = "",
        client: str = "",
        limit: int = 1000,
    ) -> Deferred[list[SessionView]]:
        """Return sessions as :meth:`sessions`, including those of workers."""
        return maybeDeferred(
            self.sessions, backend, name, frontend=frontend, client=client, limit=limit
        )

    def end_session(self, id: str) -> Deferred[bool]:
        """End a session of :meth:`all_sessions`, as :meth:`kill_session`."""
        return maybeDeferred(self.kill_session, id)

    def kill_session(self, id: str) -> bool:
        """End the one that :meth:`sessions` showed with this ``id``; False if it is over already.

        O(sessions).
        """
        for backend in self.backends.values():
            for server in backend.group.servers.values():
                for session in server.sessions:
                    if session_id(session) == id:
                        session.server_gone(Kind.SESSION_KILLED)
                        return True
        return False

    def sticky_entries(self, backend: str, limit: int = 1000) -> list[StickyEntry]:
        """Return which client belongs to which server, the most recent first. Raises KeyError.

        Empty for a backend without ``sticky``, or whose ``sticky`` has no table.
        """
        sticky = self.backends[backend].sticky
        return [] if sticky is None else list(sticky.entries(limit))

    def mirror_differences(self, backend: str) -> list[MirrorDifference]:
        """The last requests whose copy was answered differently, the oldest first.  KeyError."""
        mirror = Mirror.of(self.backends[backend])
        return [] if mirror is None else list(mirror.last)

    def clear_sticky(self, backend: str, name: str = "") -> int:
        """Forget who belongs to a server, or ("") everybody; how many table entries that were.

        KeyError.

        Cookies that clients hold stay good: put the server in maint to void them.
        """
        owner = self.backends[backend]
        if name:
            owner.group.servers[name]  # KeyError
        sticky = owner.sticky
        return 0 if sticky is None or sticky.table is None else sticky.table.clear(name)

    def maint(self, backend: str, name: str) -> None:
        """Stop new traffic and checks of a server. Raises KeyError."""
        self.set_admin(backend, name, AdminState.MAINT)

    def ready(self, backend: str, name: str) -> None:
        """Back to work, if it is healthy.  KeyError."""
        self.set_admin(backend, name, AdminState.READY)

    def key_pairs(self) -> list[KeyPair]:
        """The certificates of all TLS listeners."""
        return [pair for listener in self.listeners for pair in listener.factory.key_pairs]

    def log_sinks(self) -> list[LogSink]:
        """The access logs."""
        return list(self.generation.sinks.values())

    def reopen_logs(self) -> None:
        """After rotation: write to new files."""
        for sink in self.generation.sinks.values():
            sink.reopen()
