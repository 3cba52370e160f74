"""CONTROL. The live objects of one configuration, and the objects that all generations share.

:mod:`lbproxy.generation.assemble` creates a generation. :mod:`lbproxy.service` starts, replaces and
stops it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping
from functools import partial
from random import Random
from secrets import token_bytes
from typing import Any
from weakref import WeakValueDictionary

from attrs import define, field, frozen
from twisted.application.service import Service

from lbproxy.checks.checker import Checker
from lbproxy.checks.resolver import Resolver
from lbproxy.config.model import Config, LogSpec
from lbproxy.generation.listening import Listener
from lbproxy.guard.connections import ConnectionTotal
from lbproxy.interfaces import Env
from lbproxy.logs.sink import LogSink
from lbproxy.net.endpoints import Network
from lbproxy.observe.events import Events
from lbproxy.proxy.backend import Backend
from lbproxy.proxy.feature import Feature
from lbproxy.proxy.frontend import Frontend
from lbproxy.proxy.guarding import ask, guard
from lbproxy.sharing.contracts import Nodes, Replicated, Shared

__all__ = ["Generation", "Ground"]


@frozen
class Ground:
    """The objects that all generations of a load balancer share.

    ``reactor``: provides the interfaces that the services need. ``total`` counts all client
    connections. ``events``: the event list. ``shared``, ``replicated``: the state that processes
    share. ``sinks`` creates the output of an access log; None: as configured. ``secret``: random,
    for a configuration without one; the same for all generations. ``nodes``: see
    :class:`~lbproxy.sharing.contracts.Nodes`; None without ``[shared]``.
    """

    reactor: Any
    network: Network
    random: Random
    total: ConnectionTotal
    events: Events
    shared: Shared
    replicated: Replicated
    sinks: Callable[[LogSpec, Any], LogSink] | None = None
    secret: bytes = field(factory=partial(token_bytes, 32), repr=False)
    kept: MutableMapping[tuple[str, str], Any] = field(factory=WeakValueDictionary, repr=False)
    nodes: Nodes | None = None

    def env(self, name: str, secret: bytes = b"") -> Env:
        """Return the environment of extensions of the section ``name``.

        ``secret``: the configured one, if any.
        """
        return Env(
            now=self.network.wheel.now,
            random=self.random,
            name=name,
            reactor=self.reactor,
            secret=secret or self.secret,
        )


@define(eq=False)
class Generation:
    """The live objects of one configuration by name, ``listeners`` in the order written, and
    ``sinks`` by path.

    ``of_features``: the services of its features. They are stored here because a backend may
    continue with other features after a reload.
    """

    config: Config
    backends: dict[str, Backend] = field(factory=dict)
    resolvers: dict[str, Resolver] = field(factory=dict)
    checkers: dict[str, Checker] = field(factory=dict)
    frontends: dict[str, Frontend] = field(factory=dict)
    listeners: list[Listener] = field(factory=list)
    sinks: dict[str, LogSink] = field(factory=dict)
    of_features: list[Service] = field(factory=list)

    def sessions(self) -> int:
        """Number of client connections being served."""
        return sum(frontend.client_count for frontend in self.frontends.values())

    def services(self) -> Iterator[Service]:
        """Yield the background services in the order of their start."""
        yield from self.resolvers.values()
        yield from self.checkers.values()
        yield from self.of_features

    def note_services(self) -> None:
        """Record the current services of the features, once all objects are in place."""
        for name, backend in self.backends.items():
            backend.sync = partial(self.sync, name)
        features = [one for owner in self.backends.values() for one in owner.features.values()]
        features += [one for owner in self.frontends.values() for one in owner.all_features()]
        self.of_features = [service for one in features for service in _services_of(one)]

    def sync(self, backend: str) -> None:
        """Notify the services that manage servers: servers of ``backend`` were added, removed or
        changed by an operator.
        """
        self.resolvers[backend].sync()
        if backend in self.checkers:
            self.checkers[backend].sync()
        for feature in self.backends[backend].features.values():
            guard(feature.sync)


def _services_of(feature: Feature[Any]) -> list[Service]:
    found: list[Service] = ask([], lambda: list(feature.services()))
    return found
