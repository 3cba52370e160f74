"""DATA. The states of an attempt.

========= ====================================================== ===============================
state     meaning                                                next
========= ====================================================== ===============================
ASKING    no server yet: in the queue of the backend             LEASED, OVER
LEASED    has a server; the owner prepares the request           DIALLING, SENT, OVER
DIALLING  a connection is being made                             SENT, OVER
SENT      the request is on a stream; the final head is not in   ANSWERED, TUNNEL, OVER
                                                                 (resent: LEASED)
ANSWERED  the final head is in, the body follows                 OVER
TUNNEL    bytes both ways, after a 101 or a 2xx to CONNECT       OVER
OVER      connection and lease are given back
========= ====================================================== ===============================
"""

from __future__ import annotations

from enum import Enum

__all__ = ["AttemptState"]


class AttemptState(Enum):
    """See the module."""

    ASKING = 0
    LEASED = 1
    DIALLING = 2
    SENT = 3
    ANSWERED = 4
    TUNNEL = 5
    OVER = 6
