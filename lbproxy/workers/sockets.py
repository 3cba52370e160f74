"""CONTROL. Listening sockets of several processes: the master binds and keeps them, each worker accepts on its own.

A TCP address has one socket for each worker (``SO_REUSEPORT``): the kernel spreads connections evenly over them, where
with one socket shared by all the first to wake takes most.  The master keeps all of them open, so what waits in the
queue of a worker that was killed waits for its successor.  A Unix socket cannot be bound twice and is shared.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from twisted.internet.interfaces import IProtocol, IProtocolFactory

from lbproxy.config.model import Address
from lbproxy.errors import ListenError, ProxyError
from lbproxy.net.endpoints import Bound, Dial, Handshaking, Network, TLSInfo, TLSParameters
from lbproxy.net.fastport import bound_socket
from lbproxy.net.sockaddr import socket_address
from lbproxy.net.stock import refusal

__all__ = ["BindingNetwork", "GivenNetwork", "SharedBound"]


class _Inner(Network):
    """Dials and handshakes by another network."""

    def __init__(self, inner: Network) -> None:
        self.inner = inner
        self.wheel = inner.wheel

    def adopt(self, sock: socket.socket, address: Address, factory: IProtocolFactory) -> Bound:
        """See Network."""
        return self.inner.adopt(sock, address, factory)

    def dial(
        self,
        address: Address,
        protocol: IProtocol,
        failed: Callable[[ProxyError], None],
        *,
        timeout: float,
        tls: TLSParameters | None = None,
        preamble: bytes = b"",
    ) -> Dial:
        """See Network."""
        return self.inner.dial(
            address, protocol, failed, timeout=timeout, tls=tls, preamble=preamble
        )

    def start_tls(
        self,
        transport: Any,
        parameters: TLSParameters,
        protocol: Callable[[TLSInfo], IProtocol],
        failed: Callable[[ProxyError], None],
        *,
        timeout: float,
        received: bytes = b"",
    ) -> Handshaking:
        """See Network."""
        return self.inner.start_tls(
            transport, parameters, protocol, failed, timeout=timeout, received=received
        )


class SharedBound(Bound):
    """The sockets of one address; nothing is accepted here.  ``sockets``: by slot, one for all of a Unix socket."""

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
        """What the worker in ``slot`` accepts on."""
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


class BindingNetwork(_Inner):
    """The master's: binds for ``count`` workers, and lets nobody in.

    ``holds``: whether a worker may still listen on a TCP address, or on one that overlaps with it: it shares the port
    and is no stranger.
    """

    shares_ports = True

    def __init__(self, inner: Network, count: int, holds: Callable[[Address], bool]) -> None:
        super().__init__(inner)
        self._count = count
        self._holds = holds

    def listen(
        self,
        address: Address,
        factory: IProtocolFactory,
        *,
        backlog: int = 1024,
        mode: int = 0o660,
        reuse_port: bool = False,
    ) -> Bound:
        """See Network; another program on the port is noticed although ours share it."""
        shared = address.kind == "unix"
        given = None
        if self.inherited is not None:  # before we look for strangers on the port
            given = self.inherited.take(address, 1 if shared else self._count)
        if given is not None:
            bound = SharedBound(given, address, _real(address, given[0]))
            bound.own(False)
            bound.serve(factory, backlog=backlog, mode=mode)
            return bound
        sockets: list[socket.socket] = []
        real = address
        try:
            family, raw = socket_address(address)
            if not shared and address.port and not self._holds(address):
                bound_socket(address, family, raw, mode, False).close()
            for _ in range(1 if shared else self._count):
                sock = bound_socket(real, family, socket_address(real)[1], mode, not shared)
                sockets.append(sock)
                if not shared:
                    real = Address("tcp", host=address.host, port=sock.getsockname()[1])
            for sock in sockets:
                sock.listen(backlog)
        except OSError as error:
            for sock in sockets:
                sock.close()
            raise refusal(address, error) from error
        return SharedBound(sockets, address, real)


class GivenNetwork(_Inner):
    """A worker's: listens on what the master has given, by the address as it is configured."""

    def __init__(self, inner: Network) -> None:
        super().__init__(inner)
        self._given: dict[Address, socket.socket] = {}

    def give(self, address: Address, sock: socket.socket) -> None:
        """For the next :meth:`listen` on ``address``."""
        old = self._given.pop(address, None)
        if old is not None:
            old.close()
        self._given[address] = sock

    def discard(self) -> None:
        """Close what nobody has asked for."""
        for sock in self._given.values():
            sock.close()
        self._given.clear()

    def listen(
        self,
        address: Address,
        factory: IProtocolFactory,
        *,
        backlog: int = 1024,
        mode: int = 0o660,
        reuse_port: bool = False,
    ) -> Bound:
        """See Network."""
        sock = self._given.pop(address, None)
        if sock is None:
            raise ListenError(f"cannot listen on {address}: the master gave no socket")
        return self.inner.adopt(sock, _real(address, sock), factory)


def _real(address: Address, sock: socket.socket) -> Address:
    if address.kind == "unix":
        return address
    return Address("tcp", host=address.host, port=sock.getsockname()[1])
