"""PURE. The states of an HTTP/1 client connection and their transitions.

========= ============================================== ==================== ====================
state     the connection waits for                       deadline             next
========= ============================================== ==================== ====================
IDLE      the first byte of a request                    timeout_keepalive;   HEAD, BODY,
                                                         the first request:   EXPECTING, REFUSED,
                                                         timeout_header       ANSWERING,
                                                                              SWITCHING, CLOSING
HEAD      the rest of a request head                     timeout_header,      as IDLE, without HEAD
                                                         from its first byte
BODY      the rest of a request body                     timeout_body         ANSWERING, SWITCHING,
                                                                              REFUSED, IDLE, HEAD,
                                                                              LINGERING, CLOSING
EXPECTING the server's 100, before the body              none, the server has as BODY, and BODY
                                                         one
REFUSED   the answer to input that is no request; what   that of the state    LINGERING, CLOSING
          follows is not parsed                          before
ANSWERING the response; the request is complete          none, the server has IDLE, HEAD, BODY,
                                                         one                  LINGERING, CLOSING
SWITCHING the server's answer to an Upgrade or CONNECT   none, the server has as ANSWERING, TUNNEL,
                                                         one                  REFUSED
TUNNEL    bytes both ways                                none, the server has CLOSING
                                                         one
LINGERING the client to read the last answer and to end; 2 s, 1 MiB           CLOSING
          what it sends is dropped
CLOSING   the client to take what is written             timeout_client       CLOSED
CLOSED    nothing: cut off, or closed                    none
========= ============================================== ==================== ====================

Every state may also change to CLOSED (the connection is lost or aborted). A client that does not
read has ``timeout_client`` in every state.

The numbers are ordered: an exchange exists from BODY to TUNNEL, its request is complete from
ANSWERING on, and from LINGERING on nothing is sent any more.
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "ANSWERING",
    "BODY",
    "CLOSED",
    "CLOSING",
    "EXPECTING",
    "HEAD",
    "IDLE",
    "LINGERING",
    "NAMES",
    "NEXT",
    "REFUSED",
    "SWITCHING",
    "TUNNEL",
]

IDLE: Final = 0
HEAD: Final = 1
BODY: Final = 2
EXPECTING: Final = 3
REFUSED: Final = 4
ANSWERING: Final = 5
SWITCHING: Final = 6
TUNNEL: Final = 7
LINGERING: Final = 8
CLOSING: Final = 9
CLOSED: Final = 10

NAMES: Final = (
    "idle",
    "head",
    "body",
    "expecting",
    "refused",
    "answering",
    "switching",
    "tunnel",
    "lingering",
    "closing",
    "closed",
)

_BEGUN: Final = frozenset((BODY, EXPECTING, REFUSED, ANSWERING, SWITCHING, CLOSING, CLOSED))
_OVER: Final = frozenset((IDLE, HEAD, LINGERING, CLOSING, CLOSED))

NEXT: Final[dict[int, frozenset[int]]] = {
    IDLE: _BEGUN | {HEAD},
    HEAD: _BEGUN,
    BODY: _OVER | {ANSWERING, SWITCHING, REFUSED},
    EXPECTING: _OVER | {BODY, ANSWERING, SWITCHING, REFUSED},
    REFUSED: frozenset((LINGERING, CLOSING, CLOSED)),
    ANSWERING: _OVER,
    SWITCHING: _OVER | {TUNNEL, REFUSED},
    TUNNEL: frozenset((CLOSING, CLOSED)),
    LINGERING: frozenset((CLOSING, CLOSED)),
    CLOSING: frozenset((CLOSED,)),
    CLOSED: frozenset((CLOSED,)),
}
"""The states that may follow each state. The tests check every connection against it."""
