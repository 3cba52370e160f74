"""DATA. Measures the number of bytes that a client has read, as far as the system knows."""

from __future__ import annotations

import socket
import struct
from typing import Any, Final

from lbproxy.proxy.unsent import unsent_bytes

__all__ = ["taken_bytes"]

_ACKED_AT: Final = 120  # tcpi_bytes_acked in struct tcp_info, Linux 4.1 and later
_SIZE: Final = _ACKED_AT + 8


def taken_bytes(transport: Any) -> int:
    """Return a number that grows with the bytes that the peer has acknowledged.

    The number of bytes that lbproxy has written is no measure, because system buffers accept
    megabytes of a response at once. Only the difference of two results is meaningful. Where the
    system does not count (Unix sockets, tests), the bytes that lbproxy still holds are subtracted
    from 0.
    """
    below = transport
    while (inner := getattr(below, "transport", None)) is not None:  # TLS layers
        below = inner
    # not getHandle, which is the TLS connection where lbproxy runs TLS on the socket itself
    found = _acked(getattr(below, "socket", None))
    return -unsent_bytes(transport) if found is None else found


def _acked(sock: Any) -> int | None:
    if not isinstance(sock, socket.SocketType | socket.socket):
        return None
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return None
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _SIZE)
    except OSError:
        return None
    if len(info) < _SIZE:
        return None
    acked: int = struct.unpack_from("=Q", info, _ACKED_AT)[0]
    return acked
