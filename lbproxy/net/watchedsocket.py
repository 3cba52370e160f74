"""DATA. A connected socket in the poller: its event mask, its addresses, its options.

This is the bottom layer of :class:`lbproxy.net.transport.FastTransport`. :mod:`lbproxy.net.sender`
writes to it.
"""

from __future__ import annotations

import contextlib
import os
import socket
from typing import Any, Final

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress

from lbproxy.net import halfclose
from lbproxy.net.handler import Handler
from lbproxy.net.poller import IN, RDHUP, Poller
from lbproxy.net.stream import StreamProtocol

__all__ = ["READ_MASK", "WatchedSocket", "twisted_address"]

READ_MASK: Final = IN | RDHUP
_UNIX: Final = int(socket.AF_UNIX)


def twisted_address(family: int, raw: Any) -> IPv4Address | IPv6Address | UNIXAddress:
    """Return a socket address as Twisted's address object. An IPv4 client of a dual-stack socket is
    shown as IPv4.
    """
    if family == socket.AF_UNIX:
        return UNIXAddress(raw or None)
    if family == socket.AF_INET6 and raw:
        host = raw[0]
        if host.startswith("::ffff:") and "." in host:
            return IPv4Address("TCP", host[7:], raw[1])
        return IPv6Address("TCP", host, raw[1], raw[2], raw[3])
    return IPv4Address("TCP", raw[0], raw[1]) if raw else IPv4Address("TCP", "0.0.0.0", 0)


class WatchedSocket(Handler):
    """A connected socket, owned by this object.

    ``sock``: non-blocking; None if only its descriptor ``fd`` and its ``family`` are known, which
    is enough for most connections. ``peer``, ``host``: the raw addresses of its ends, None to ask
    the socket.
    """

    __slots__ = (
        "_direct",
        "_family",
        "_fd",
        "_half",
        "_host",
        "_mask",
        "_peer",
        "_poller",
        "_protocol",
        "_queued",
        "_socket",
        "connected",
    )

    def __init__(
        self, poller: Poller, sock: Any, peer: Any, host: Any, fd: int, family: int
    ) -> None:
        self._poller = poller
        self._socket: Any = sock
        self._fd = fd if sock is None else int(sock.fileno())
        self._family = family  # -1: the descriptor of the socket
        self._peer = peer
        self._host: Any = host
        self._mask = 0  # the mask in the epoll; -1: not registered
        self._half = halfclose.OPEN
        self._queued = False  # listed by the poller for the end of this turn
        self.connected = 1
        self._protocol: Any = None
        self._direct: StreamProtocol | None = None  # the protocol, if compiled code can call it

    @property
    def protocol(self) -> Any:
        """The protocol that receives the data."""
        return self._protocol

    @protocol.setter
    def protocol(self, protocol: Any) -> None:
        self._protocol = protocol
        self._direct = protocol if isinstance(protocol, StreamProtocol) else None

    # -- the poller --------------------------------------------------------------------------

    def start(self) -> None:
        """Watch the socket. Raises OSError if the kernel refuses."""
        self._mask = READ_MASK
        self._poller.register(self._fd, READ_MASK, self)

    def begin(self, mask: int) -> None:
        """Start like :meth:`start`, with a descriptor that is watched for ``mask`` already."""
        self._mask = mask
        self._watch(READ_MASK)

    @property
    def watched(self) -> bool:
        """True if the poller watches the descriptor."""
        return self._mask >= 0

    def _watch(self, mask: int) -> None:
        """Change the mask in the epoll; -1 removes the descriptor from it.

        A socket that is shut down in both directions reports a permanent hang-up, so it is not
        watched at all.
        """
        if mask == 0 and self._half == halfclose.OVER:
            mask = -1
        if mask == self._mask:
            return
        if mask < 0:
            self._poller.silence(self._fd)
        elif self._mask < 0:
            self._poller.register(self._fd, mask, self)
        else:
            self._poller.modify(self._fd, mask)
        self._mask = mask

    def _watch_too(self, more: int) -> None:
        self._watch((self._mask if self._mask > 0 else 0) | more)

    def _watch_no_more(self, less: int) -> None:
        self._watch(self._mask & ~less if self._mask > 0 else self._mask)

    def _later(self) -> None:
        """Schedule a call of :meth:`on_soon` at the end of this turn."""
        if not self._queued:
            self._queued = True
            self._poller.soon(self)

    # -- facts and options -------------------------------------------------------------------

    @property
    def reactor(self) -> Any:
        """The reactor that drives the poller."""
        return self._poller.reactor

    @property
    def socket(self) -> Any:
        """The socket. After the end it is closed."""
        if self._socket is None:
            kind = socket.SOCK_STREAM | socket.SOCK_NONBLOCK
            if self._fd < 0:
                self._socket = socket.SocketType(self._family, kind)
                self._socket.close()
            else:
                self._socket = socket.SocketType(self._family, kind, 0, self._fd)
        return self._socket

    def _is_unix(self) -> bool:
        if self._family < 0:
            self._family = int(self._socket.family)
        return self._family == _UNIX

    def _close_descriptor(self) -> None:
        """Close the socket. Raises OSError like ``close``."""
        fd, self._fd = self._fd, -1
        if self._socket is None:
            os.close(fd)
        else:
            self._socket.close()

    def fileno(self) -> int:
        """Return the descriptor; -1 if it is closed."""
        return self._fd

    def getHandle(self) -> Any:
        """Return the socket."""
        return self.socket

    def logPrefix(self) -> str:
        """Return the prefix for Twisted's log context."""
        return type(self._protocol).__name__

    def getPeer(self) -> Any:
        """Return the peer's address as IPv4Address, IPv6Address or UNIXAddress. It stays available
        after the close.
        """
        peer = self._peer
        if peer is None or type(peer) in (tuple, str, bytes):
            if peer is None:
                with contextlib.suppress(OSError):
                    peer = self.socket.getpeername()
            peer = twisted_address(int(self.socket.family), peer)
            if self.connected or self._peer is not None:
                self._peer = peer
        return peer

    def getHost(self) -> Any:
        """Return the local address as IPv4Address, IPv6Address or UNIXAddress."""
        host = self._raw_host()
        if host is None or type(host) in (tuple, str, bytes):
            raw = host
            host = twisted_address(int(self.socket.family), raw)
            if raw is not None:
                self._host = host
        return host

    def _raw_host(self) -> Any:
        """Return the local address in the raw form or as Twisted's object; None if the socket is
        closed.
        """
        if self._host is None:
            try:
                self._host = self.socket.getsockname()
            except OSError:
                return None
        return self._host

    def local(self) -> tuple[str, int]:
        """Return the local address and port; ("", 0) for a Unix socket."""
        raw = self._raw_host()
        if type(raw) is tuple:
            host: str = raw[0]
            port: int = raw[1]
            return (host[7:] if host.startswith("::ffff:") and "." in host else host), port
        return getattr(raw, "host", ""), getattr(raw, "port", 0)

    def getTcpNoDelay(self) -> bool:
        """Return whether small segments are sent at once; False for a Unix socket."""
        return self._option(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Set TCP_NODELAY. No effect on a Unix socket."""
        self._set_option(socket.IPPROTO_TCP, socket.TCP_NODELAY, enabled)

    def getTcpKeepAlive(self) -> bool:
        """Return whether the system probes an idle connection; False for a Unix socket."""
        return self._option(socket.SOL_SOCKET, socket.SO_KEEPALIVE)

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Set SO_KEEPALIVE. No effect on a Unix socket."""
        self._set_option(socket.SOL_SOCKET, socket.SO_KEEPALIVE, enabled)

    def _option(self, level: int, option: int) -> bool:
        return not self._is_unix() and bool(self.socket.getsockopt(level, option))

    def _set_option(self, level: int, option: int, enabled: bool) -> None:
        if not self._is_unix():
            self.socket.setsockopt(level, option, int(bool(enabled)))
