"""CONTROL. Prepares the features of a configuration, for :mod:`lbproxy.generation.assemble`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from lbproxy.config.lines import LINES
from lbproxy.config.lines.route import dump_route
from lbproxy.config.masking import masked
from lbproxy.config.model import BackendSpec, FrontendSpec, RouteSpec, Where
from lbproxy.features import Kind, features_of
from lbproxy.http.filter import Phases
from lbproxy.model.base import BACKEND_MODES
from lbproxy.proxy.backend import Backend
from lbproxy.proxy.feature import FeatureSet, Given
from lbproxy.proxy.frontend import Frontend
from lbproxy.proxy.routeowner import RouteOwner

__all__ = ["prepare_features", "prepare_routes"]

Report = Callable[[Where, str, str, Exception], None]
"""``report(where, section, key, error)`` records an error."""

_Place = tuple[Where, str, str]


def prepare_features(
    owner: str,
    spec: BackendSpec | FrontendSpec,
    before: Backend | Frontend | None,
    given: Given,
    report: Report,
) -> FeatureSet:
    """Return the features of a section. Each one decides whether its old object continues."""
    found = {}
    for kind in features_of(owner):
        try:
            made = kind.prepare(spec, None if before is None else kind.of(before), given)
        except Exception as error:
            key = kind.keys[0]
            line = getattr(spec, key)
            where = getattr(line, "where", spec.where)
            reason = _reason(getattr(line, "name", ""), error)
            report(where, f"{owner} {spec.name}", key, reason)
            continue
        if made is not None:
            found[kind.name] = made
    return found


def prepare_routes(
    spec: FrontendSpec,
    backends: Mapping[str, BackendSpec],
    old: Frontend | None,
    given: Callable[[str], Given],
    report: Report,
) -> Sequence[RouteOwner]:
    """Return the routes of a frontend with their features; empty if no feature belongs to routes.

    A route continues the old one with the same conditions. ``given(name)``: for the features of a
    route. An error in a key of the frontend or of a backend is reported once.
    """
    kinds = features_of("route")
    if not kinds:
        return ()
    earlier = {one.spec.conditions: one for one in old.routes} if old is not None else {}
    owners: list[RouteOwner] = []
    names: set[str] = set()
    told: set[tuple[str, _Place, int]] = set()
    for position, route in enumerate(_routes(spec)):
        name = _unique(f"{spec.name}: {_conditions(route)}", names)
        before = earlier.get(route.conditions)
        planned = {}
        backend = backends.get(route.backend)
        whole = _filled(route, backend, spec)
        for kind in () if route.action is not None else kinds:
            try:
                made = _prepare(kind, whole, before, given(name))
            except Exception as error:
                place = _place(kind, route, backend, spec)
                own = place[2] == "routes"
                mark = (kind.name, place, position if own else -1)
                if mark not in told:
                    told.add(mark)
                    report(*place, _reason(kind.keys[0] if own else "", error))
                continue
            if made is not None:
                planned[kind.name] = made
        owners.append(RouteOwner(name, whole, position, kinds, planned, before))
    return owners


def _prepare(kind: Kind, spec: Any, before: RouteOwner | None, given: Given) -> Any:
    made = kind.prepare(spec, None if before is None else kind.of(before), given)
    if made is not None and made.around(Phases()).early:
        raise ValueError("a feature of a route cannot have hooks of phase early")
    return made


def _routes(spec: FrontendSpec) -> Sequence[RouteSpec]:
    """Return the routes, and ``backend`` or a mode without backends as one that takes all."""
    if not spec.backend and spec.mode in BACKEND_MODES:
        return spec.routes
    cls = LINES["route"].options
    assert cls is not None
    return (*spec.routes, cls((), spec.backend, where=spec.where))


def _filled(route: RouteSpec, backend: BackendSpec | None, spec: FrontendSpec) -> RouteSpec:
    """Return ``route`` with the keys of its backend, or else of the frontend, for those that it
    does not set.
    """
    absent = {
        key: getattr(backend if _sets(backend, kind, key) else spec, key)
        for kind in features_of("route")
        if kind.Keys is not None
        for key in attrs.fields_dict(kind.Keys)
        if getattr(route, key) is None
    }
    return attrs.evolve(route, **absent)


def _sets(backend: BackendSpec | None, kind: Kind, key: str) -> bool:
    """Return whether a backend sets the key of a feature of routes."""
    if backend is None or kind.BackendKeys is None:
        return False
    field = attrs.fields_dict(kind.BackendKeys).get(key)
    return field is not None and bool(getattr(backend, key, field.default) != field.default)


def _place(kind: Kind, route: RouteSpec, backend: BackendSpec | None, spec: FrontendSpec) -> _Place:
    """Return the position, the section and the key of the line with the first key of ``kind``."""
    key = kind.keys[0]
    if getattr(route, key, None) is not None:
        return route.where, f"frontend {spec.name}", "routes"
    if backend is not None and _sets(backend, kind, key):
        return backend.where, f"backend {backend.name}", key
    return spec.where, f"frontend {spec.name}", key


def _conditions(route: RouteSpec) -> str:
    """Return the conditions as text without secrets."""
    return dump_route(masked(route)).partition(" -> ")[0]


def _unique(name: str, names: set[str]) -> str:
    """Return ``name`` with a number if it is taken, because conditions may differ only in a
    secret.
    """
    found, number = name, 1
    while found in names:
        number += 1
        found = f"{name} ({number})"
    names.add(found)
    return found


def _reason(name: str, error: Exception) -> ValueError:
    """Return the error of a feature for users. A ValueError keeps its own text.

    ``name``: part of the line that it concerns, "" if the report names it.
    """
    words = str(error) if type(error) is ValueError else f"{type(error).__name__}: {error}"
    return ValueError(f"{name}: {words}" if name else words)
