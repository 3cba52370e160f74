"""CONTROL. What routes, parts and connections use of the admin server, as an interface.

:class:`lbproxy.admin.server.Admin` is the only one; it imports them, and not the other way round.
"""

from __future__ import annotations

from typing import Any, Protocol

from lbproxy.admin.auth import Role
from lbproxy.admin.lag import Lag
from lbproxy.admin.pace import AddressPaces, Pace
from lbproxy.admin.reloads import Reloads
from lbproxy.admin.stream import Follower

__all__ = ["AdminView"]


class AdminView(Protocol):
    """``balancer``: the :class:`lbproxy.service.LoadBalancer`.  ``parts`` and ``table``: what it
    shows, and the routes.  ``states``: the state that is shown and followed.  ``started``: Unix
    time.  ``hosts``: accepted names in ``Host``.  ``public``: groups of routes that need no token.
    ``paces``, ``address_paces``: how fast each role and each client address is answered.
    """

    balancer: Any
    reactor: Any
    started: float
    parts: Any
    metrics_servers: Any
    lag: Lag
    hosts: frozenset[str]
    public: frozenset[str]
    table: Any
    states: Any
    paces: dict[Role, Pace]
    address_paces: AddressPaces
    reloads: Reloads

    @property
    def followers(self) -> int:
        """Number of streams that are followed now."""

    def following(self, follower: Follower, role: Role = Role.WRITE) -> None:
        """One more, of a caller with ``role``.  Raises :class:`lbproxy.admin.route.APIError` 503."""

    def unfollowed(self, follower: Follower) -> None:
        """Its connection is gone."""

    def audit(self, call: Any, route: Any, status: int) -> None:
        """Log a change, or the attempt of one."""
