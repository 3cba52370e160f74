"""A scripted server on a reactor in memory, and a probe that checks it."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from twisted.internet.defer import ensureDeferred
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.tls import TLSMemoryBIOFactory

from lbproxy.balance.live import LiveServer
from lbproxy.config.model import Address, ServerSpec
from lbproxy.health.state import Result
from lbproxy.interfaces import Env
from lbproxy.net.stock import StockNetwork
from lbproxy.probes.base import ProbeTarget
from lbproxy.testing.memory import MemoryReactor
from lbproxy.tls.contexts import ServerContextFactory
from lbproxy.tls.parameters import TLSParameters

ADDRESS = Address("tcp", "10.0.0.1", 8000)

Script = Callable[["Scripted"], None]


class Scripted(Protocol):
    """Calls ``world.script(self)`` after connecting and after each piece of data."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.data = b""
        self.lost = False

    def connectionMade(self) -> None:
        self.world.clients.append(self)
        self.world.script(self)

    def dataReceived(self, data: bytes) -> None:
        self.data += data
        self.world.script(self)

    def connectionLost(self, reason: Any = None) -> None:
        self.lost = True

    def write(self, data: bytes) -> None:
        if not self.lost:
            self.transport.write(data)

    def close(self) -> None:
        self.transport.loseConnection()


class World:
    """One server at 10.0.0.1:8000 that does what ``script`` says."""

    def __init__(self, script: Script = lambda client: None) -> None:
        self.reactor = MemoryReactor()
        self.network = StockNetwork(self.reactor)
        self.script = script
        self.clients: list[Scripted] = []
        self.env = Env(now=self.reactor.seconds, random=Random(1), name="app", reactor=self.reactor)
        self.factory = Factory.forProtocol(lambda: Scripted(self))
        self.factory.noisy = False

    def listen(self, tls: ServerContextFactory | None = None) -> None:
        """``tls``: its certificates; every connection then begins with a handshake."""
        factory: Any = self.factory
        if tls is not None:
            factory = TLSMemoryBIOFactory(tls, False, factory, self.reactor)  # type: ignore[no-untyped-call]
        self.reactor.listenTCP(ADDRESS.port, factory, interface=ADDRESS.host)

    def target(
        self, *, tls: TLSParameters | None = None, preamble: bytes = b"", **spec: Any
    ) -> ProbeTarget:
        spec.setdefault("target", ADDRESS)
        server = LiveServer("app", ServerSpec("a", **spec))
        return ProbeTarget(server, self.network.dialler, ADDRESS, tls, 1.0, preamble)

    def begin(self, probe: Any, target: ProbeTarget | None = None) -> list[Any]:
        """Start a check; what it gives (a Result or a Failure) will be in the list."""
        found: list[Any] = []
        self.running = ensureDeferred(probe.check(target if target is not None else self.target()))
        self.running.addBoth(found.append)
        self.reactor.pump()
        return found

    def check(self, probe: Any, target: ProbeTarget | None = None) -> Result:
        """A check that ends without time passing."""
        found = self.begin(probe, target)
        assert len(found) == 1, "the check is not over"
        assert isinstance(found[0], Result), found[0]
        return found[0]

    def all_closed(self) -> bool:
        """Nothing is left open, neither here nor there."""
        return all(client.lost for client in self.clients)
