"""DATA. The server connections that belong to one client connection, until it closes.

A server connection is bound because it carries the identity of a user
(:mod:`lbproxy.http.identity`), or because the backend does not share connections (``reuse =
never``). Between two requests it waits here and not in the pool.
"""

from __future__ import annotations

from typing import Any, Protocol

from lbproxy.balance.server import ServerState
from lbproxy.proxy.http.connector import Connector
from lbproxy.proxy.http.streams import ServerConnection

__all__ = ["BoundConnections", "OwnedConnection", "bound_of"]


class OwnedConnection(ServerConnection, Protocol):
    """A server connection that can belong to a client connection.

    ``pins``: its server has authenticated the user, so that further requests must go there.
    """

    pins: bool

    @property
    def connector(self) -> Connector: ...


class BoundConnections:
    """The bound connections of a client connection, the most recently used last."""

    __slots__ = ("_closed", "_held")

    def __init__(self) -> None:
        self._held: list[OwnedConnection] = []
        self._closed = False

    def __len__(self) -> int:
        return len(self._held)

    def add(self, connection: OwnedConnection) -> None:
        """Add the busy ``connection``, and shut an idle one to the same backend."""
        backend = connection.connector.server.backend
        for one in list(self._held):
            if one.connector.server.backend == backend and one.spare:
                one.shut()
        self._held.append(connection)
        if self._closed:
            connection.shut()

    def take(self, connector: Connector) -> OwnedConnection | None:
        """Return an idle connection of ``connector``, or None."""
        for one in reversed(self._held):
            if one.connector is connector and one.spare:
                return one
        return None

    def server(self, backend: str) -> ServerState | None:
        """Return the server of ``backend`` that has authenticated the user of the client
        connection.
        """
        for one in reversed(self._held):
            if one.pins and one.connector.server.backend == backend:
                return one.connector.server
        return None

    @property
    def identified(self) -> bool:
        """True if a server has authenticated the user of the client connection."""
        return any(one.pins for one in self._held)

    def forget(self, connection: OwnedConnection) -> None:
        """Remove a closed ``connection``."""
        if connection in self._held:
            self._held.remove(connection)

    def close(self) -> None:
        """Shut all connections at the end of the client connection; busy ones when they are
        done.
        """
        self._closed = True
        for one in list(self._held):
            one.shut()


def bound_of(info: Any) -> BoundConnections:
    """Return the connections bound to a client connection, ``ConnectionInfo.bound``."""
    if info.bound is None:
        info.bound = BoundConnections()
    bound: BoundConnections = info.bound
    return bound
