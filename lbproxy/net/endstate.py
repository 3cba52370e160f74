"""DATA. The ways in which a transport ends, the reasons, and support for half-close."""

from __future__ import annotations

import errno
import os
from typing import Any, Final

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.python.failure import Failure

from lbproxy.net.poller import failure_of

__all__ = [
    "ABORT",
    "BROKEN",
    "DONE",
    "FLUSH",
    "LINGER",
    "OPEN",
    "TRY_LATER",
    "half_closeable",
    "lost",
]

DONE: Final = failure_of(ConnectionDone())
TRY_LATER: Final = frozenset((errno.EAGAIN, errno.EWOULDBLOCK, errno.ENOBUFS, errno.EINTR))

# How a transport is being closed. A higher number overrides a lower one. From BROKEN on nothing is
# sent.
OPEN: Final = 0
FLUSH: Final = 1  # loseConnection: close after everything is written
LINGER: Final = 2  # everything is written and ended; waits for the peer's end (TLS)
BROKEN: Final = 3  # writing failed: close after the peer's data is delivered
ABORT: Final = 4  # abortConnection: reset at the end of this turn


def lost(error: OSError) -> Failure:
    """Return the reason given to a protocol when the system reports ``error``."""
    reason = ConnectionLost(f"[Errno {error.errno}] {os.strerror(error.errno or 0)}")
    reason.__cause__ = error
    return failure_of(reason)


# weak, because tests create and drop classes of protocols
_with_half_close: Final[dict[type, bool]] = {}
_CLASSES: Final = 256


def half_closeable(protocol: Any) -> Any:
    """Return ``protocol`` as IHalfCloseableProtocol, or None. The result is cached for a class that
    provides it.
    """
    kind = type(protocol)
    if kind in _with_half_close:
        return protocol
    found = IHalfCloseableProtocol(protocol, None)
    if found is protocol and IHalfCloseableProtocol.implementedBy(kind):
        if len(_with_half_close) >= _CLASSES:
            _with_half_close.clear()
        _with_half_close[kind] = True
    return found
