"""PURE. The selection of a route, compiled once per generation.

The first route in configuration order whose conditions all hold is selected. Routes are indexed by
host (or server) name, and by path if many share a name, so that a thousand hosts cost as much as
ten.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from random import Random
from typing import TYPE_CHECKING, Any

from attrs import frozen

from lbproxy.errors import Kind, ProxyError
from lbproxy.http.checks import Called, Check
from lbproxy.http.condition import (
    VERBS,
    Condition,
    RouteContext,
    check_condition,
    compile_condition,
    name_key,
    path_key,
)
from lbproxy.http.paths import normal_path
from lbproxy.interfaces import Env

if TYPE_CHECKING:
    from lbproxy.model import RouteSpec

__all__ = ["VERBS", "Route", "RouteContext", "Router", "check_condition", "normal_path"]

_INDEX_FROM = 8  # number of routes of one name with a plain path from which an index is used


class Route:
    """One compiled route.

    ``spec`` is None for the frontend's ``backend`` key.

    ``text``: as written, for logs and ``lbproxy explain``. ``index``: its position among the routes
    of the frontend; that of the ``backend`` key follows the last one.

    ``action``: an object with ``reply(exchange) -> Reply`` (a redirect, a fixed reply), or None;
    ``backend`` is then the name of the backend.
    """

    __slots__ = ("action", "backend", "conditions", "index", "priority", "spec", "text")

    def __init__(
        self,
        backend: str,
        action: Any = None,
        spec: RouteSpec | None = None,
        conditions: tuple[Condition, ...] = (),
        priority: int = 0,
        index: int = 0,
    ) -> None:
        self.index = index
        self.backend = backend
        self.action = action
        self.spec = spec
        self.conditions = conditions
        self.priority = priority
        self.text: str = spec.text if spec is not None else f"backend = {backend}"


@frozen(eq=False)
class _Entry:
    """A route in the index.

    ``tests`` excludes the test of the name by which it is indexed, ``rest`` also that of the path.
    ``names`` and ``paths`` are its keys, None if it must be tested for any name or path.
    """

    index: int
    route: Route
    tests: tuple[Check, ...]
    rest: tuple[Check, ...]
    names: tuple[tuple[str, bytes], ...] | None
    paths: tuple[tuple[str, bytes], ...] | None


_Walk = list[tuple[list[Check], Route]]


class _Bucket:
    """The routes that are possible for one name, in order."""

    __slots__ = ("_exact", "_lengths", "_others", "_prefix", "_walk")

    def __init__(self, entries: Sequence[_Entry]) -> None:
        self._walk: _Walk = []
        self._exact: dict[bytes, list[tuple[int, list[Check], Route]]] = {}
        self._prefix: dict[bytes, list[tuple[int, list[Check], Route]]] = {}
        self._others: list[tuple[int, list[Check], Route]] = []
        if sum(entry.paths is not None for entry in entries) < _INDEX_FROM:
            self._walk = [(list(entry.tests), entry.route) for entry in entries]
        else:
            self._file(entries)
        self._lengths = sorted({len(prefix) for prefix in self._prefix})

    def _file(self, entries: Sequence[_Entry]) -> None:
        for entry in entries:
            if entry.paths is None:
                self._others.append((entry.index, list(entry.tests), entry.route))
                continue
            for kind, path in entry.paths:
                table = self._exact if kind == "exact" else self._prefix
                table.setdefault(path, []).append((entry.index, list(entry.rest), entry.route))

    def find(self, context: RouteContext, path: bytes) -> Route | None:
        """Return the first route that matches."""
        request = context.request
        for checks, route in self._walk or self._filed(path):
            for check in checks:
                if not check.passes(context, request, path):
                    break
            else:
                return route
        return None

    def _filed(self, path: bytes) -> _Walk:
        found = self._others + self._exact.get(path, [])
        prefixes, size = self._prefix, len(path)
        for length in self._lengths:
            if length > size:
                break
            found += prefixes.get(path[:length], ())
        found.sort(key=_by_index)
        return [(tests, route) for _, tests, route in found]


def _by_index(item: tuple[int, list[Check], Route]) -> int:
    return item[0]


class Router:
    """The routes of one frontend.

    ``default_backend``: backend for traffic that no route matches, "" for none. ``env`` is passed
    to the actions of routes. Raises ValueError for an invalid condition, which a checked
    configuration does not contain.
    """

    def __init__(
        self, routes: Sequence[RouteSpec], default_backend: str = "", env: Env | None = None
    ) -> None:
        env = env if env is not None else Env(now=lambda: 0.0, random=Random(0))
        self.routes: tuple[Route, ...] = tuple(
            _compile(index, spec, env) for index, spec in enumerate(routes)
        )
        self.default = Route(default_backend, index=len(self.routes)) if default_backend else None
        conditions = [one for route in self.routes for one in route.conditions]
        self._paths = any(one.verb == "path" for one in conditions)
        verbs = {one.verb for one in conditions if not one.negated}
        self._key = "host" if "host" in verbs else "sni" if "sni" in verbs else ""
        self._entries = [_entry(i, route, self._key) for i, route in enumerate(self.routes)]
        self._exact: dict[bytes, list[_Entry]] = {}
        self._suffix: dict[bytes, list[_Entry]] = {}
        self._unnamed: list[_Entry] = []
        for entry in self._entries:
            self._file(entry)
        self._lengths = sorted({len(suffix) for suffix in self._suffix}, reverse=True)
        # created at first use; the keys come from the configuration, so that clients cannot make it
        # grow
        self._buckets: dict[bytes, _Bucket] = {}

    def match(self, context: RouteContext) -> Route | None:
        """Return the route that matches ``context``, the default, or None.

        Raises :class:`ProxyError` BAD_REQUEST if a route tests the path and the request's is
        ambiguous or leaves the root (see :func:`normal_path`).
        """
        if not self.routes:
            return self.default
        request = context.request
        path: bytes | None = b""
        if self._paths and request is not None:
            path = normal_path(request.path)
            if path is None:
                raise ProxyError(Kind.BAD_REQUEST, "ambiguous path, or one that leaves the root")
        name = b""
        if self._key == "host":
            name = request.hostname if request is not None else b""
        elif self._key:
            name = context.sni.rstrip(".").encode("utf-8", "replace")
        bucket = self._buckets.get(name)
        if bucket is None:
            bucket = self._bucket(name)
        return bucket.find(context, path) or self.default  # type: ignore[arg-type]

    def explain(self, context: RouteContext) -> list[tuple[str, bool, str]]:
        """Return each route as (text, whether it matches, reason), in order. At most one matches.

        For ``lbproxy explain``. It tests every condition, so it costs more than :meth:`match`.
        """
        lines: list[tuple[str, bool, str]] = []
        path = normal_path(context.request.path) if context.request is not None else b""
        taken = self._paths and path is None
        if taken:
            lines.append(("(request)", False, "refused with 400: its path is ambiguous"))
        for route in (*self.routes, *([self.default] if self.default else [])):
            if taken:
                lines.append((route.text, False, "not reached"))
                continue
            taken, why = _judge(route, context, path or b"")
            lines.append((route.text, taken, why))
        return lines

    def _file(self, entry: _Entry) -> None:
        if entry.names is None:
            self._unnamed.append(entry)
            return
        for kind, name in entry.names:
            table = self._exact if kind == "exact" else self._suffix
            table.setdefault(name, []).append(entry)

    def _suffixes(self, name: bytes) -> list[bytes]:
        """Return the wildcards that match ``name``, longest first."""
        size, table = len(name), self._suffix
        return [name[-n:] for n in self._lengths if n < size and name[-n:] in table]

    def _bucket(self, name: bytes) -> _Bucket:
        suffixes = self._suffixes(name)
        if name in self._exact:
            key = name
        else:
            key = b"*" + suffixes[0] if suffixes else b""
        bucket = self._buckets.get(key)
        if bucket is None:
            entries = self._exact.get(name, []) + self._unnamed
            for suffix in suffixes:
                entries = entries + self._suffix[suffix]
            bucket = self._buckets[key] = _Bucket(_reachable(entries))
        return bucket


def _reachable(entries: Iterable[_Entry]) -> list[_Entry]:
    """Return the entries in order, each once, up to the first that matches everything."""
    kept: list[_Entry] = []
    for entry in sorted(set(entries), key=lambda entry: entry.index):
        kept.append(entry)
        if not entry.tests:
            break
    return kept


def _compile(index: int, spec: RouteSpec, env: Env) -> Route:
    conditions = tuple(compile_condition(*condition) for condition in spec.conditions)
    action = spec.action.cls(spec.action.options, env) if spec.action is not None else None
    return Route(spec.backend, action, spec, conditions, spec.priority, index)


def _entry(index: int, route: Route, key: str) -> _Entry:
    names = paths = None
    tests: list[Check] = []
    rest: list[Check] = []
    for one in route.conditions:
        if one.verb == key and names is None and not one.negated:
            keys = tuple(name_key(arg) for arg in one.args)
            if any(kind == "any" for kind, _ in keys):
                continue  # matches every name
            if all(kind != "regex" for kind, _ in keys):
                names = keys
                continue
        check = one.holds if isinstance(one.holds, Check) else Called(one.holds)
        tests.append(check)
        if one.verb == "path" and paths is None and not one.negated:
            keys = tuple(path_key(arg) for arg in one.args)
            if all(kind in ("exact", "prefix") for kind, _ in keys):
                paths = keys
                continue
        rest.append(check)
    return _Entry(index, route, tuple(tests), tuple(rest), names, paths)


def _judge(route: Route, context: RouteContext, path: bytes) -> tuple[bool, str]:
    reasons = []
    for one in route.conditions:
        if not one.holds(context, path):
            return False, f"{one.text}: {one.verb} is {one.shown(context, path)}"
        reasons.append(f"{one.verb} is {one.shown(context, path)}")
    return True, "; ".join(reasons) or "takes everything"
