"""DATA. An in-memory reactor with a virtual clock and network, for deterministic tests.

:class:`MemoryReactor` runs ordinary Twisted factories, endpoints and protocols without sockets. It
connects listeners and clients on the same reactor. Nothing moves until :meth:`MemoryReactor.pump`
or :meth:`MemoryReactor.advance` is called, and the order is always the same.
"""

# mypy: disable-error-code=no-untyped-call

from __future__ import annotations

from typing import Any

from twisted.internet import error, interfaces
from twisted.internet.address import UNIXAddress
from zope.interface import implementer

from lbproxy.testing.memoryaddress import Key, address_of, is_literal, names_of, text_of
from lbproxy.testing.memoryclock import Livelock, MemoryClock
from lbproxy.testing.memoryfaults import Faults
from lbproxy.testing.memoryport import MemoryConnector, MemoryDial, MemoryPort
from lbproxy.testing.memoryresolver import MemoryResolver
from lbproxy.testing.memorysocket import MemorySocket
from lbproxy.testing.transport import MemoryTransport, MemoryUNIXTransport

__all__ = ["Livelock", "MemoryPort", "MemoryReactor", "MemoryResolver"]

EPHEMERAL = 40000
"""The first port assigned to clients and to listeners on port 0."""


@implementer(
    interfaces.IReactorTime,
    interfaces.IReactorTCP,
    interfaces.IReactorUNIX,
    interfaces.IReactorPluggableNameResolver,
    interfaces.IReactorFromThreads,
)
class MemoryReactor(MemoryClock):
    """A reactor with a virtual clock and an in-memory network.

    - ``resolver.table``: the host names that it resolves.
    - ``latency``: one-way delay of all data, in seconds.
    - ``errors``: exceptions raised by protocols. As on a real reactor they end the connection, and
      :meth:`pump` raises the first of them unless ``raise_errors`` is False.
    - ``local_addresses``: addresses that, like all of 127.0.0.0/8, reach listeners that are not
      bound to a particular address.

    Addresses in arguments are ``"10.0.0.1:80"``, ``"10.0.0.1"`` (every port), or a Unix path.
    """

    def __init__(self) -> None:
        super().__init__()
        self.latency = 0.0
        self.local_addresses = {"127.0.0.1", "::1", "192.0.2.1", "2001:db8::1"}
        self.resolver = MemoryResolver(self)
        self.nameResolver: Any = self.resolver
        self.connections: list[MemoryTransport] = []
        self.ports: dict[Key, MemoryPort] = {}
        self._next_port = EPHEMERAL
        self._faults = Faults()

    # -- the state of the network

    def blackhole(self, address: str) -> None:
        """Drop all further connection attempts to this address."""
        self._faults.darken(address)

    def partition(self, address: str) -> None:
        """Do the same as :meth:`blackhole`, and drop data on existing connections."""
        self._faults.cut(address)

    def slow(self, address: str, seconds: float) -> None:
        """Delay all data to or from this address by ``seconds`` more, one way."""
        self._faults.slow(address, seconds)

    def heal(self, address: str = "") -> None:
        """Undo :meth:`blackhole`, :meth:`partition` and :meth:`slow` for one address, or all."""
        self._faults.heal(address)
        for transport in list(self.connections):
            if not self._is_cut(transport):
                transport.land_all()

    def carry(self, transport: MemorySocket) -> None:
        """Deliver the data sent to ``transport`` when it is due."""
        if self._is_cut(transport):
            return
        delay = self._delay(transport)
        if delay:
            self.callLater(delay, self._arrive, transport)
        else:
            transport.land()

    def _arrive(self, transport: MemorySocket) -> None:
        if not self._is_cut(transport):
            transport.land()

    def forget(self, transport: MemorySocket) -> None:
        """Remove a connection that has ended."""
        for index, one in enumerate(self.connections):
            if one is transport:
                del self.connections[index]
                return

    def _is_cut(self, transport: MemorySocket) -> bool:
        return bool(self._faults) and self._faults.drops_data(_names(transport))

    def _delay(self, transport: MemorySocket) -> float:
        if not self._faults:
            return self.latency
        return self.latency + self._faults.delay(_names(transport))

    # -- IReactorTCP and IReactorUNIX

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> Any:
        """See :class:`twisted.internet.interfaces.IReactorTCP`."""
        host = interface or "0.0.0.0"
        key = (host, port or self._port())
        memory_port = MemoryPort(self, key, factory, address_of(key))
        memory_port.startListening()
        return memory_port

    def connectTCP(
        self,
        host: str,
        port: int,
        factory: Any,
        timeout: float = 30.0,
        bindAddress: tuple[str, int] | None = None,
    ) -> Any:
        """See :class:`twisted.internet.interfaces.IReactorTCP`; the host must be an IP literal or
        in the table.
        """
        if not is_literal(host):
            host = self.resolver.table.get(host, ["192.0.2.255"])[0]
        connector = MemoryConnector(self, (host, port), factory, timeout, bindAddress)
        connector.connect()
        return connector

    def listenUNIX(
        self,
        address: str,
        factory: Any,
        backlog: int = 50,
        mode: int = 0o666,
        wantPID: bool = False,
    ) -> Any:
        """See :class:`twisted.internet.interfaces.IReactorUNIX`."""
        port = MemoryPort(self, (address, -1), factory, UNIXAddress(address))
        port.startListening()
        return port

    def connectUNIX(
        self, address: str, factory: Any, timeout: float = 30, checkPID: bool = False
    ) -> Any:
        """See :class:`twisted.internet.interfaces.IReactorUNIX`."""
        connector = MemoryConnector(self, (address, -1), factory, timeout, None)
        connector.connect()
        return connector

    def attempt(self, attempt: MemoryDial, connector: MemoryConnector) -> None:
        """See :class:`~lbproxy.testing.memoryport.MemoryNetwork`."""
        names = {connector.key[0], text_of(connector.key)}
        if self._faults.drops_attempt(names):
            return
        delay = 2 * (self.latency + self._faults.delay(names))
        if delay:
            self.callLater(delay, self._connect, attempt, connector)
        else:
            self.soon(self._connect, attempt, connector)

    def _connect(self, attempt: MemoryDial, connector: MemoryConnector) -> None:
        port = self._find(connector.key)
        if port is None:
            attempt.refuse()
            return
        if not attempt.decide():
            return
        near, far = self._addresses(connector)
        kind = MemoryUNIXTransport if connector.key[1] < 0 else MemoryTransport
        client = kind(self, near, far, connector)
        server = kind(self, far, near)
        client.join(server)
        connector.transport = client  # type: ignore[assignment]
        self.connections += [client, server]
        self.soon(self._accept, port, server)
        protocol = connector.buildProtocol(far)
        if protocol is None:
            client.connected = 1
            client.loseConnection()
        else:
            client.start(protocol)

    def _accept(self, port: MemoryPort, server: MemoryTransport) -> None:
        protocol = port.factory.buildProtocol(server.getPeer())
        if protocol is None:
            server.connected = 1
            server.loseConnection()
        else:
            server.start(protocol)

    def _addresses(self, connector: MemoryConnector) -> tuple[Any, Any]:
        """Return the client's own address, and the address that it has reached."""
        host, number = connector.key
        if number < 0:
            return UNIXAddress(""), UNIXAddress(host)
        source_host, source_port = connector.source or ("", 0)
        if not source_host:
            if ":" in host:
                source_host = "::1" if host == "::1" else "2001:db8::1"
            else:
                source_host = "127.0.0.1" if host.startswith("127.") else "192.0.2.1"
        return address_of((source_host, source_port or self._port())), address_of(connector.key)

    def _find(self, key: Key) -> MemoryPort | None:
        """Return the listener that a connection to ``key`` reaches."""
        host, number = key
        port = self.ports.get(key)
        if port is None and (host in self.local_addresses or host.startswith("127.")):
            wildcards = ("::",) if ":" in host else ("0.0.0.0", "::")
            for wildcard in wildcards:
                port = port or self.ports.get((wildcard, number))
        return port

    def bind(self, port: MemoryPort) -> None:
        """See :class:`~lbproxy.testing.memoryport.MemoryNetwork`."""
        if port.key in self.ports:
            raise error.CannotListenError(port.key[0], port.key[1], OSError(98, "Address in use"))
        self.ports[port.key] = port

    def unbind(self, port: MemoryPort) -> None:
        """See :class:`~lbproxy.testing.memoryport.MemoryNetwork`."""
        if self.ports.get(port.key) is port:
            del self.ports[port.key]

    def _port(self) -> int:
        self._next_port += 1
        return self._next_port

    # -- names

    def installNameResolver(self, resolver: Any) -> Any:
        """See :class:`twisted.internet.interfaces.IReactorPluggableNameResolver`."""
        old, self.nameResolver = self.nameResolver, resolver
        return old


def _names(transport: MemorySocket) -> set[str]:
    return names_of(transport.getHost(), transport.getPeer())
