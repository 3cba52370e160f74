"""DATA. Checks that a ``[limit NAME]`` fits the frontend that uses it."""

from __future__ import annotations

from typing import Any

from lbproxy.proxy.features.limiting.key import TCP_VARIABLES
from lbproxy.proxy.features.limiting.limit import Limit
from lbproxy.proxy.features.limiting.spec import LimitSpec

__all__ = ["names_of", "require_fit"]


def names_of(route: Any) -> tuple[str, ...]:
    """Return the option ``limits`` of a route."""
    found: tuple[str, ...] | None = route.limits
    return found or ()


def require_fit(limit: LimitSpec, spec: Any) -> None:
    """Raise ValueError for a limit that needs properties that the frontend does not have."""
    if spec.mode == "tcp":
        if limit.unit == "errors":
            raise ValueError(f"limit {limit.name}: 'unit = errors' needs mode = http")
        other = sorted(Limit.key_of(limit).variables - TCP_VARIABLES)
        if other:
            raise ValueError(f"limit {limit.name}: {{{other[0]}}} needs mode = http")
    if limit.unit == "connections":
        if any(limit.name in names_of(route) for route in spec.routes):
            raise ValueError(f"limit {limit.name} counts connections, which have no route")
        for use in spec.limits:
            other = sorted({verb for verb, _, _ in use.conditions} - {"client", "track"})
            if use.name == limit.name and other:
                raise ValueError(f"limit {limit.name} counts connections: no {other[0]!r}")
