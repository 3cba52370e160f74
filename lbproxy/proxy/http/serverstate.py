"""PURE. The states of an HTTP/1 connection to a server and their transitions.

========= =================================================== ================ ====================
state     the connection waits for                            deadline         next
========= =================================================== ================ ====================
IDLE      an exchange: it is new, in the pool, or bound to a  pool_idle, none  SENDING, EXPECTING,
          client                                              while bound      AWAITING, CLOSING
SENDING   the rest of the request body                        the client's     AWAITING, EARLY,
                                                                               TUNNEL, CLOSING
EXPECTING the server's 100, before the body                   timeout_response SENDING, AWAITING,
                                                                               DECLINED, TUNNEL,
                                                                               CLOSING
AWAITING  the response head; the request is complete          timeout_response ANSWERING, TUNNEL,
                                                                               CLOSING
EARLY     the rest of the request body; the response has      the client's     ANSWERING, TUNNEL,
          begun                                                                CLOSING
DECLINED  the rest of a response that came in place of the    timeout_server   EARLY, ANSWERING,
          100; the body may never come                                         CLOSING
ANSWERING the rest of the response; the request is complete   timeout_server   IDLE, TUNNEL, CLOSING
TUNNEL    bytes both ways                                     timeout_tunnel   CLOSING
CLOSING   the server to take what is written                  timeout_connect
========= =================================================== ================ ====================

A server that does not read has ``timeout_server`` in every state.  The response has begun from
EARLY to TUNNEL.
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "ANSWERING",
    "AWAITING",
    "CLOSING",
    "DECLINED",
    "EARLY",
    "EXPECTING",
    "IDLE",
    "NAMES",
    "NEXT",
    "SENDING",
    "TUNNEL",
]

IDLE: Final = 0
SENDING: Final = 1
EXPECTING: Final = 2
AWAITING: Final = 3
EARLY: Final = 4
DECLINED: Final = 5
ANSWERING: Final = 6
TUNNEL: Final = 7
CLOSING: Final = 8

NAMES: Final = (
    "idle",
    "sending",
    "expecting",
    "awaiting",
    "early",
    "declined",
    "answering",
    "tunnel",
    "closing",
)

NEXT: Final[dict[int, frozenset[int]]] = {
    IDLE: frozenset((SENDING, EXPECTING, AWAITING, CLOSING)),
    SENDING: frozenset((AWAITING, EARLY, TUNNEL, CLOSING)),
    EXPECTING: frozenset((SENDING, AWAITING, DECLINED, TUNNEL, CLOSING)),
    AWAITING: frozenset((ANSWERING, TUNNEL, CLOSING)),
    EARLY: frozenset((ANSWERING, TUNNEL, CLOSING)),
    DECLINED: frozenset((EARLY, ANSWERING, TUNNEL, CLOSING)),
    ANSWERING: frozenset((IDLE, TUNNEL, CLOSING)),
    TUNNEL: frozenset((CLOSING,)),
    CLOSING: frozenset((CLOSING,)),
}
"""The states that may follow each state. The tests check every connection against it."""
