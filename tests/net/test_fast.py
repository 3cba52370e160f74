"""The fast network under stress: fairness, descriptors, shortages; and how a network is chosen."""

from __future__ import annotations

import errno
import gc
import socket
from typing import Any

import pytest
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock

from lbproxy.config.model import Address
from lbproxy.net import acceptor, fastport
from lbproxy.net.builder import ProtocolBuilder
from lbproxy.net.fast import FastNetwork, choose_network
from lbproxy.net.stock import StockNetwork
from tests.net.wire import LOOPBACK, Once, Pair, Recorder
from tests.support.descriptors import descriptors, settled_descriptors
from tests.support.reactor import eventually, run, sleep

pytestmark = pytest.mark.live


class Serving(Factory):
    """A new recorder for everybody."""

    noisy = False

    def __init__(self, on_data: Any = None) -> None:
        self.on_data = on_data
        self.made: list[Recorder] = []

    def buildProtocol(self, addr: Any) -> Recorder:
        self.made.append(Recorder(self.on_data))
        return self.made[-1]


def test_a_flood_starves_neither_timers_nor_neighbours() -> None:
    async def scenario(reactor: Any) -> None:
        network = FastNetwork(reactor)
        factory = Serving(lambda self, data: self.transport.write(data))
        port = network.binder.listen(LOOPBACK, factory)
        flood, quiet = Recorder(), Recorder()
        received = 0

        def more(self: Recorder, data: bytes) -> None:
            nonlocal received
            received += len(data)
            self.data.clear()
            self.transport.write(data)

        flood.on_data = more
        for protocol in (flood, quiet):
            network.dialler.dial(port.address, protocol, pytest.fail, timeout=5)
        await eventually(reactor, lambda: flood.made and quiet.made)
        flood.transport.write(b"f" * 1_000_000)
        trips = 0
        end = reactor.seconds() + 0.3
        while reactor.seconds() < end:
            quiet.data.clear()
            quiet.transport.write(b"q")
            await eventually(reactor, lambda: quiet.data)
            await sleep(reactor)
            trips += 1
        assert received > 1_000_000, "the flood flows"
        assert trips >= 5
        for protocol in (flood, quiet):
            protocol.transport.abortConnection()
        await eventually(reactor, lambda: all(made.reason for made in factory.made))
        port.close()

    run(scenario)


def test_no_descriptor_is_left_behind() -> None:
    async def scenario(reactor: Any) -> None:
        network = FastNetwork(reactor)
        factory = Serving(lambda self, data: self.transport.write(data))
        port = network.binder.listen(LOOPBACK, factory)
        gc.collect()
        before = settled_descriptors()
        for batch in range(10):
            near = [Recorder() for _ in range(50)]
            for number, protocol in enumerate(near):
                dial = network.dialler.dial(port.address, protocol, pytest.fail, timeout=5)
                if number % 10 == 9:
                    dial.cancel()
            dialled = [protocol for number, protocol in enumerate(near) if number % 10 != 9]
            await eventually(reactor, lambda: all(protocol.made for protocol in dialled))  # noqa: B023
            for number, protocol in enumerate(dialled):
                protocol.transport.write(b"x" * 1000)
                if number % 3 == batch % 3:
                    protocol.transport.abortConnection()
                else:
                    protocol.transport.loseConnection()
            await eventually(reactor, lambda: all(protocol.reason for protocol in dialled))  # noqa: B023
            await eventually(reactor, lambda: all(made.reason for made in factory.made))
        assert descriptors() <= before
        assert len(network.poller) == 1
        port.close()
        assert descriptors() <= before - 1
        assert len(network.poller) == 0

    run(scenario)


def test_accepting_pauses_when_descriptors_are_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acceptor, "ACCEPT_PAUSE_S", 0.05)

    async def scenario(reactor: Any) -> None:
        network = FastNetwork(reactor)
        factory = Serving()
        asked: list[None] = []
        factory.make_room = lambda: asked.append(None)
        port = network.binder.listen(LOOPBACK, factory)
        assert isinstance(port, fastport.FastPort)
        real, tries = port._acceptor._accept, 0

        def short() -> Any:
            nonlocal tries
            tries += 1
            raise OSError(errno.EMFILE, "too many")

        port._acceptor._accept = short
        with socket.create_connection(("127.0.0.1", port.address.port)):
            await sleep(reactor, 0.2)
            assert 1 <= tries <= 5, "neither deaf nor spinning"
            assert len(asked) == tries
            port._acceptor._accept = real
            await eventually(reactor, lambda: factory.made)
        await eventually(reactor, lambda: factory.made[0].reason)
        port.close()

    run(scenario)


def test_a_protocol_hears_of_its_end_even_if_its_socket_cannot_be_watched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario(reactor: Any) -> None:
        network = FastNetwork(reactor)
        factory = Serving()
        port = network.binder.listen(LOOPBACK, factory)
        gc.collect()  # not in the middle: earlier scenarios have left the epolls of their networks
        before = settled_descriptors()

        class Full:
            def __init__(self, epoll: Any) -> None:
                self.poll, self.unregister, self.close = epoll.poll, epoll.unregister, epoll.close

            def register(self, *_: Any) -> None:
                raise OSError(errno.ENOSPC, "no more watches")

        monkeypatch.setattr(network.poller, "_epoll", Full(network.poller._epoll))
        with socket.create_connection(("127.0.0.1", port.address.port)) as client:
            await eventually(reactor, lambda: factory.made and factory.made[0].reason)
            client.settimeout(60)
            assert client.recv(1) == b""
        assert descriptors() <= before
        port.close()

    run(scenario)


def test_a_burst_of_connections_is_accepted_in_bounded_portions() -> None:
    async def scenario(reactor: Any) -> None:
        network = FastNetwork(reactor)
        factory = Serving()
        port = network.binder.listen(LOOPBACK, factory)
        clients = [socket.create_connection(("127.0.0.1", port.address.port)) for _ in range(150)]
        seen = []
        while len(factory.made) < 150:
            await sleep(reactor)
            seen.append(len(factory.made))
        portions = [b - a for a, b in zip([0, *seen], seen, strict=False)]
        assert max(portions) <= acceptor.ACCEPTS_PER_EVENT * 2
        for client in clients:
            client.close()
        await eventually(reactor, lambda: all(made.reason for made in factory.made))
        port.close()

    run(scenario)


class _Short(Factory):
    def build_for(self, ip: str, port: int) -> str:
        return "short"

    def buildProtocol(self, addr: Any) -> Any:
        return "long"


class _Wrapped(_Short):
    def buildProtocol(self, addr: Any) -> Any:
        return "wrapped"


class _Built(_Short):
    builder = ProtocolBuilder()


class _OfItsOwn(Factory):
    """A factory of another program, for which the word means something else."""

    builder = dict

    def buildProtocol(self, addr: Any) -> Any:
        return "long"


class _ShortAgain(_Built):
    def build_for(self, ip: str, port: int) -> str:
        return "short again"


class _BuiltWrapped(_Built):
    def buildProtocol(self, addr: Any) -> Any:
        return "wrapped"


class _Before:
    """Stands before a factory, and passes on what it does not have itself."""

    def __init__(self) -> None:
        self._factory = _Short()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._factory, name)

    def buildProtocol(self, addr: Any) -> Any:
        return "before"


def test_the_short_way_to_a_protocol_is_not_taken_past_another_buildprotocol() -> None:
    assert acceptor._shortcut(_Short())("", 0) == "short"
    assert acceptor._shortcut(_Wrapped()) is None
    assert acceptor._shortcut(_Before()) is None
    assert acceptor._shortcut(Factory()) is None
    assert acceptor._shortcut(_Built()) is _Built.builder
    assert acceptor._shortcut(_OfItsOwn()) is None
    assert acceptor._shortcut(_ShortAgain())("", 0) == "short again"
    assert acceptor._shortcut(_BuiltWrapped()) is None


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::1", "::"])
@pytest.mark.parametrize("plain", [True, False])
def test_a_connection_knows_both_its_ends(host: str, plain: bool) -> None:
    """Whether or not the factory spares the network Twisted's address, and the network the system's
    question.
    """
    given: list[tuple[str, int]] = []

    class Plain(Serving):
        def build_for(self, ip: str, port: int) -> Recorder:
            given.append((ip, port))
            return super().buildProtocol(None)

        def buildProtocol(self, addr: Any) -> Recorder:
            raise AssertionError("not asked")

    async def scenario(reactor: Any) -> None:
        network = FastNetwork(reactor)
        factory = Plain() if plain else Serving()
        port = network.binder.listen(Address("tcp", host=host, port=0), factory)
        target = "::1" if host == "::1" else "127.0.0.1"
        with socket.create_connection((target, port.address.port)) as client:
            await eventually(reactor, lambda: factory.made and factory.made[0].made)
            name = client.getsockname()[:2]
            transport = factory.made[0].transport
            assert transport.local() == (target, port.address.port)
            assert (transport.getHost().host, transport.getHost().port) == transport.local()
            assert (transport.getPeer().host, transport.getPeer().port) == name
            assert given == ([("::ffff:127.0.0.1" if host == "::" else name[0], name[1])] * plain)
        await eventually(reactor, lambda: factory.made[0].reason)
        assert transport.local() == (target, port.address.port)
        network.close()

    run(scenario)


def test_a_factory_that_raises_costs_one_connection() -> None:
    class Sometimes(Once):
        def buildProtocol(self, addr: Any) -> Any:
            if len(self.left) == 2:
                self.left.pop(0)
                raise LookupError
            return super().buildProtocol(addr)

    async def scenario(reactor: Any) -> None:
        network = FastNetwork(reactor)
        good = Recorder()
        port = network.binder.listen(LOOPBACK, Sometimes(None, good))
        target = ("127.0.0.1", port.address.port)
        with socket.create_connection(target) as first:
            first.settimeout(60)
            with socket.create_connection(target):
                await eventually(reactor, lambda: good.made)
            assert first.recv(1) == b""
        await eventually(reactor, lambda: good.reason)
        port.close()

    run(scenario)


def test_a_protocol_that_raises_when_connected() -> None:
    def explode(self: Recorder) -> None:
        raise LookupError

    async def scenario(reactor: Any) -> None:
        network = FastNetwork(reactor)
        near, far = Recorder(on_made=explode), Recorder(on_made=explode)
        failures: list[Any] = []
        port = network.binder.listen(LOOPBACK, Once(far))
        network.dialler.dial(port.address, near, failures.append, timeout=5)
        await eventually(reactor, lambda: near.reason and far.reason)
        assert near.lost in ("LookupError", "ConnectionDone") and not failures
        port.close()

    run(scenario)


def test_closing_the_network_ends_everything() -> None:
    async def scenario(reactor: Any) -> None:
        pair = await Pair(reactor, FastNetwork(reactor), Recorder(), Recorder()).open()
        pair.network.close()  # type: ignore[attr-defined]
        pair.network.close()  # type: ignore[attr-defined]
        assert pair.near.lost == pair.far.lost == "ConnectionLost"
        assert not pair.near.reason.check(ConnectionDone)

    run(scenario)


def test_choose_network() -> None:
    async def scenario(reactor: Any) -> None:
        for kind, expected in (
            ("auto", FastNetwork),
            ("epoll", FastNetwork),
            ("twisted", StockNetwork),
        ):
            assert type(choose_network(kind, reactor)) is expected  # type: ignore[arg-type]

    run(scenario)
    for kind in ("auto", "epoll", "twisted"):
        assert type(choose_network(kind, Clock())) is StockNetwork  # type: ignore[arg-type]
