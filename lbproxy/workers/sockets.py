"""CONTROL. Listening sockets of several processes: the master binds and keeps them, and each worker
accepts on its own.

A TCP address has one socket for each worker (``SO_REUSEPORT``). The kernel then spreads connections
evenly; with one shared socket the first worker to wake takes most. The master keeps all sockets
open, so that connections in the queue of a killed worker wait for its successor. A Unix socket
cannot be bound twice and is shared.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from twisted.internet.interfaces import IProtocolFactory

from lbproxy.errors import ListenError
from lbproxy.model import Address
from lbproxy.net.endpoints import Binder, Bound, ListenRequest
from lbproxy.net.errorwords import refusal
from lbproxy.net.fastport import bound_socket
from lbproxy.net.sockaddr import bound_address, socket_address

__all__ = ["MasterBinder", "SharedBound", "WorkerBinder"]


class SharedBound(Bound):
    """The sockets of one address. No connection is accepted on them here.

    ``sockets``: by slot; a Unix socket has one for all slots.
    """

    def __init__(self, sockets: list[socket.socket], wanted: Address, address: Address) -> None:
        self._sockets = sockets
        self._owner = True
        self.wanted = wanted
        self._address = address

    @property
    def address(self) -> Address:
        """See Bound."""
        return self._address

    def for_slot(self, slot: int) -> socket.socket:
        """Return the socket on which the worker in ``slot`` accepts."""
        return self._sockets[slot % len(self._sockets)]

    def serve(
        self, factory: IProtocolFactory, *, backlog: int = 0, mode: int | None = None
    ) -> None:
        """See Bound."""
        for sock in self._sockets:
            if backlog:
                sock.listen(backlog)
        if mode is not None and self._address.kind == "unix":
            Path(self._address.path).chmod(mode)

    def sockets(self) -> list[int]:
        """See Bound."""
        return [sock.fileno() for sock in self._sockets]

    def own(self, owner: bool) -> None:
        """See Bound."""
        self._owner = owner

    def close(self) -> None:
        """See Bound."""
        for sock in self._sockets:
            sock.close()
        self._sockets = []
        if self._owner and self._address.kind == "unix":
            with suppress(OSError):
                Path(self._address.path).unlink()


class MasterBinder(Binder):
    """Binds for ``count`` workers, and does not accept itself.

    ``holds``: returns whether a worker may still listen on a TCP address, or on an overlapping one.
    Such a worker shares the port and is not another program.
    """

    shares_ports = True

    def __init__(self, inner: Binder, count: int, holds: Callable[[Address], bool]) -> None:
        self._inner = inner
        self.sockets_per_address = count
        self._holds = holds

    def _take_over(self, sockets: list[socket.socket], request: ListenRequest) -> Bound:
        """See Binder."""
        address = request.address
        bound = SharedBound(sockets, address, bound_address(address, sockets[0]))
        bound.own(False)
        bound.serve(request.factory, backlog=request.backlog, mode=request.mode)
        return bound

    def _bind(self, request: ListenRequest) -> Bound:
        """See Binder. Fails if another program uses the port, although the workers share it."""
        address = request.address
        shared = address.kind == "unix"
        sockets: list[socket.socket] = []
        real = address
        try:
            family, raw = socket_address(address)
            if not shared and address.port and not self._holds(address):
                bound_socket(address, family, raw, request.mode, False).close()
            for _ in range(1 if shared else self.sockets_per_address):
                raw = socket_address(real)[1]
                sock = bound_socket(real, family, raw, request.mode, not shared)
                sockets.append(sock)
                real = bound_address(address, sock)
            for sock in sockets:
                sock.listen(request.backlog)
        except OSError as error:
            for sock in sockets:
                sock.close()
            raise refusal(address, error) from error
        return SharedBound(sockets, address, real)

    def adopt(self, sock: socket.socket, address: Address, factory: IProtocolFactory) -> Bound:
        """See Binder."""
        return self._inner.adopt(sock, address, factory)


class WorkerBinder(Binder):
    """Listens on sockets from the master, found by the configured address."""

    def __init__(self, inner: Binder) -> None:
        self._inner = inner
        self._given: dict[Address, socket.socket] = {}

    def give(self, address: Address, sock: socket.socket) -> None:
        """Keep ``sock`` for the next :meth:`listen` on ``address``."""
        old = self._given.pop(address, None)
        if old is not None:
            old.close()
        self._given[address] = sock

    def discard(self) -> None:
        """Close the unused sockets."""
        for sock in self._given.values():
            sock.close()
        self._given.clear()

    def _bind(self, request: ListenRequest) -> Bound:
        """See Binder."""
        address = request.address
        sock = self._given.pop(address, None)
        if sock is None:
            raise ListenError(f"cannot listen on {address}: the master sent no socket")
        return self._inner.adopt(sock, bound_address(address, sock), request.factory)

    def _take_over(self, sockets: list[socket.socket], request: ListenRequest) -> Bound:
        """See Binder. Only the master inherits sockets."""
        raise NotImplementedError

    def adopt(self, sock: socket.socket, address: Address, factory: IProtocolFactory) -> Bound:
        """See Binder."""
        return self._inner.adopt(sock, address, factory)
