"""DATA. A long-lived session that rebalancing may end."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from lbproxy.sessionclose.base import SessionClose

if TYPE_CHECKING:
    pass

__all__ = ["WatchedSession"]


class WatchedSession:
    """One session of a backend with ``rebalance``: how it is closed, and when bytes last moved."""

    __slots__ = ("_now", "moved", "parted", "session_close")

    def __init__(self, session_close: SessionClose, now: Callable[[], float]) -> None:
        self.session_close = session_close
        self.moved = now()
        self.parted = False
        self._now = now

    def from_client(self, data: bytes) -> None:
        """Process bytes on their way to the server."""
        self.moved = self._now()
        self.session_close.from_client(data)

    def from_server(self, data: bytes) -> None:
        """Process bytes on their way to the client."""
        self.moved = self._now()
        self.session_close.from_server(data)

    def tap_client(self, write: Callable[[bytes], None]) -> Callable[[bytes], None]:
        """Return ``write`` to the server with inspection of the bytes."""

        def write_looked_at(data: bytes) -> None:
            self.from_client(data)
            write(data)

        return write_looked_at

    def tap_server(self, write: Callable[[bytes], None]) -> Callable[[bytes], None]:
        """Return ``write`` to the client with inspection of the bytes. Nothing follows the closing
        message.
        """

        def write_looked_at(data: bytes) -> None:
            if not self.parted:
                self.from_server(data)
                write(data)

        return write_looked_at
