"""DATA. Closing a connection without notifying its client, which keeps waiting."""

from __future__ import annotations

import os
import socket
from typing import Any, Final, Literal

from twisted.internet.protocol import Protocol

__all__ = ["DroppedConnection", "Silence", "may_repair", "silence"]

Silence = Literal["tcp_repair", "reset"]

TCP_REPAIR: Final = 19  # linux/tcp.h; not in the module socket


def may_repair() -> bool:
    """Return whether this process may close a connection without a FIN (TCP_REPAIR,
    CAP_NET_ADMIN).
    """
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
    except OSError:
        return False
    return True


def silence(transport: Any) -> Silence:
    """Close a connection without sending anything to the client if the system allows that, else
    with a reset.

    A socket in TCP_REPAIR is closed without FIN and reset. The kernel forgets it, and answers later
    segments of the client with a reset.
    """
    done: Silence = "reset"
    try:
        descriptor = os.dup(transport.fileno())
        with socket.socket(fileno=descriptor) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
        done = "tcp_repair"
    except (OSError, AttributeError, TypeError, ValueError):
        pass
    transport.abortConnection()
    return done


class DroppedConnection(Protocol):
    """The protocol of a connection that is dropped as soon as it is accepted."""

    def connectionMade(self) -> None:
        """See IProtocol."""
        silence(self.transport)
