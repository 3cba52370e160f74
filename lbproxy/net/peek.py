"""DATA. A test for bytes of a peer that the transport has not read yet."""

from __future__ import annotations

import socket
from typing import Any

__all__ = ["has_input"]


def has_input(transport: Any) -> bool:
    """Return whether bytes, a FIN or an error are pending on the socket of ``transport``.

    Costs one system call. Returns False for a transport without a socket (in-memory ones).
    """
    sock = getattr(transport, "socket", None)
    if sock is None:
        return False
    try:
        sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except (BlockingIOError, InterruptedError):
        return False
    except OSError:
        return True
    return True
