"""DATA. Listening ports and connectors of the in-memory reactor."""

# mypy: disable-error-code=no-untyped-call

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet import error, interfaces
from twisted.internet.base import BaseConnector
from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure
from zope.interface import implementer

from lbproxy.testing.memoryaddress import Key, address_of

__all__ = ["InlinePool", "MemoryConnector", "MemoryDial", "MemoryNetwork", "MemoryPort"]


class MemoryNetwork(Protocol):
    """The methods of the reactor that ports and connectors use."""

    def bind(self, port: MemoryPort) -> None:
        """Start listening. Raises CannotListenError if the address is in use."""

    def unbind(self, port: MemoryPort) -> None:
        """Stop listening."""

    def attempt(self, attempt: MemoryDial, connector: MemoryConnector) -> None:
        """Start connecting."""


@implementer(interfaces.IListeningPort)
class MemoryPort:
    """A listening port."""

    def __init__(self, reactor: MemoryNetwork, key: Key, factory: Any, address: Any) -> None:
        self._reactor = reactor
        self.key = key
        self.factory = factory
        self._address = address
        self.listening = False

    def startListening(self) -> None:
        """Bind the port. Raises CannotListenError if the address is in use."""
        self._reactor.bind(self)
        self.listening = True
        self.factory.doStart()

    def stopListening(self) -> Deferred[None]:
        """Stop accepting connections. Existing connections stay open."""
        if self.listening:
            self.listening = False
            self._reactor.unbind(self)
            self.factory.doStop()
        return succeed(None)

    loseConnection = stopListening

    def getHost(self) -> Any:
        """Return the address of the port."""
        return self._address

    def __repr__(self) -> str:
        return f"<MemoryPort {self._address} {self.factory!r}>"


class MemoryDial:
    """A connection attempt, in place of the transport until the connection is made."""

    def __init__(self, connector: MemoryConnector) -> None:
        self._connector = connector
        self._decided = False
        connector.memory.attempt(self, connector)

    def failIfNotConnected(self, reason: Exception) -> None:
        """Fail the attempt with ``reason``, unless it is already decided."""
        if not self._decided:
            self._decided = True
            self._connector.connectionFailed(Failure(reason))

    def decide(self) -> bool:
        """Return True on the first call: the caller may now complete the attempt."""
        first = not self._decided
        self._decided = True
        return first

    def refuse(self) -> None:
        """Refuse the connection: no port listens at the address."""
        self.failIfNotConnected(error.ConnectionRefusedError())


class MemoryConnector(BaseConnector):
    """See :class:`twisted.internet.interfaces.IConnector`."""

    def __init__(
        self, reactor: MemoryNetwork, key: Key, factory: Any, timeout: Any, source: Any
    ) -> None:
        super().__init__(factory, timeout, reactor)  # type: ignore[arg-type]
        self.memory = reactor
        self.key = key
        self.source: tuple[str, int] | None = source

    def _makeTransport(self) -> Any:
        return MemoryDial(self)

    def getDestination(self) -> Any:
        """Return the address of the server."""
        return address_of(self.key)


class InlinePool:
    """A thread pool that runs its work at once, in the caller's thread."""

    def callInThread(self, work: Callable[..., Any], *args: Any, **kw: Any) -> None:
        """Run ``work``."""
        work(*args, **kw)

    def callInThreadWithCallback(
        self, done: Callable[[bool, Any], Any], work: Callable[..., Any], *args: Any, **kw: Any
    ) -> None:
        """Run ``work`` and pass its result to ``done``."""
        try:
            result = work(*args, **kw)
        except Exception:
            done(False, Failure())
        else:
            done(True, result)
