"""DATA. Connections to one server that wait for their next exchange."""

from __future__ import annotations

from lbproxy.proxy.http.streams import ServerConnection

__all__ = ["Pool"]


class Pool:
    """A pool of connections. It is last in, first out, so that the load determines how many
    connections stay open.

    It holds every connection with ``spare`` capacity: an idle HTTP/1 connection, or a multiplexing
    one that can carry more streams. A connection removes itself (:meth:`forget`) when it closes.
    """

    __slots__ = ("_ready", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._ready: list[ServerConnection] = []

    def __len__(self) -> int:
        return len(self._ready)

    def take(self) -> ServerConnection | None:
        """The most recently used connection that can carry one more stream, or None."""
        ready = self._ready
        while ready:
            connection = ready[-1]
            spare = connection.spare
            if spare <= 1:
                ready.pop()
                connection.pooled = False
            if spare > 0:
                return connection
        return None

    def put(self, connection: ServerConnection) -> None:
        """Add a connection that has capacity.

        Above the limit the least recently used one is shut.
        """
        ready = self._ready
        if connection.pooled:
            return
        if self.limit <= 0:
            connection.shut()
            return
        connection.pooled = True
        ready.append(connection)
        if len(ready) > self.limit:
            oldest = ready.pop(0)
            oldest.pooled = False
            oldest.shut()

    def forget(self, connection: ServerConnection) -> None:
        """Remove a closed connection, if it is in the pool."""
        if connection.pooled:
            connection.pooled = False
            self._ready.remove(connection)

    def connections(self) -> list[ServerConnection]:
        """Return the pooled connections, the most recently used last."""
        return self._ready.copy()

    def shut(self) -> None:
        """Shut every pooled connection. Busy ones finish first."""
        ready, self._ready = self._ready, []
        for connection in ready:
            connection.pooled = False
        for connection in ready:
            connection.shut()

    def close(self) -> None:
        """Shut every connection, and accept no more."""
        self.limit = 0
        self.shut()
