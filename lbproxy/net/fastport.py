"""DATA. Listening sockets in the poller: bind, replace the factory, close.

:class:`lbproxy.net.fast.FastBinder` creates them. :mod:`lbproxy.net.acceptor` accepts the
connections.
"""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path
from typing import Any

from twisted.internet.interfaces import IProtocolFactory

from lbproxy.model import Address
from lbproxy.net.acceptor import Acceptor
from lbproxy.net.endpoints import Bound
from lbproxy.net.poller import Poller
from lbproxy.net.unixpath import remove_stale_socket

__all__ = ["FastPort", "bound_socket"]


def bound_socket(
    address: Address, family: int, raw: Any, mode: int, reuse_port: bool
) -> socket.socket:
    """Return a socket bound to ``address``, whose raw form is ``raw``. Raises OSError."""
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        if family == socket.AF_UNIX:
            _bind_unix(sock, address.path, mode)
            return sock
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        # accepted sockets inherit these two options
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(
                socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if address.host == "::" else 1
            )
        sock.bind(raw)
    except BaseException:
        sock.close()
        raise
    return sock


def _bind_unix(sock: socket.socket, path: str, mode: int) -> None:
    """Bind, and replace a socket file without a listener. No client can connect before listen()."""
    remove_stale_socket(path)
    sock.bind(path)
    if not path.startswith("\0"):
        Path(path).chmod(mode)


class FastPort(Bound):
    """A listening socket in the poller."""

    def __init__(
        self,
        poller: Poller,
        sock: socket.socket,
        factory: IProtocolFactory,
        address: Address,
        *,
        owner: bool = True,
    ) -> None:
        self._factory = factory
        self._address = address
        self._inode = _inode(address.path) if address.kind == "unix" and owner else None
        factory.doStart()
        try:
            host = _fixed_host(sock) if owner else None
            self._acceptor = Acceptor(poller, sock, factory, host, str(address), self._closed)
        except BaseException:
            factory.doStop()
            raise

    @property
    def address(self) -> Address:
        """The actual address of the socket."""
        return self._address

    def fileno(self) -> int:
        """The listening descriptor."""
        return int(self._acceptor.sock.fileno())

    def sockets(self) -> list[int]:
        """See :meth:`lbproxy.net.endpoints.Bound.sockets`."""
        return [self.fileno()]

    def own(self, owner: bool) -> None:
        """See :meth:`lbproxy.net.endpoints.Bound.own`."""
        unix = owner and self._address.kind == "unix"
        self._inode = _inode(self._address.path) if unix else None

    def serve(
        self, factory: IProtocolFactory, *, backlog: int = 0, mode: int | None = None
    ) -> None:
        """See :meth:`lbproxy.net.endpoints.Bound.serve`."""
        factory.doStart()
        old, self._factory = self._factory, factory
        self._acceptor.serve(factory)
        old.doStop()
        if backlog:
            self._acceptor.sock.listen(backlog)
        if mode is not None and _inode(self._address.path) == self._inode is not None:
            Path(self._address.path).chmod(mode)

    def close(self) -> None:
        """Stop accepting. The kernel resets queued connections."""
        self._acceptor.close()

    def _closed(self) -> None:
        """Note that the socket is closed, by lbproxy or because the reactor stops."""
        if self._inode is not None and _inode(self._address.path) == self._inode:
            with contextlib.suppress(OSError):
                Path(self._address.path).unlink()
        self._factory.doStop()

    def __str__(self) -> str:
        return str(self._address)


def _fixed_host(sock: socket.socket) -> Any:
    """Return the raw local address of every connection of a listening socket, or None if it may
    differ.

    It is None for a socket created by another program, which may accept connections to other
    addresses (IP_TRANSPARENT).
    """
    if sock.family == socket.AF_UNIX:
        return None
    name = sock.getsockname()
    return None if name[0] in ("0.0.0.0", "::") else name


def _inode(path: str) -> tuple[int, int] | None:
    try:
        found = Path(path).stat()
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino
