"""CONTROL. The contribution of a feature to the admin API: routes, state, metrics, dashboard
panels.

A :class:`Part` contains all of these; :data:`lbproxy.admin.parts.PARTS` lists the parts. An
:class:`APIRoute` is the single source for the handler of a path, the checks before its call, and
the OpenAPI document.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from attrs import field, frozen

from lbproxy.admin.auth import Identity, Role
from lbproxy.admin.schema import ANY, Schema, integer
from lbproxy.admin.view import AdminView
from lbproxy.proxy.adminpart import Column

if TYPE_CHECKING:
    from lbproxy.admin.exposition import Family

__all__ = [
    "PAGE",
    "APICall",
    "APIError",
    "APIRoute",
    "Column",
    "Panel",
    "Part",
    "Raw",
    "RouteTable",
    "find",
    "paged",
]


class APIError(Exception):
    """A refused request: ``status``, a text for people, and ``nearest`` names that exist."""

    def __init__(self, status: int, message: str, nearest: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.nearest = list(nearest)

    def as_dict(self) -> dict[str, Any]:
        """Return the body of the response."""
        error: dict[str, Any] = {"status": self.status, "message": self.message}
        if self.nearest:
            error["nearest"] = self.nearest
        return {"error": error}


@frozen
class APICall:
    """An authorised and validated request to a route.

    ``path``: the names in the path. ``query``: every parameter of the route that has a value or a
    default. ``body``: as the route's schema defines, None without one. ``accept``: the header, ""
    if absent. ``changes``: the handler's changes, one text each, such as ``app/a weight 3 -> 5``;
    they become an event.
    """

    admin: AdminView
    who: Identity
    path: Mapping[str, str] = field(factory=dict)
    query: Mapping[str, Any] = field(factory=dict)
    body: Any = None
    accept: str = ""
    last_event: int = 0  # Last-Event-ID of a client that resumes a stream
    changes: list[str] = field(factory=list)

    @property
    def balancer(self) -> Any:
        """The :class:`lbproxy.service.LoadBalancer`."""
        return self.admin.balancer


@frozen
class Raw:
    """A response body in ``chunks``, which are created one by one in turns of the reactor."""

    content_type: str
    chunks: Iterable[bytes]


Handler = Callable[[APICall], Any | Awaitable[Any]]


@frozen
class APIRoute:
    """A method and a path of the API.

    ``path``: segments in braces are names. ``role``: required role. ``handler``: returns JSON
    types, a :class:`Raw` or a :class:`lbproxy.admin.stream.AdminStream`, or an awaitable of one;
    raises :class:`APIError`. ``query``: parameters by name, strings, integers or booleans, with
    their defaults. ``body``: schema of a JSON body, None for no body. ``produces``: media type of a
    successful response, described by ``answer`` if it is JSON. ``public``: the word in
    ``admin_public`` that opens the route to callers without a token; "" for none. ``errors``:
    statuses besides the common ones of every route.
    """

    method: str
    path: str
    role: Role
    summary: str
    handler: Handler
    answer: Schema = ANY
    query: Mapping[str, Schema] = field(factory=dict)
    body: Schema | None = None
    produces: str = "application/json"
    public: str = ""
    errors: tuple[str, ...] = ()
    segments: tuple[str, ...] = field(init=False)

    @segments.default
    def _segments(self) -> tuple[str, ...]:
        return tuple(self.path.strip("/").split("/"))

    @property
    def names(self) -> list[str]:
        """The names in the path."""
        return [part[1:-1] for part in self.segments if part.startswith("{")]


@frozen
class Panel:
    """A table on the dashboard.

    ``rows`` is the name of the object in the state (``GET /api/v1/state``) that contains the rows
    by name.
    """

    title: str
    rows: str
    columns: tuple[Column, ...]


@frozen
class Part:
    """A feature on the admin side.

    ``state``: what it adds to the state under its name, as JSON types. It is called each second
    while a client follows the state. For an object with many members it returns an iterator of
    their names and values, which is read in slices, over several turns of the reactor.
    ``metrics``: its metric families, created at each scrape.
    """

    name: str
    routes: tuple[APIRoute, ...] = ()
    state: Callable[[AdminView], Any] | None = None
    schema: Schema = ANY
    metrics: Callable[[AdminView], Iterable[Family]] | None = None
    panels: tuple[Panel, ...] = ()


class RouteTable:
    """All routes; :meth:`match` finds the one for a request."""

    def __init__(self, routes: Iterable[APIRoute]) -> None:
        self.routes = tuple(routes)
        self._by_length: dict[int, list[APIRoute]] = {}
        seen: set[tuple[str, str]] = set()
        for route in self.routes:
            key = (route.method, route.path)
            if key in seen:
                raise ValueError(f"{route.method} {route.path} appears twice")
            seen.add(key)
            self._by_length.setdefault(len(route.segments), []).append(route)
        for some in self._by_length.values():  # fixed segments before names
            some.sort(key=lambda route: [part.startswith("{") for part in route.segments])

    def match(self, method: str, path: str) -> tuple[APIRoute, dict[str, str]]:
        """Return the route and the names in its path.

        Raises :class:`APIError` 404, and 405 with :attr:`Allowed.methods`.
        """
        parts = [unquote(part) for part in path.strip("/").split("/")]
        allowed: list[str] = []
        for route in self._by_length.get(len(parts), ()):
            names = _fits(route.segments, parts)
            if names is None:
                continue
            if route.method == method or (route.method == "GET" and method == "HEAD"):
                return route, names
            if route.method not in allowed:
                allowed.append(route.method)
        if allowed:
            raise WrongMethod(method, allowed)
        raise APIError(404, f"no such path: {path[:200]}", self._nearest(path))

    def _nearest(self, path: str) -> list[str]:
        paths = {route.path for route in self.routes}
        return get_close_matches(path[:200], paths, 3, 0.7)


class WrongMethod(APIError):
    """A 405 error. ``allowed`` are the accepted methods."""

    def __init__(self, method: str, allowed: list[str]) -> None:
        super().__init__(405, f"{method[:20]} is not allowed here; allowed: {', '.join(allowed)}")
        self.allowed = allowed


def _fits(segments: tuple[str, ...], parts: list[str]) -> dict[str, str] | None:
    names = {}
    for segment, part in zip(segments, parts, strict=True):
        if segment.startswith("{"):
            if not part:
                return None
            names[segment[1:-1]] = part
        elif segment != part:
            return None
    return names


def find(things: Mapping[str, Any], name: str, what: str) -> Any:
    """Return ``things[name]``. Raises a 404 error that lists similar names."""
    try:
        return things[name]
    except KeyError:
        shown = name[:100]
        near = get_close_matches(shown, things, 3, 0.4)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise APIError(404, f"there is no {what} {shown!r}{hint}", near) from None


PAGE: Mapping[str, Schema] = {
    "limit": integer("maximum number of items in the response", 1, 1000, 100),
    "offset": integer("number of items to skip", 0, 10_000_000, 0),
}
"""The query parameters of a list."""


def paged(call: APICall, items: list[Any], show: Callable[[Any], Any]) -> dict[str, Any]:
    """Return the page that ``call`` requests. Only its items are converted."""
    first, limit = call.query["offset"], call.query["limit"]
    last = first + limit
    return {
        "items": [show(item) for item in items[first:last]],
        "total": len(items),
        "offset": first,
        "next": last if last < len(items) else None,
    }
