"""DATA. Listening sockets in the poller: bind, and accept without starving anybody.

Made by :class:`lbproxy.net.fast.FastNetwork`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from pathlib import Path
from typing import Any, Final

from twisted.internet.interfaces import IProtocolFactory
from twisted.logger import Logger
from twisted.python.failure import Failure

from lbproxy.model import Address
from lbproxy.net.endpoints import Bound
from lbproxy.net.errorwords import error_words
from lbproxy.net.poller import IN, Poller
from lbproxy.net.transport import FastTransport
from lbproxy.net.unixpath import remove_stale_socket
from lbproxy.net.watchedsocket import twisted_address

__all__ = ["ACCEPTS_PER_EVENT", "FastPort", "bound_socket"]

ACCEPTS_PER_EVENT: Final = 64
ACCEPT_PAUSE_S = 0.25  # when descriptors or memory are short
_SHORTAGE: Final = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))

_log = Logger(__name__)


def bound_socket(
    address: Address, family: int, raw: Any, mode: int, reuse_port: bool
) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        if family == socket.AF_UNIX:
            _bind_unix(sock, address.path, mode)
            return sock
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        # accepted sockets inherit these two
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
    """Bind, replacing a socket file that nobody listens on; nobody can connect before listen()."""
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
        self._poller = poller
        self._socket: Any = sock
        self._fd = sock.fileno()
        self._family = int(sock.family)
        self._type = int(sock.type)
        self._factory = factory
        self._build = _shortcut(factory)
        self._host = _fixed_host(sock) if owner else None
        self._address = address
        self._open = True
        self._budget = 1  # accepts per event; grows while a queue is found, to save the EAGAIN
        self._timer = poller.wheel.timer(self._resume)
        self._inode = _inode(address.path) if address.kind == "unix" and owner else None
        factory.doStart()
        try:
            poller.register(self._fd, IN, self)
        except BaseException:
            factory.doStop()
            raise

    @property
    def address(self) -> Address:
        """Where it really listens."""
        return self._address

    def fileno(self) -> int:
        """The listening descriptor."""
        return int(self._socket.fileno())

    def sockets(self) -> list[int]:
        """See :meth:`lbproxy.net.endpoints.Bound.sockets`."""
        return [self._socket.fileno()]

    def own(self, owner: bool) -> None:
        """See :meth:`lbproxy.net.endpoints.Bound.own`."""
        unix = owner and self._address.kind == "unix"
        self._inode = _inode(self._address.path) if unix else None

    def on_events(self, events: int) -> None:
        """The poller's call: accept, at most ACCEPTS_PER_EVENT."""
        budget = self._budget
        # accept() spends more time on enums and a second object than the kernel does on the connection
        accept = self._socket._accept
        for _ in range(budget):
            try:
                fd, peer = accept()
            except BlockingIOError:
                self._budget = max(1, budget // 2)
                return
            except OSError as error:
                if not self._failed(error):
                    return
                continue
            self._accepted(fd, peer)
            if not self._open:
                return
        self._budget = min(ACCEPTS_PER_EVENT, budget * 2)

    def _failed(self, error: OSError) -> bool:
        """Whether to go on accepting: a connection that died in the queue is not our problem."""
        if error.errno not in _SHORTAGE:
            if self._poller.may_log(f"accept {error.errno}"):
                _log.warn(
                    "accepting on {address} failed: {why}", address=self, why=error_words(error)
                )
            return True
        if self._poller.may_log("accept paused"):
            _log.error(
                "not accepting on {address} for a moment: {why}",
                address=str(self._address),
                why=error_words(error),
            )
        self._poller.silence(self._fd)
        self._timer.set(ACCEPT_PAUSE_S)
        return False

    def _resume(self) -> None:
        if self._open:
            try:
                self._poller.register(self._fd, IN, self)
            except OSError:
                self._timer.set(ACCEPT_PAUSE_S)

    def _accepted(self, fd: int, peer: Any) -> None:
        transport = None
        sock: Any = None
        try:
            sock = socket.SocketType(self._family, self._type, 0, fd)
            sock.setblocking(False)
            protocol = self._protocol(peer)
            if protocol is None:
                sock.close()
                return
            transport = FastTransport(self._poller, sock, peer, self._host)
            transport.protocol = protocol  # before anything can fail: it must hear of its end
            transport.start()
            protocol.makeConnection(transport)
        except BaseException:
            if sock is None:
                os.close(fd)
            self._poller.crashed(_Rejected(sock) if transport is None else transport)

    def _protocol(self, peer: Any) -> Any:
        """What the factory makes for a client at the raw address ``peer``.

        A factory may have ``build_for(ip, port)`` beside ``buildProtocol``, which spares it Twisted's address."""
        build = self._build
        if build is None:
            return self._factory.buildProtocol(twisted_address(self._family, peer))
        if self._family == socket.AF_UNIX:
            return build("", 0)
        return build(peer[0], peer[1])

    def on_soon(self) -> None:
        """Never asked for."""

    def on_crash(self, reason: Failure) -> None:
        """The reactor stops."""
        self.close()

    def serve(
        self, factory: IProtocolFactory, *, backlog: int = 0, mode: int | None = None
    ) -> None:
        """See :meth:`lbproxy.net.endpoints.Bound.serve`."""
        factory.doStart()
        old, self._factory = self._factory, factory
        self._build = _shortcut(factory)
        old.doStop()
        if backlog:
            self._socket.listen(backlog)
        if mode is not None and _inode(self._address.path) == self._inode is not None:
            Path(self._address.path).chmod(mode)

    def close(self) -> None:
        """Stop accepting; what is queued in the kernel is reset."""
        if not self._open:
            return
        self._open = False
        self._timer.clear()
        self._poller.unregister(self._fd)
        self._socket.close()
        if self._inode is not None and _inode(self._address.path) == self._inode:
            with contextlib.suppress(OSError):
                Path(self._address.path).unlink()
        self._factory.doStop()

    def __str__(self) -> str:
        return str(self._address)


def _shortcut(factory: IProtocolFactory) -> Any:
    """``build_for``, where the class that has it did not get another ``buildProtocol`` later; else None.

    Asked of the class: an object that stands before a factory may pass on what it does not have itself."""
    for kind in type(factory).__mro__:
        if "build_for" in vars(kind):
            return getattr(factory, "build_for")  # noqa: B009 - IProtocolFactory does not have it
        if "buildProtocol" in vars(kind):
            return None
    return None


def _fixed_host(sock: socket.socket) -> Any:
    """The raw address that every connection of a listening socket has on this side; None if that may differ.

    Not for a socket of others' making, which may take connections to other addresses (IP_TRANSPARENT)."""
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


class _Rejected:
    """An accepted socket that never got a protocol."""

    def __init__(self, sock: Any) -> None:
        self._socket = sock

    def on_events(self, events: int) -> None:
        """Never registered."""

    def on_soon(self) -> None:
        """Never asked for."""

    def on_crash(self, reason: Failure) -> None:
        """Close it."""
        if self._socket is not None:
            self._socket.close()
