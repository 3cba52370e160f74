"""PURE. The states of a TCP session, as a table.

=========  ==========================================================  =========================
state      meaning                                                     next
=========  ==========================================================  =========================
ROUTING    filters of phase ``early``, route, phase ``request``        WAITING
WAITING    asks the backend for a server, or waits in its queue        LEASED
LEASED     has a server: filters of phase ``server_request``           DIALLING
DIALLING   a connection is being made                                  CONNECTED; after a
                                                                       failure WAITING, PAUSED
PAUSED     the pause before another attempt                            WAITING
CONNECTED  filters of phase ``response``                               RELAYING
RELAYING   bytes flow both ways                                        OVER
OVER       lease given back, logged; the last bytes may still go out   GONE
GONE       both connections are closed
=========  ==========================================================  =========================

Each state before OVER may also be followed by OVER: the client leaves, the server goes down, a
filter refuses, a deadline passes.  LEASED may be followed by GONE through OVER only.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

__all__ = ["NEXT", "SessionState"]


class SessionState(Enum):
    """See the module."""

    ROUTING = 0
    WAITING = 1
    LEASED = 2
    DIALLING = 3
    PAUSED = 4
    CONNECTED = 5
    RELAYING = 6
    OVER = 7
    GONE = 8


NEXT: Final[dict[SessionState, frozenset[SessionState]]] = {
    SessionState.ROUTING: frozenset((SessionState.WAITING, SessionState.OVER)),
    SessionState.WAITING: frozenset((SessionState.LEASED, SessionState.OVER)),
    SessionState.LEASED: frozenset((SessionState.DIALLING, SessionState.OVER)),
    SessionState.DIALLING: frozenset(
        (SessionState.CONNECTED, SessionState.WAITING, SessionState.PAUSED, SessionState.OVER)
    ),
    SessionState.PAUSED: frozenset((SessionState.WAITING, SessionState.OVER)),
    SessionState.CONNECTED: frozenset((SessionState.RELAYING, SessionState.OVER)),
    SessionState.RELAYING: frozenset((SessionState.OVER,)),
    SessionState.OVER: frozenset((SessionState.GONE,)),
    SessionState.GONE: frozenset(),
}
"""The table, for tests."""
