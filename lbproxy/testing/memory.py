"""DATA. An in-memory reactor with a virtual clock and network, for deterministic tests.

:class:`MemoryReactor` runs ordinary Twisted factories, endpoints and protocols without sockets. It
connects listeners and clients on the same reactor. Nothing moves until :meth:`MemoryReactor.pump`
or :meth:`MemoryReactor.advance` is called, and the order is always the same.
"""

# mypy: disable-error-code=no-untyped-call

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from ipaddress import ip_address
from typing import Any

from twisted.internet import error, interfaces
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.base import BaseConnector
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from lbproxy.testing.transport import MemoryTransport, MemoryUNIXTransport

__all__ = ["Livelock", "MemoryPort", "MemoryReactor", "MemoryResolver"]

_log = Logger()

_Key = tuple[str, int]  # host and port; a Unix path and -1

EPHEMERAL = 40000
"""The first port given to clients and to listeners on port 0."""

TURNS = 200_000
"""More steps than this at one instant are taken for an endless loop."""


class Livelock(AssertionError):
    """The reactor has work without end at one instant."""


@implementer(interfaces.IHostResolution)
class _Resolution:
    def __init__(self, name: str) -> None:
        self.name = name
        self.cancelled = False

    def cancel(self) -> None:
        """Report nothing more."""
        self.cancelled = True


@implementer(interfaces.IHostnameResolver)
class MemoryResolver:
    """Looks names up in ``table``: name -> addresses; a name that is not there has none.

    ``queries`` holds the names asked for, in order.  IP literals resolve to themselves.
    """

    def __init__(self, reactor: MemoryReactor) -> None:
        self._reactor = reactor
        self.table: dict[str, list[str]] = {}
        self.queries: list[str] = []

    def resolveHostName(
        self,
        resolutionReceiver: Any,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type[Any]] | None = None,
        transportSemantics: str = "TCP",
    ) -> Any:
        """See :class:`twisted.internet.interfaces.IHostnameResolver`."""
        resolution = _Resolution(hostName)
        self.queries.append(hostName)
        literals = [hostName] if _is_literal(hostName) else self.table.get(hostName, [])
        found = [_endpoint(host, portNumber, transportSemantics) for host in literals]

        def answer() -> None:
            if resolution.cancelled:
                return
            for address in found:
                if addressTypes is None or isinstance(address, tuple(addressTypes)):
                    resolutionReceiver.addressResolved(address)
            resolutionReceiver.resolutionComplete()

        resolutionReceiver.resolutionBegan(resolution)
        self._reactor.soon(answer)
        return resolution


@implementer(interfaces.IListeningPort)
class MemoryPort:
    """Something that listens."""

    def __init__(self, reactor: MemoryReactor, key: _Key, factory: Any, address: Any) -> None:
        self._reactor = reactor
        self.key = key
        self.factory = factory
        self._address = address
        self.listening = False

    def startListening(self) -> None:
        """Bind; CannotListenError when somebody else has."""
        self._reactor._bind(self)
        self.listening = True
        self.factory.doStart()

    def stopListening(self) -> Deferred[None]:
        """Accept no more; connections live on."""
        if self.listening:
            self.listening = False
            self._reactor._unbind(self)
            self.factory.doStop()
        return succeed(None)

    loseConnection = stopListening

    def getHost(self) -> Any:
        """Where it listens."""
        return self._address

    def __repr__(self) -> str:
        return f"<MemoryPort {self._address} {self.factory!r}>"


class _Attempt:
    """A connection being made; stands in for the transport until there is one."""

    def __init__(self, connector: _Connector) -> None:
        self._connector = connector
        self._decided = False
        connector.memory._attempt(self, connector)

    def failIfNotConnected(self, reason: Exception) -> None:
        """Give up with ``reason``, unless it is decided already."""
        if not self._decided:
            self._decided = True
            self._connector.connectionFailed(Failure(reason))

    def decide(self) -> bool:
        """True the first time: the caller may now connect it."""
        first = not self._decided
        self._decided = True
        return first

    def refuse(self) -> None:
        """Nobody listens there."""
        self.failIfNotConnected(error.ConnectionRefusedError())


class _Connector(BaseConnector):
    """See :class:`twisted.internet.interfaces.IConnector`."""

    def __init__(
        self, reactor: MemoryReactor, key: _Key, factory: Any, timeout: Any, source: Any
    ) -> None:
        super().__init__(factory, timeout, reactor)  # type: ignore[arg-type]
        self.memory = reactor
        self.key = key
        self.source: tuple[str, int] | None = source

    def _makeTransport(self) -> Any:
        return _Attempt(self)

    def getDestination(self) -> Any:
        """Where it goes."""
        return _address(self.key)


class _InlinePool:
    """A thread pool that does its work at once, in the caller's thread."""

    def callInThread(self, work: Callable[..., Any], *args: Any, **kw: Any) -> None:
        """Run ``work``."""
        work(*args, **kw)

    def callInThreadWithCallback(
        self, done: Callable[[bool, Any], Any], work: Callable[..., Any], *args: Any, **kw: Any
    ) -> None:
        """Run ``work`` and give its result to ``done``."""
        try:
            result = work(*args, **kw)
        except Exception:
            done(False, Failure())
        else:
            done(True, result)


@implementer(
    interfaces.IReactorTime,
    interfaces.IReactorTCP,
    interfaces.IReactorUNIX,
    interfaces.IReactorPluggableNameResolver,
    interfaces.IReactorFromThreads,
)
class MemoryReactor(Clock):
    """A reactor with a virtual clock and an in-memory network.

    - ``resolver.table``: the host names that it resolves.
    - ``latency``: one-way delay of all data, in seconds.
    - ``errors``: exceptions raised by protocols. As on a real reactor they end the connection, and
      :meth:`pump` raises the first of them unless ``raise_errors`` is False.
    - ``local_addresses``: these (and all of 127.0.0.0/8) reach listeners that are not bound to a
      particular address.

    Addresses in arguments are ``"10.0.0.1:80"``, ``"10.0.0.1"`` (every port), or a Unix path.
    """

    def __init__(self) -> None:
        super().__init__()
        self.latency = 0.0
        self.raise_errors = True
        self.errors: list[Failure] = []
        self.local_addresses = {"127.0.0.1", "::1", "192.0.2.1", "2001:db8::1"}
        self.resolver = MemoryResolver(self)
        self.nameResolver: Any = self.resolver
        self.connections: list[MemoryTransport] = []
        self.ports: dict[_Key, MemoryPort] = {}
        self.running = True
        self._ready: deque[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]] = deque()
        self._next_port = EPHEMERAL
        self._cut: set[str] = set()
        self._dark: set[str] = set()
        self._slow: dict[str, float] = {}
        self._triggers: list[tuple[str, str, Callable[[], Any]]] = []

    # -- running

    def soon(self, work: Callable[..., Any], *args: Any, **kw: Any) -> None:
        """Run ``work`` in the next :meth:`pump`, after the work that is already waiting."""
        self._ready.append((work, args, kw))

    def pump(self, timings: Iterable[float] = ()) -> None:
        """Run until no work is left at this instant, then advance by each of ``timings``.

        Raises :class:`Livelock` if the work does not end, and the first exception raised by a
        protocol.
        """
        self._settle()
        for amount in timings:
            self.advance(amount)

    def advance(self, amount: float) -> None:
        """Advance the clock by ``amount`` seconds, and stop at every delayed call on the way."""
        target = self.rightNow + amount
        self._settle()
        while self.calls and self.calls[0].getTime() <= target:
            self.rightNow = max(self.rightNow, self.calls[0].getTime())
            self._settle()
        self.rightNow = target
        self._settle()

    def advance_until(self, done: Callable[[], Any], within: float) -> bool:
        """Advance from one delayed call to the next until ``done()``; return False after ``within``
        seconds.
        """
        limit = self.rightNow + within
        self._settle()
        while not done():
            self._sortCalls()
            if not self.calls or self.calls[0].getTime() > limit:
                self.advance(max(0.0, limit - self.rightNow))
                return bool(done())
            self.advance(max(0.0, self.calls[0].getTime() - self.rightNow))
        return True

    def failed(self, failure: Failure) -> None:
        """Record an exception raised by a protocol."""
        _log.failure("in a protocol on the memory reactor", failure)
        self.errors.append(failure)

    def _settle(self) -> None:
        for _ in range(TURNS):
            if self._ready:
                work, args, kw = self._ready.popleft()
                work(*args, **kw)
            elif not self._run_due():
                break
        else:
            raise Livelock(f"no end after {TURNS} steps at {self.rightNow} s")
        if self.errors and self.raise_errors:
            errors, self.errors = self.errors, []
            errors[0].raiseException()

    def _run_due(self) -> bool:
        self._sortCalls()
        if not self.calls or self.calls[0].getTime() > self.rightNow:
            return False
        call = self.calls.pop(0)
        call.called = 1
        call.func(*call.args, **call.kw)
        return True

    # -- the state of the network

    def blackhole(self, address: str) -> None:
        """Drop all further connection attempts to this address."""
        self._dark.add(address)

    def partition(self, address: str) -> None:
        """Do the same as :meth:`blackhole`, and drop data on existing connections."""
        self._cut.add(address)

    def slow(self, address: str, seconds: float) -> None:
        """Delay all data to or from this address by ``seconds`` more, one way."""
        self._slow[address] = seconds

    def heal(self, address: str = "") -> None:
        """Undo :meth:`blackhole`, :meth:`partition` and :meth:`slow` for one address, or all of them."""
        for words in (self._dark, self._cut):
            if address:
                words.discard(address)
            else:
                words.clear()
        if address:
            self._slow.pop(address, None)
        else:
            self._slow.clear()
        for transport in list(self.connections):
            if not self._is_cut(transport):
                transport.land_all()

    def carry(self, transport: MemoryTransport) -> None:
        """Deliver the data sent to ``transport`` when it is due."""
        if self._is_cut(transport):
            return
        delay = self._delay(transport)
        if delay:
            self.callLater(delay, self._arrive, transport)
        else:
            transport.land()

    def _arrive(self, transport: MemoryTransport) -> None:
        if not self._is_cut(transport):
            transport.land()

    def forget(self, transport: MemoryTransport) -> None:
        """Remove a connection that has ended."""
        if transport in self.connections:
            self.connections.remove(transport)

    def _is_cut(self, transport: MemoryTransport) -> bool:
        if not self._cut:
            return False
        return not self._cut.isdisjoint(_names(transport))

    def _delay(self, transport: MemoryTransport) -> float:
        if not self._slow:
            return self.latency
        return self.latency + sum(self._slow.get(name, 0.0) for name in _names(transport))

    # -- IReactorTCP and IReactorUNIX

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> Any:
        """See :class:`twisted.internet.interfaces.IReactorTCP`."""
        host = interface or "0.0.0.0"
        key = (host, port or self._port())
        memory_port = MemoryPort(self, key, factory, _address(key))
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
        """See :class:`twisted.internet.interfaces.IReactorTCP`; the host must be an IP literal or in the table."""
        if not _is_literal(host):
            host = self.resolver.table.get(host, ["192.0.2.255"])[0]
        connector = _Connector(self, (host, port), factory, timeout, bindAddress)
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
        connector = _Connector(self, (address, -1), factory, timeout, None)
        connector.connect()
        return connector

    def _attempt(self, attempt: _Attempt, connector: _Connector) -> None:
        names = {connector.key[0], _text(connector.key)}
        if names & self._dark or names & self._cut:
            return
        delay = 2 * (self.latency + sum(self._slow.get(name, 0.0) for name in names))
        if delay:
            self.callLater(delay, self._connect, attempt, connector)
        else:
            self.soon(self._connect, attempt, connector)

    def _connect(self, attempt: _Attempt, connector: _Connector) -> None:
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

    def _addresses(self, connector: _Connector) -> tuple[Any, Any]:
        """The client's own address, and the one it has reached."""
        host, number = connector.key
        if number < 0:
            return UNIXAddress(""), UNIXAddress(host)
        source_host, source_port = connector.source or ("", 0)
        if not source_host:
            if ":" in host:
                source_host = "::1" if host == "::1" else "2001:db8::1"
            else:
                source_host = "127.0.0.1" if host.startswith("127.") else "192.0.2.1"
        return _address((source_host, source_port or self._port())), _address(connector.key)

    def _find(self, key: _Key) -> MemoryPort | None:
        """The listener a connection to ``key`` reaches."""
        host, number = key
        port = self.ports.get(key)
        if port is None and (host in self.local_addresses or host.startswith("127.")):
            wildcards = ("::",) if ":" in host else ("0.0.0.0", "::")
            for wildcard in wildcards:
                port = port or self.ports.get((wildcard, number))
        return port

    def _bind(self, port: MemoryPort) -> None:
        if port.key in self.ports:
            raise error.CannotListenError(port.key[0], port.key[1], OSError(98, "Address in use"))
        self.ports[port.key] = port

    def _unbind(self, port: MemoryPort) -> None:
        if self.ports.get(port.key) is port:
            del self.ports[port.key]

    def _port(self) -> int:
        self._next_port += 1
        return self._next_port

    # -- the rest of a reactor

    def installNameResolver(self, resolver: Any) -> Any:
        """See :class:`twisted.internet.interfaces.IReactorPluggableNameResolver`."""
        old, self.nameResolver = self.nameResolver, resolver
        return old

    def callFromThread(self, callable: Callable[..., Any], *args: Any, **kw: Any) -> None:
        """Run it on the next pump."""
        self.soon(callable, *args, **kw)

    def callInThread(self, callable: Callable[..., Any], *args: Any, **kw: Any) -> None:
        """Run it now: there are no threads."""
        callable(*args, **kw)

    def getThreadPool(self) -> Any:
        """A pool that works in the caller's thread."""
        return _InlinePool()

    def callWhenRunning(self, callable: Callable[..., Any], *args: Any, **kw: Any) -> None:
        """Run it on the next pump: this reactor always runs."""
        self.soon(callable, *args, **kw)

    def addSystemEventTrigger(
        self, phase: str, eventType: str, callable: Callable[..., Any], *args: Any, **kw: Any
    ) -> Any:
        """Kept until :meth:`stop`, which runs those for ``shutdown``."""
        trigger = (phase, eventType, lambda: callable(*args, **kw))
        self._triggers.append(trigger)
        return trigger

    def removeSystemEventTrigger(self, triggerID: Any) -> None:
        """Forget a trigger."""
        self._triggers.remove(triggerID)

    def stop(self) -> None:
        """Run the shutdown triggers, phase by phase; delayed calls stay as they are."""
        if not self.running:
            return
        self.running = False
        for phase in ("before", "during", "after"):
            for trigger in [t for t in self._triggers if t[:2] == (phase, "shutdown")]:
                trigger[2]()
                self._settle()
        self._settle()


def _is_literal(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _endpoint(host: str, port: int, kind: str) -> Any:
    cls = IPv6Address if ":" in host else IPv4Address
    return cls(kind, host, port)  # type: ignore[arg-type]


def _address(key: _Key) -> Any:
    host, port = key
    return UNIXAddress(host) if port < 0 else _endpoint(host, port, "TCP")


def _text(key: _Key) -> str:
    """``key`` as users of :meth:`MemoryReactor.partition` and the like write it."""
    host, port = key
    if port < 0:
        return host
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _names(transport: MemoryTransport) -> set[str]:
    """Every way to name either end of a connection."""
    names: set[str] = set()
    for address in (transport.getHost(), transport.getPeer()):
        if isinstance(address, UNIXAddress):
            names.add(address.name.decode() if address.name else "")
        else:
            names |= {address.host, _text((address.host, address.port))}
    return names
