"""CONTROL. The timeouts and limits of a route beside those that they replace, as words."""

from __future__ import annotations

from lbproxy.config.model import BackendSpec, FrontendSpec, RouteSpec
from lbproxy.config.units import dump
from lbproxy.model.backend import server_timeout

__all__ = ["limit_lines"]

_KINDS = {
    "timeout_queue": "duration",
    "timeout_response": "duration",
    "timeout_server": "duration",
    "timeout_tunnel": "duration",
    "retries": "int",
    "max_body": "size_or_none",
}


def limit_lines(route: RouteSpec | None, frontend: FrontendSpec, backend: BackendSpec) -> list[str]:
    """Return one line for each limit of ``route``: name, value, and the value that it replaces."""
    found = []
    for name, kind in _KINDS.items():
        value = None if route is None else getattr(route, name)
        if value is not None:
            owner = frontend if name == "max_body" else backend
            section = "frontend" if name == "max_body" else "backend"
            was = server_timeout(backend) if name == "timeout_server" else getattr(owner, name)
            other = dump(kind, was)
            found.append(f"{name} {dump(kind, value)}, in place of {other} of the {section}")
    return found
