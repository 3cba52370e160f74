"""DATA. How a transport ends: the ways, the reasons, and whether its protocol half-closes."""

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

# How a transport is being closed.  A higher number overrides a lower one, and from BROKEN on
# nothing is sent.
OPEN: Final = 0
FLUSH: Final = 1  # loseConnection: once everything is written
LINGER: Final = 2  # all written and ended; only the peer's end is waited for (TLS)
BROKEN: Final = 3  # writing failed: once what the peer had sent is delivered
ABORT: Final = 4  # abortConnection: at the end of this turn, with a reset


def lost(error: OSError) -> Failure:
    """The reason given to a protocol when the system reports ``error``."""
    reason = ConnectionLost(f"[Errno {error.errno}] {os.strerror(error.errno or 0)}")
    reason.__cause__ = error
    return failure_of(reason)


_with_half_close: Final[dict[type, bool]] = {}  # classes of protocols; those of tests come and go
_CLASSES: Final = 256


def half_closeable(protocol: Any) -> Any:
    """``protocol`` as IHalfCloseableProtocol, or None; the answer for a class that provides it is
    remembered.
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
