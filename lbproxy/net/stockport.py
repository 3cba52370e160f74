"""DATA. Listening ports of the reactor, and Twisted's own endpoints."""

from __future__ import annotations

import os
import socket
from functools import partial
from pathlib import Path
from typing import Any

from twisted.internet import tcp
from twisted.internet.defer import Deferred, fail
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from lbproxy.errors import ListenError
from lbproxy.model import Address
from lbproxy.net.endpoints import Bound
from lbproxy.net.errorwords import error_words

__all__ = ["StockBound", "listen_endpoint", "set_options"]


NOT_PASSED = (
    "systemd has not passed this socket to the process; start the .socket unit, and name it in "
    "Sockets= of the service"
)
"""Errors that Twisted reports as an IndexError or KeyError."""


class StockBound(Bound):
    """A listening port of the reactor.

    ``switch``: replaces the factory, even if the port has wrapped it in others.
    """

    def __init__(
        self, port: IListeningPort, address: Address, switch: _Switch | None = None
    ) -> None:
        self._port = port
        self._address = address
        self._switch = switch

    @property
    def address(self) -> Address:
        """See :class:`Bound`."""
        return self._address

    def serve(
        self, factory: IProtocolFactory, *, backlog: int = 0, mode: int | None = None
    ) -> None:
        """See :meth:`lbproxy.net.endpoints.Bound.serve`."""
        factory.doStart()
        switch, port = self._switch, self._port
        if switch is not None:
            switch.inner.doStop()
            switch.inner = factory
        else:
            old, port.factory = port.factory, factory  # type: ignore[attr-defined]
            old.doStop()
        sock = getattr(port, "socket", None)
        if backlog and sock is not None:
            sock.listen(backlog)
        if mode is not None and self._address.kind == "unix" and sock is not None:
            Path(self._address.path).chmod(mode)

    def sockets(self) -> list[int]:
        """See :meth:`lbproxy.net.endpoints.Bound.sockets`."""
        sock = getattr(self._port, "socket", None)
        return [] if sock is None else [sock.fileno()]

    def own(self, owner: bool) -> None:
        """See :meth:`lbproxy.net.endpoints.Bound.own`."""
        port: Any = self._port
        if not isinstance(port, tcp.Port):
            return
        vars(port).pop("connectionLost", None)
        if not owner:
            # closed like an adopted TCP port: the file is not removed and the socket is not shut
            # down
            port._shouldShutdown = False
            port.connectionLost = partial(tcp.Port.connectionLost, port)  # type: ignore[method-assign]

    def close(self) -> Any:
        """See :class:`Bound`; a second call does nothing."""
        port, self._port = self._port, None  # type: ignore[assignment]
        if port is None:
            return None
        closing = port.stopListening()
        sock = getattr(port, "socket", None)
        if sock is not None and self._address.kind == "tcp":
            # Twisted closes it in its next turn, but the next listener may need the address before
            # that
            sock.close()
        return closing


class _Switch(Factory):
    """Passes every call to another factory. Endpoints may wrap it in their own factories (TLS)."""

    noisy = False

    def __init__(self, inner: IProtocolFactory) -> None:
        self.inner = inner

    def doStart(self) -> None:
        """See IProtocolFactory."""
        self.inner.doStart()

    def doStop(self) -> None:
        """See IProtocolFactory."""
        self.inner.doStop()

    def buildProtocol(self, addr: Any) -> Any:
        """See IProtocolFactory."""
        return self.inner.buildProtocol(addr)


def listen_endpoint(reactor: Any, endpoint: str, factory: IProtocolFactory) -> Deferred[Bound]:
    """Listen on any Twisted endpoint string (``systemd:domain=INET:index=0``, or one of a plugin).

    Fires with a :class:`Bound`, or fails with :class:`ListenError`.
    """
    switch = _Switch(factory)

    def bound(port: IListeningPort) -> Bound:
        set_options(port)
        return StockBound(port, _address_of(port.getHost()), switch)

    def refused(failure: Failure) -> Bound:
        value = failure.value
        reason = getattr(value, "socketError", None) or value
        words = error_words(reason)
        if endpoint.startswith("systemd:") and isinstance(value, IndexError | KeyError):
            words = NOT_PASSED
        raise ListenError(f"cannot listen on {endpoint}: {words}") from value

    try:
        parsed: Any = serverFromString(reactor, endpoint)
        listening: Deferred[Any] = parsed.listen(switch)
    except Exception as problem:  # an unknown word, or a plugin that fails
        listening = fail(problem)
    return listening.addCallbacks(bound, refused)


def set_options(port: Any) -> None:
    """Set no delay and keep-alive for every accepted connection, which inherits them from the
    listening socket.
    """
    sock = getattr(port, "socket", None)
    if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


def _address_of(host: Any) -> Address:
    """Convert Twisted's address to an :class:`Address`."""
    if hasattr(host, "port"):
        return Address("tcp", host.host, host.port)
    name = getattr(host, "name", None) or b""
    return Address("unix", path=os.fsdecode(name))
