"""Protocols that remember, for tests of transports over real sockets."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol
from zope.interface import implementer

from lbproxy.config.model import Address
from lbproxy.net.endpoints import Network
from lbproxy.net.fast import FastNetwork
from lbproxy.net.stock import StockNetwork
from tests.support.reactor import eventually

LOOPBACK = Address("tcp", "127.0.0.1", 0)
NETWORKS = {"stock": StockNetwork, "fast": FastNetwork}


class Recorder(Protocol):
    """Keeps everything it is told; ``on_data`` and ``on_made`` are called too."""

    def __init__(self, on_data: Any = None, on_made: Any = None) -> None:
        self.data = bytearray()
        self.calls: list[str] = []
        self.reason: Any = None
        self.made = 0
        self.on_data = on_data
        self.on_made = on_made

    def connectionMade(self) -> None:
        self.made += 1
        if self.on_made is not None:
            self.on_made(self)

    def dataReceived(self, data: bytes) -> None:
        assert self.reason is None, "data after the end"
        self.data += data
        if self.on_data is not None:
            self.on_data(self, data)

    def connectionLost(self, reason: Any = None) -> None:
        assert self.reason is None, "lost twice"
        self.reason = reason

    @property
    def lost(self) -> str:
        """Name of the reason's class, "" while connected."""
        return self.reason.type.__name__ if self.reason is not None else ""


@implementer(IHalfCloseableProtocol)
class HalfRecorder(Recorder):
    """A recorder that outlives one direction."""

    def readConnectionLost(self) -> None:
        self.calls.append("read lost")

    def writeConnectionLost(self) -> None:
        self.calls.append("write lost")


class HangUpRecorder(HalfRecorder):
    """A recorder that is told of hang-ups while it is paused; ``leaves``: its answer."""

    def __init__(self, leaves: bool) -> None:
        super().__init__()
        self.leaves = leaves

    def peer_hung_up(self, reset: bool) -> bool:
        self.calls.append("reset" if reset else "fin")
        return self.leaves


class Once(Factory):
    """Hands out the given protocols, then None."""

    noisy = False

    def __init__(self, *protocols: Any) -> None:
        self.left = list(protocols)
        self.started = 0

    def doStart(self) -> None:
        self.started += 1

    def doStop(self) -> None:
        self.started -= 1

    def buildProtocol(self, addr: Any) -> Any:
        return self.left.pop(0) if self.left else None


class Pair:
    """A dialled connection: ``near`` dialled, ``far`` accepted."""

    def __init__(self, reactor: Any, network: Network, near: Recorder, far: Recorder) -> None:
        self.reactor = reactor
        self.network = network
        self.near = near
        self.far = far
        self.failures: list[Any] = []
        self.port: Any = None

    async def open(self, **options: Any) -> Pair:
        self.port = self.network.binder.listen(LOOPBACK, Once(self.far))
        self.network.dialler.dial(
            self.port.address, self.near, self.failures.append, timeout=5, **options
        )
        await eventually(self.reactor, lambda: (self.near.made and self.far.made) or self.failures)
        assert not self.failures
        return self

    async def closed(self) -> None:
        """Wait until both ends are, then give the port back."""
        await eventually(self.reactor, lambda: self.near.reason and self.far.reason)
        await closing(self.port)


async def closing(port: Any) -> None:
    """Close a Bound, whether that takes time or not."""
    result = port.close()
    if result is not None:
        await result
