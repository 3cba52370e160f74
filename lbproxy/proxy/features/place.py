"""DATA. The target, host and route of a request, which filters of phase ``early`` may change.

Features that decide by these before such filters check them again afterwards.
"""

from __future__ import annotations

from typing import Any

from lbproxy.http.filter import Phases
from lbproxy.http.route import Router
from lbproxy.proxy.feature import Feature

__all__ = ["has_filters", "place_of"]


def has_filters(phases: Phases) -> bool:
    """Return whether phase ``early`` has hooks other than those of features."""
    owners = (getattr(hook, "__self__", None) for hook in phases.early)
    return not all(isinstance(getattr(one, "inner", one), Feature) for one in owners)


def place_of(traffic: Any, router: Router) -> tuple[Any, ...]:
    """Return target, host and route of a request, or the route of a TCP session."""
    request, route = traffic.request, router.match(traffic)
    return (route,) if request is None else (request.target, request.host, route)
