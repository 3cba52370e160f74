"""The live objects of a load balancer by name, its sessions, and its warnings.

:class:`Inventory` is the base of :class:`lbproxy.runtime.Runtime`, which changes them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.protocol import Factory

from lbproxy.config.model import Config
from lbproxy.errors import Kind
from lbproxy.features import kind_of
from lbproxy.generation.exposure import exposed_files, exposed_keys
from lbproxy.generation.featurewarnings import feature_warnings
from lbproxy.generation.forgetting import forgotten
from lbproxy.generation.generation import Generation
from lbproxy.generation.guarding import guard_warnings
from lbproxy.generation.listening import Listener
from lbproxy.generation.plan import proxy_factory
from lbproxy.generation.secret import secret_warnings
from lbproxy.logs.sink import LogSink
from lbproxy.operate.drain import SessionView, session_id, sessions_of
from lbproxy.proxy.backend import Backend
from lbproxy.proxy.feature import Feature
from lbproxy.proxy.frontend import Frontend
from lbproxy.proxy.routeowner import RouteOwner
from lbproxy.proxy.together import SharedQuestion
from lbproxy.tls.certificates import KeyPair
from lbproxy.tls.contexts import unused_certificates

__all__ = ["Inventory", "question_of"]


def question_of(feature: str, question: str) -> SharedQuestion:
    """Return a question about what owners of a feature share.  KeyError."""
    together = kind_of(feature).together
    if together is None:
        raise KeyError(feature)
    return together.questions[question]


class Inventory(MultiService):
    """The live objects of the present configuration. ``generation``: all of them."""

    generation: Generation

    # -- what there is --------------------------------------------------------------------------

    @property
    def config(self) -> Config:
        """The current configuration."""
        return self.generation.config

    @property
    def frontends(self) -> dict[str, Frontend]:
        """The frontends by name."""
        return self.generation.frontends

    @property
    def routes(self) -> dict[str, RouteOwner]:
        """The routes as owners of features, by name; empty if no feature belongs to routes."""
        owners = (route for frontend in self.frontends.values() for route in frontend.routes)
        return {route.name: route for route in owners}

    @property
    def backends(self) -> dict[str, Backend]:
        """The backends by name."""
        return self.generation.backends

    @property
    def listeners(self) -> list[Listener]:
        """The listeners in configuration order."""
        return self.generation.listeners

    def warnings(self) -> list[str]:
        """Warnings about valid settings that are probably mistakes, and about files with secrets
        that all users can read.
        """
        config = self.config
        found = [
            *exposed_files(config),
            *guard_warnings(config),
            *secret_warnings(config),
            *forgotten(config),
            *feature_warnings(config),
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
        """Return a frontend. Raises KeyError."""
        return self.frontends[name]

    def backend(self, name: str) -> Backend:
        """Return a backend. Raises KeyError."""
        return self.backends[name]

    def factory(self, frontend: str) -> Factory:
        """Return a protocol factory of a frontend, for an endpoint of your own, which then handles
        TLS.
        """
        return proxy_factory(self.frontends[frontend], None, None)

    def _owners(self, kind: str) -> dict[str, Any]:
        """Return the backends, frontends or routes, which have features."""
        owners: dict[str, dict[str, Any]] = {
            "backend": self.backends,
            "frontend": self.frontends,
            "route": self.routes,
        }
        return owners[kind]

    def all_features(self) -> Iterator[Feature[Any]]:
        """Yield the features of all frontends, backends and routes."""
        for owners in (self.frontends, self.backends, self.routes):
            for owner in owners.values():
                yield from owner.features.values()

    def together(self, kind: type[Feature[Any]]) -> Mapping[str, Any]:
        """Return what the owners of a feature share (:class:`~lbproxy.proxy.together.Together`), by
        name."""
        assert kind.together is not None
        features = kind.among(self._owners(kind.owner))
        return kind.together.find(features) if features else {}

    def ask_here(self, feature: str, name: str, question: str, arguments: dict[str, Any]) -> Any:
        """Return the answer of this process to a question about what owners of a feature share
        (:class:`~lbproxy.proxy.together.SharedQuestion`).  KeyError.
        """
        objects = self.together(kind_of(feature))
        return question_of(feature, question).here(objects[name], **arguments)

    def ask_all(
        self, feature: str, name: str, question: str, arguments: dict[str, Any]
    ) -> Deferred[Any]:
        """Return the answer of all processes, as :meth:`ask_here`.  KeyError."""
        return succeed(self.ask_here(feature, name, question, arguments))

    def feature(self, owner: str, name: str, feature: str) -> Feature[Any]:
        """Return the feature of a "backend", "frontend" or "route".

        Raises KeyError and ValueError like :meth:`operate`.
        """
        found: Feature[Any] | None = self._owners(owner)[name].features.get(feature)
        if found is None:
            raise ValueError(f"{owner} {name!r} has no {feature} in its configuration")
        return found

    # -- sessions -------------------------------------------------------------------------------

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

        They can also be selected by frontend. Raises KeyError for an unknown backend or server.
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
        """End the session with this ``id`` of :meth:`sessions`. Return False if it is over already.

        O(sessions).
        """
        for backend in self.backends.values():
            for server in backend.group.servers.values():
                for session in server.sessions:
                    if session_id(session) == id:
                        session.server_gone(Kind.SESSION_KILLED)
                        return True
        return False

    def kill_sessions(self, backend: str, name: str) -> int:
        """End every session of a server now. Return their number.

        Raises KeyError.

        TCP sessions and tunnels are aborted. A request without a response head yet goes to another
        server if it may be sent again. The server still receives new traffic: call :meth:`drain` or
        :meth:`maint` first.
        """
        owner = self.backends[backend]
        return owner.kill_sessions(owner.group.servers[name])

    # -- files ----------------------------------------------------------------------------------

    def key_pairs(self) -> list[KeyPair]:
        """The certificates of all TLS listeners."""
        return [pair for listener in self.listeners for pair in listener.factory.key_pairs]

    def log_sinks(self) -> list[LogSink]:
        """The access logs."""
        return list(self.generation.sinks.values())

    def reopen_logs(self) -> None:
        """Reopen the access logs after an external rotation."""
        for sink in self.generation.sinks.values():
            sink.reopen()
