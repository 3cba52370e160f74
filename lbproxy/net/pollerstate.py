"""DATA. The states of a poller.

=======  ============================  ======================  ======
state    doRead, on_soon begin         they end                close
=======  ============================  ======================  ======
IDLE     TURN                          -                       CLOSED
TURN     -                             IDLE                    CLOSED
CLOSED   CLOSED                        CLOSED                  CLOSED
=======  ============================  ======================  ======
"""

from __future__ import annotations

from enum import Enum

__all__ = ["PollerState"]


class PollerState(Enum):
    """See the module."""

    IDLE = 0
    TURN = 1
    CLOSED = 2
