"""CONTROL. The interface of the admin server for routes, parts and connections.

:class:`lbproxy.admin.server.Admin` implements it. The server imports routes and parts, which do not
import it.
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
    """The interface of the admin server. ``balancer``: the :class:`lbproxy.service.LoadBalancer`.

    ``parts`` and ``table``: the parts and the routes. ``states``: the state and its followers.
    ``started``: Unix time. ``hosts``: accepted names in ``Host``. ``public``: groups of routes that
    need no token. ``paces``, ``address_paces``: limits of the work for each role and each client
    address.
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
        """Number of open streams."""

    def following(self, follower: Follower, role: Role = Role.WRITE) -> None:
        """Count a new stream of a caller with ``role``.

        Raises :class:`lbproxy.admin.route.APIError` 503.
        """

    def unfollowed(self, follower: Follower) -> None:
        """Count a closed stream."""

    def audit(self, call: Any, route: Any, status: int) -> None:
        """Log a change, or an attempt to make one."""
