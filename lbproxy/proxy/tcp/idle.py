"""PURE. The deadline of a silent TCP session.

The session checks at every :data:`PARTS`-th of the timeout whether bytes have moved since the last
check. A byte therefore costs nothing, and a session ends at most one part late.
"""

from __future__ import annotations

from typing import Final

from lbproxy.net import halfclose

__all__ = ["PARTS", "IdleWatch"]

PARTS: Final = 8


class IdleWatch:
    """The deadline of a session. ``client_timeout``, ``server_timeout``: seconds. ``seconds``: the
    present one.
    """

    __slots__ = ("_client", "_moved", "_quiet", "_server", "seconds")

    def __init__(self, client_timeout: float, server_timeout: float) -> None:
        self._client = client_timeout
        self._server = server_timeout
        self._moved = 0  # bytes in both directions at the last check
        self._quiet = 0  # consecutive checks without new bytes
        self.seconds = 0.0

    def restart(self, half: int) -> float:
        """Restart. Return the seconds until the next check.

        ``half``: the client's directions (:mod:`lbproxy.net.halfclose`). A side that has ended its
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
        """Note that uncounted bytes have moved."""
        self._quiet = 0

    def look(self, moved: int) -> float:
        """Check after a part of the timeout. ``moved``: total bytes moved. Return the seconds until
        the next check, 0 if the session was silent for too long.
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
        """Return whether the session waits for the client."""
        return halfclose.ending(half) or (
            not halfclose.peer_ended(half) and self.seconds == self._client
        )
