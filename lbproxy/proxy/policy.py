"""DATA. The policy of a route, compiled when a frontend is created.

A frontend, each of its routes and each backend have filters and features. :class:`Policies`
combines them when the configuration is built, so that an exchange or a session only reads the
attributes of the :class:`RoutePolicy` that :meth:`Policies.match` returns.

The order of hooks in each phase: filters of the frontend, filters of the backend; around them the
features of the backend, then those of the route, then those of the frontend.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lbproxy.http.filter import Hook, Phases
from lbproxy.http.route import Route, Router
from lbproxy.proxy.feature import FeatureSet
from lbproxy.proxy.http.guardedsource import source_of
from lbproxy.proxy.http.source import BACKEND_SOURCE, Source
from lbproxy.proxy.routelimits import RouteLimits
from lbproxy.proxy.surround import surround

if TYPE_CHECKING:
    from lbproxy.proxy.backend import Backend

__all__ = ["Hooks", "Policies", "RoutePolicy"]


class Hooks:
    """The hooks of each phase, for traffic whose route is known."""

    __slots__ = ("always", "failed", "finish", "request", "response", "server_request")

    def __init__(
        self,
        request: tuple[Hook, ...] = (),
        server_request: tuple[Hook, ...] = (),
        response: tuple[Hook, ...] = (),
        finish: tuple[Hook, ...] = (),
        failed: tuple[Hook, ...] = (),
        always: tuple[Hook, ...] = (),
    ) -> None:
        self.request = request
        self.server_request = server_request
        self.response = response
        self.finish = finish
        self.failed = failed
        self.always = always

    @staticmethod
    def of(phases: Phases) -> Hooks:
        """Return the hooks of ``phases``."""
        return Hooks(
            phases.request,
            phases.server_request,
            phases.response,
            phases.finish,
            phases.failed,
            phases.always,
        )


class RoutePolicy:
    """One route of a frontend, and a backend.

    ``text``, ``priority``, ``action``: see :class:`~lbproxy.http.route.Route`. ``backend``: None
    for a route with an action, which needs no hooks of its own, and if a feature of the frontend
    answers (``Feature.answers``). ``source``: source of its exchanges; None for that of the
    backend, unless a feature of the route or the frontend has one. ``limits``: the timeouts and
    limits of the route itself, None without any.
    """

    __slots__ = (
        "_elsewhere",
        "_index",
        "_policies",
        "action",
        "backend",
        "backend_name",
        "hooks",
        "limits",
        "priority",
        "source",
        "text",
    )

    def __init__(
        self,
        policies: Policies,
        route: Route,
        backend: Backend | None,
        hooks: Hooks,
        source: Source | None,
    ) -> None:
        self._policies = policies
        self._index = route.index
        self._elsewhere: dict[str, RoutePolicy] = {}
        self.text: str = route.text
        self.priority: int = route.priority
        self.action: Any = route.action
        self.limits = RouteLimits.of(route.spec)
        self.backend = backend
        self.backend_name = "" if backend is None else backend.name
        self.hooks = hooks
        self.source = source

    def at(self, name: str) -> RoutePolicy:
        """Return the policy of this route for the backend ``name``, which a filter has chosen.

        It is compiled at first use. Raises KeyError if the backend does not exist.
        """
        found = self._elsewhere.get(name)
        if found is None:
            found = self._elsewhere[name] = self._policies.compile(self._index, name)
        return found


class Policies:
    """All policies of one frontend.

    ``filters``: the hooks of its filters; ``features``: its features; ``routes``: the features of
    each route in order, then those of the key ``backend``; empty if no route has any.

    ``early``: hooks that run before the route is known. ``own``: hooks for responses without a
    backend. ``hooks``: those of each backend, without the features of a route.
    """

    def __init__(
        self,
        filters: Phases,
        backends: Mapping[str, Backend],
        router: Router,
        features: FeatureSet,
        routes: Sequence[FeatureSet] = (),
    ) -> None:
        self._filters = filters
        self._backends = backends
        self._router = router
        self._features = features
        self._routes = routes
        phases = surround(filters, features)
        self.early: tuple[Hook, ...] = phases.early
        self.own = Hooks.of(phases)
        self.hooks: dict[str, Hooks] = {name: self._hooks(name, {}) for name in backends}
        all_routes = (*router.routes, *([router.default] if router.default else []))
        self._by_route: list[RoutePolicy] = [
            self._policy(route, route.backend) for route in all_routes
        ]
        self._without_route = self._answering()

    def match(self, traffic: Any) -> RoutePolicy | None:
        """Return the policy of the first route that matches ``traffic``; without one, that of the
        feature that answers, or None.

        Raises ProxyError like :meth:`~lbproxy.http.route.Router.match`.
        """
        route = self._router.match(traffic)
        return self._without_route if route is None else self._by_route[route.index]

    def _answering(self) -> RoutePolicy | None:
        """Return the policy for traffic without a route, if a feature of the frontend answers it.

        Such a frontend has no routes; the only features in ``routes`` are those of its keys.
        """
        if not any(one.answers for one in self._features.values()):
            return None
        route = Route("")
        route.text = ""
        features = self._routes[0] if self._routes else {}
        hooks = Hooks.of(surround(surround(self._filters, features), self._features))
        source = source_of(features, source_of(self._features, BACKEND_SOURCE))
        return RoutePolicy(self, route, None, hooks, source)

    def compile(self, index: int, name: str) -> RoutePolicy:
        """Return the policy of the route at ``index`` for the backend ``name``. Raises KeyError."""
        routes = self._router.routes
        route = routes[index] if index < len(routes) else self._router.default
        assert route is not None
        return self._policy(route, name)

    def _policy(self, route: Route, name: str) -> RoutePolicy:
        if route.action is not None:
            return RoutePolicy(self, route, None, self.own, None)
        features = self._routes[route.index] if self._routes else {}
        hooks = self._hooks(name, features) if features else self.hooks[name]
        source = source_of(self._features, source_of(features, BACKEND_SOURCE))
        wrapped = None if source is BACKEND_SOURCE else source
        return RoutePolicy(self, route, self._backends[name], hooks, wrapped)

    def _hooks(self, name: str, features: FeatureSet) -> Hooks:
        backend = self._backends[name]
        phases = surround(self._filters.then(backend.phases), backend.features)
        return Hooks.of(surround(surround(phases, features), self._features))
