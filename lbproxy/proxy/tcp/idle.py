"""PURE. The deadline of a silent TCP session.

The session looks every :data:`PARTS`-th of the timeout whether bytes have moved since the last
look, so a byte costs nothing, and a session ends at most one part late.
"""

from __future__ import annotations

from typing import Final

from lbproxy.net import halfclose

__all__ = ["PARTS", "IdleWatch"]

PARTS: Final = 8


class IdleWatch:
    """``client_timeout``, ``server_timeout``: seconds.  ``seconds``: the one that applies now."""

    __slots__ = ("_client", "_moved", "_quiet", "_server", "seconds")

    def __init__(self, client_timeout: float, server_timeout: float) -> None:
        self._client = client_timeout
        self._server = server_timeout
        self._moved = 0  # bytes both ways at the last look
        self._quiet = 0  # looks in a row that found nothing new
        self.seconds = 0.0

    def restart(self, half: int) -> float:
        """Restart; return the seconds until the next look.

        ``half``: the client's directions (:mod:`lbproxy.net.halfclose`).  A side that has ended its
        direction is not waited for.
        """
        if halfclose.peer_ended(half):
            self.seconds = self._server
        elif halfclose.ending(half):
            self.seconds = self._client
        else:
            self.seconds = min(self._client, self._server)
        self._quiet = 0
        return self.seconds / PARTS

    def touch(self) -> None:
        """Bytes have moved that are not counted."""
        self._quiet = 0

    def look(self, moved: int) -> float:
        """A part has passed and ``moved`` bytes have moved in all: return the seconds until the
        next look, 0 if the session was silent for too long.
        """
        if moved != self._moved:
            self._moved = moved
            self._quiet = 0
        else:
            self._quiet += 1
            if self._quiet >= PARTS:
                return 0.0
        return self.seconds / PARTS

    def waits_for_client(self, half: int) -> bool:
        """Return whether it was the client's turn to say something."""
        return halfclose.ending(half) or (
            not halfclose.peer_ended(half) and self.seconds == self._client
        )
