"""PURE. The open directions of a stream, as a table of states and events.

TCP and TLS close each direction separately (RFC 9293 section 3.6, RFC 8446 section 6.1): a FIN or a
close_notify ends its sender's direction, and the other direction continues. The transports keep one
state per connection. An event without meaning in a state leaves the state unchanged.

=======================  ========  ==================================
state                    receives  sends
=======================  ========  ==================================
OPEN                     yes       yes
PEER_ENDED               no        yes
ENDING                   yes       what is buffered, then its end
PEER_ENDED_ENDING        no        what is buffered, then its end
ENDED                    yes       no
OVER                     no        no
=======================  ========  ==================================
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "END",
    "ENDED",
    "ENDING",
    "FLUSHED",
    "OPEN",
    "OVER",
    "PEER_END",
    "PEER_ENDED",
    "PEER_ENDED_ENDING",
    "after",
    "ending",
    "peer_ended",
    "sends",
]

# states: plain integers, which compiled code compares without a call; odd states do not receive
OPEN: Final = 0
PEER_ENDED: Final = 1
ENDING: Final = 2
PEER_ENDED_ENDING: Final = 3
ENDED: Final = 4
OVER: Final = 5

# events
PEER_END: Final = 0  # the peer's end was read
END: Final = 1  # our end was requested
FLUSHED: Final = 2  # nothing is buffered

# one row per state; bytes, because compiled code would copy a tuple of tuples for each lookup
# fmt: off
_NEXT: Final = bytes((
    # PEER_END         END                FLUSHED
    PEER_ENDED,        ENDING,            OPEN,               # OPEN
    PEER_ENDED,        PEER_ENDED_ENDING, PEER_ENDED,         # PEER_ENDED
    PEER_ENDED_ENDING, ENDING,            ENDED,              # ENDING
    PEER_ENDED_ENDING, PEER_ENDED_ENDING, OVER,               # PEER_ENDED_ENDING
    OVER,              ENDED,             ENDED,              # ENDED
    OVER,              OVER,              OVER,               # OVER
))
# fmt: on


def after(state: int, event: int) -> int:
    """Return the state that follows ``state`` after ``event``."""
    return _NEXT[3 * state + event]


def peer_ended(state: int) -> bool:
    """Return whether the peer has ended its direction."""
    return state & 1 != 0


def ending(state: int) -> bool:
    """Return whether our end was requested, sent or not."""
    return state >= ENDING


def sends(state: int) -> bool:
    """Return whether bytes may still be sent, including buffered ones."""
    return state < ENDED
