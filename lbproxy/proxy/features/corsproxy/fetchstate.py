"""PURE. The states of one call of a CORS proxy.

======== ==================================================== =======================
state    meaning                                              next
======== ==================================================== =======================
REACHING a connection is looked up or made                    SENT, OVER
SENT     the request is on its way; no final head             REACHING (redirect, dead
                                                              connection), ANSWERED,
                                                              OVER
ANSWERED the final head is in, the body follows               TUNNEL, OVER
TUNNEL   bytes both ways, after a 101                         OVER
OVER     everything is released
======== ==================================================== =======================
"""

from __future__ import annotations

from enum import Enum

__all__ = ["TargetFetchState"]


class TargetFetchState(Enum):
    """See the module."""

    REACHING = 0
    SENT = 1
    ANSWERED = 2
    TUNNEL = 3
    OVER = 4
