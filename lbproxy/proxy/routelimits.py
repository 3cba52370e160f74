"""DATA. The timeouts and limits of a route that replace those of its backend or frontend."""

from __future__ import annotations

from lbproxy.model import RouteSpec
from lbproxy.proxy.terms import Terms, Waits

__all__ = ["RouteLimits"]


class RouteLimits:
    """The limits of one route, compiled with its policy.

    - ``timeout_queue``, ``timeout_response``, ``timeout_server``, ``timeout_tunnel``: seconds; 0
      for those of the backend.
    - ``retries``: -1 for those of the backend.
    - ``max_body``: bytes; -1 for only the frontend's limit.
    """

    __slots__ = (
        "max_body",
        "retries",
        "timeout_queue",
        "timeout_response",
        "timeout_server",
        "timeout_tunnel",
        "waits",
    )

    def __init__(self, spec: RouteSpec) -> None:
        self.timeout_queue: float = spec.timeout_queue or 0.0
        self.timeout_response: float = spec.timeout_response or 0.0
        self.timeout_server: float = spec.timeout_server or 0.0
        self.timeout_tunnel: float = spec.timeout_tunnel or 0.0
        self.retries: int = -1 if spec.retries is None else spec.retries
        self.max_body: int = -1 if spec.max_body is None else spec.max_body
        self.waits = bool(self.timeout_response or self.timeout_server or self.timeout_tunnel)

    @staticmethod
    def of(spec: RouteSpec | None) -> RouteLimits | None:
        """Return the limits of a route; None if it has none, so that its traffic costs nothing."""
        if spec is None:
            return None
        found = RouteLimits(spec)
        numbers = found.retries >= 0 or found.max_body >= 0 or found.timeout_queue > 0.0
        return found if numbers or found.waits else None

    def over(self, terms: Terms) -> Waits:
        """Return the deadlines of a stream: those of the route, otherwise those of the backend."""
        return Waits(
            self.timeout_response or terms.timeout_response,
            self.timeout_server or terms.timeout_server,
            self.timeout_tunnel or terms.timeout_tunnel,
        )
