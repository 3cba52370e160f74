"""DATA. Conversion between :class:`~lbproxy.model.Address` and the addresses of sockets."""

from __future__ import annotations

import errno
import socket
from functools import lru_cache
from typing import Any

from lbproxy.model import Address

__all__ = ["bound_address", "socket_address"]


def bound_address(address: Address, sock: socket.socket) -> Address:
    """Return ``address`` with the port that the system has chosen for port 0."""
    if address.kind == "unix":
        return address
    return Address("tcp", host=address.host, port=sock.getsockname()[1])


@lru_cache(4096)
def socket_address(address: Address) -> tuple[int, Any]:
    """Return (family, socket address) of an IP literal or Unix path. Raises OSError if it is
    neither.
    """
    if address.kind == "unix":
        return socket.AF_UNIX, address.path
    host = address.host or "0.0.0.0"
    if not 0 <= address.port <= 65535:
        raise OSError(errno.EINVAL, f"port {address.port} is not between 0 and 65535")
    try:
        found = socket.getaddrinfo(
            host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
        )
    except socket.gaierror as error:
        raise OSError(errno.EINVAL, f"{host!r} is not an IP address") from error
    return int(found[0][0]), found[0][4]
