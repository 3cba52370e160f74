"""The stock network: in memory with virtual time, and on real sockets with a real reactor."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import maybeDeferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol, ISSLTransport
from twisted.internet.protocol import Factory, Protocol
from zope.interface import implementer

from lbproxy.config.model import Address
from lbproxy.errors import Kind, ListenError, ProxyError
from lbproxy.net.fast import FastNetwork
from lbproxy.net.handover import hand_over
from lbproxy.net.stock import StockNetwork
from lbproxy.net.stockport import listen_endpoint
from lbproxy.net.unixpath import remove_stale_socket
from lbproxy.testing.memory import MemoryReactor
from lbproxy.tls.contexts import ClientContextFactory, ServerContextFactory
from lbproxy.tls.parameters import TLSInfo, TLSParameters
from tests.support.reactor import eventually, run
from tests.support.tls import ca_file, pair

ADDRESS = Address("tcp", "192.0.2.1", 80)
LOOPBACK = Address("tcp", "127.0.0.1", 0)


class Recorder(Protocol):
    """Keeps what happens to it."""

    def __init__(self) -> None:
        self.made = 0
        self.data = b""
        self.lost: list[Any] = []
        self.made_at: list[Callable[[], None]] = []

    def connectionMade(self) -> None:
        self.made += 1
        for call in self.made_at:
            call()

    def dataReceived(self, data: bytes) -> None:
        self.data += data

    def connectionLost(self, reason: Any = None) -> None:
        self.lost.append(reason)


@implementer(IHalfCloseableProtocol)
class HalfCloser(Recorder):
    ended = False

    def readConnectionLost(self) -> None:
        self.ended = True

    def writeConnectionLost(self) -> None: ...


class Keeper(Factory):
    """Makes recorders and keeps them."""

    noisy = False

    def __init__(self, kind: Callable[[], Recorder] = Recorder) -> None:
        self.kind = kind
        self.made: list[Recorder] = []

    def buildProtocol(self, addr: Any) -> Recorder:
        self.made.append(self.kind())
        return self.made[-1]


class World:
    """A memory reactor with a network, a listener that records, and one dial's outcome."""

    def __init__(self) -> None:
        self.reactor = MemoryReactor()
        self.network = StockNetwork(self.reactor)
        self.accepted = Keeper()
        self.client = Recorder()
        self.errors: list[ProxyError] = []

    def listen(self) -> None:
        self.network.binder.listen(ADDRESS, self.accepted)

    def dial(self, address: Address = ADDRESS, timeout: float = 5, **options: Any) -> Any:
        dial = self.network.dialler.dial(
            address, self.client, self.errors.append, timeout=timeout, **options
        )
        assert not self.client.made and not self.errors  # never before it returns
        return dial

    def kinds(self) -> list[Kind]:
        return [error.kind for error in self.errors]


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def tls(tmp_path: Path) -> tuple[TLSParameters, TLSParameters]:
    """Parameters of both sides that fit together."""
    server = ServerContextFactory([pair(tmp_path, "a.example", "127.0.0.1")], alpn=["http/1.1"])
    client = ClientContextFactory("a.example", ca=ca_file(tmp_path), alpn=["http/1.1"])
    return TLSParameters(server, True), TLSParameters(client, False)


class TLSKeeper(Keeper):
    """Starts TLS on what it accepts; the recorder follows the handshake."""

    def __init__(
        self, network: StockNetwork, parameters: TLSParameters, timeout: float = 5
    ) -> None:
        super().__init__()
        self.network, self.parameters, self.timeout = network, parameters, timeout
        self.infos: list[TLSInfo] = []
        self.errors: list[ProxyError] = []

    def buildProtocol(self, addr: Any) -> Any:
        first = Recorder()

        def established(info: TLSInfo) -> Recorder:
            self.infos.append(info)
            self.made.append(Recorder())
            return self.made[-1]

        first.made_at.append(
            lambda: self.network.dialler.start_tls(
                first.transport,
                self.parameters,
                established,
                self.errors.append,
                timeout=self.timeout,
            )
        )
        return first


# -- dialling in memory ----------------------------------------------------------------------


def test_dial_connects_and_writes_the_preamble(world: World) -> None:
    world.listen()
    world.client.made_at.append(lambda: world.client.transport.write(b"hello"))  # type: ignore[union-attr]
    world.dial(preamble=b"PROXY UNKNOWN\r\n")
    world.reactor.pump()
    assert world.client.made == 1 and not world.errors
    assert world.accepted.made[0].data == b"PROXY UNKNOWN\r\nhello"
    assert world.client.transport.getTcpNoDelay() and world.client.transport.getTcpKeepAlive()  # type: ignore[union-attr]
    world.accepted.made[0].transport.write(b"answer")  # type: ignore[union-attr]
    world.reactor.advance(60)
    assert world.client.data == b"answer" and not world.client.lost


def test_dial_refused(world: World) -> None:
    world.dial()
    world.reactor.pump()
    assert world.kinds() == [Kind.CONNECT_FAILED]
    assert "192.0.2.1:80" in world.errors[0].detail and "refused" in world.errors[0].detail


def test_dial_times_out(world: World) -> None:
    world.listen()
    world.reactor.blackhole("192.0.2.1:80")
    world.dial(timeout=2)
    world.reactor.advance(1.99)
    assert not world.errors
    world.reactor.advance(0.1)
    assert world.kinds() == [Kind.CONNECT_TIMEOUT]
    assert "within 2 s" in world.errors[0].detail
    world.reactor.heal()
    world.reactor.advance(10)
    assert world.kinds() == [Kind.CONNECT_TIMEOUT] and not world.client.made


@pytest.mark.parametrize("latency", [0.0, 0.5])
@pytest.mark.parametrize("steps", range(8))
@pytest.mark.parametrize("with_tls", [False, True])
def test_cancel_at_every_moment(
    world: World,
    tls: tuple[TLSParameters, TLSParameters],
    latency: float,
    steps: int,
    with_tls: bool,
) -> None:
    world.reactor.latency = latency
    peer = TLSKeeper(world.network, tls[0])
    world.network.binder.listen(ADDRESS, peer if with_tls else world.accepted)
    dial = world.dial(tls=tls[1] if with_tls else None)
    if steps:
        world.reactor.advance(latency * steps / 2)
    heard = world.client.made
    dial.cancel()
    dial.cancel()
    world.reactor.advance(20)
    assert world.client.made == heard and not world.errors
    if not heard:
        assert all(not transport.connected for transport in world.reactor.connections)


@pytest.mark.parametrize("port", [-1, 70000])
def test_dial_to_nonsense_fails_later(world: World, port: int) -> None:
    def refuse(*args: Any, **kw: Any) -> None:
        raise ValueError("port out of range")

    world.reactor.connectTCP = refuse  # type: ignore[method-assign,assignment]
    world.dial(Address("tcp", "192.0.2.1", port))
    world.reactor.pump()
    assert world.kinds() == [Kind.CONNECT_FAILED] and "out of range" in world.errors[0].detail


def test_dial_unix(world: World) -> None:
    path = Address("unix", path="/nowhere/socket")
    world.network.binder.listen(path, world.accepted)
    world.dial(path)
    world.reactor.pump()
    assert world.client.made == 1 and len(world.accepted.made) == 1


# -- TLS in memory ---------------------------------------------------------------------------


def test_dial_with_tls(world: World, tls: tuple[TLSParameters, TLSParameters]) -> None:
    peer = TLSKeeper(world.network, tls[0])
    world.network.binder.listen(ADDRESS, peer)
    world.client.made_at.append(lambda: world.client.transport.write(b"hello"))  # type: ignore[union-attr]
    world.dial(tls=tls[1])
    world.reactor.pump()
    assert not world.errors and not peer.errors
    assert peer.infos == [
        TLSInfo("TLSv1.3", peer.infos[0].cipher, "http/1.1", "a.example")
    ] and peer.infos[0].cipher.startswith("TLS_")
    server = peer.made[0]
    assert server.data == b"hello"
    transport: Any = server.transport
    assert ISSLTransport.providedBy(transport)
    assert transport.getPeer().host and transport.getHost().port == 80
    transport.write(b"x" * 500_000)
    world.reactor.pump()
    assert len(world.client.data) == 500_000
    # deadlines of the handshake are over
    world.reactor.advance(60)
    assert not world.client.lost and not server.lost


def test_back_pressure_through_tls(world: World, tls: tuple[TLSParameters, TLSParameters]) -> None:
    peer = TLSKeeper(world.network, tls[0])
    world.network.binder.listen(ADDRESS, peer)
    world.dial(tls=tls[1])
    world.reactor.pump()
    events: list[str] = []

    class Producer:
        pauseProducing = partial(events.append, "pause")
        resumeProducing = partial(events.append, "resume")
        stopProducing = partial(events.append, "stop")

    client: Any = world.client.transport
    server: Any = peer.made[0].transport
    client.pauseProducing()
    server.registerProducer(Producer(), True)
    server.write(b"y" * 1_000_000)
    world.reactor.pump()
    assert events == ["pause"] and len(world.client.data) < 1_000_000
    client.resumeProducing()
    world.reactor.pump()
    assert events == ["pause", "resume"] and len(world.client.data) == 1_000_000
    server.unregisterProducer()


@pytest.mark.parametrize("closer", ["client", "server"])
@pytest.mark.parametrize("how", ["loseConnection", "loseWriteConnection", "abortConnection"])
def test_closing_tls_waits_for_nobody(
    world: World, tls: tuple[TLSParameters, TLSParameters], closer: str, how: str
) -> None:
    peer = TLSKeeper(world.network, tls[0])
    world.network.binder.listen(ADDRESS, peer)
    world.dial(tls=tls[1])
    world.reactor.pump()
    near, far = world.client, peer.made[0]
    if closer == "server":
        near, far = far, near
    near.transport.write(b"last words")  # type: ignore[union-attr]
    # the other side reads nothing and so never answers a close_notify
    far.transport.pauseProducing()  # type: ignore[union-attr]
    getattr(near.transport, how)()
    world.reactor.pump()
    assert len(near.lost) == 1
    far.transport.resumeProducing()  # type: ignore[union-attr]
    world.reactor.pump()
    assert len(far.lost) == 1
    if how != "abortConnection":
        assert far.data == b"last words" and far.lost[0].check(ConnectionDone)
        assert near.lost[0].check(ConnectionDone)
    assert all(not transport.connected for transport in world.reactor.connections)


def test_dial_refuses_a_wrong_certificate(
    world: World, tls: tuple[TLSParameters, TLSParameters], tmp_path: Path
) -> None:
    wrong = ClientContextFactory("other.example", ca=ca_file(tmp_path))
    peer = TLSKeeper(world.network, tls[0])
    world.network.binder.listen(ADDRESS, peer)
    world.dial(tls=TLSParameters(wrong, False))
    world.reactor.pump()
    assert world.kinds() == [Kind.SERVER_TLS] and not world.client.made
    assert "certificate is not for other.example" in world.errors[0].detail
    # with TLS 1.3 the server is done before it hears of it
    assert not peer.made or (peer.made[0].lost and not peer.made[0].data)


def test_dial_tls_to_a_plain_server(world: World, tls: tuple[TLSParameters, TLSParameters]) -> None:
    class Plain(Recorder):
        def dataReceived(self, data: bytes) -> None:
            self.transport.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")  # type: ignore[union-attr]

    world.network.binder.listen(ADDRESS, Keeper(Plain))
    world.dial(tls=tls[1])
    world.reactor.pump()
    assert world.kinds() == [Kind.SERVER_TLS] and not world.client.made
    assert world.errors[0].detail.startswith("192.0.2.1:80: ")


def test_dial_deadline_covers_tls(world: World, tls: tuple[TLSParameters, TLSParameters]) -> None:
    world.listen()  # never answers the hello
    world.reactor.latency = 0.5
    world.dial(tls=tls[1], timeout=3)
    world.reactor.advance(2.9)
    assert not world.errors
    world.reactor.advance(0.2)
    assert world.kinds() == [Kind.CONNECT_TIMEOUT]
    world.reactor.advance(5)
    assert all(not transport.connected for transport in world.reactor.connections)


@pytest.mark.parametrize("leave", ["loseConnection", "abortConnection"])
def test_peer_leaves_during_the_handshake(
    world: World, tls: tuple[TLSParameters, TLSParameters], leave: str
) -> None:
    class Leaver(Recorder):
        def dataReceived(self, data: bytes) -> None:
            getattr(self.transport, leave)()

    world.network.binder.listen(ADDRESS, Keeper(Leaver))
    world.dial(tls=tls[1])
    world.reactor.pump()
    assert world.kinds() == [Kind.SERVER_TLS]
    assert "closed the connection during the handshake" in world.errors[0].detail


def test_start_tls_deadline_and_silence(
    world: World, tls: tuple[TLSParameters, TLSParameters]
) -> None:
    peer = TLSKeeper(world.network, tls[0], timeout=2)
    world.network.binder.listen(ADDRESS, peer)
    world.dial()
    world.reactor.pump()
    world.client.transport.write(b"\x16\x03\x01")  # type: ignore[union-attr]
    world.reactor.advance(2.1)
    assert [error.kind for error in peer.errors] == [Kind.CLIENT_TLS]
    assert "within 2 s" in peer.errors[0].detail and world.client.lost


def test_start_tls_sends_an_alert_to_nonsense(
    world: World, tls: tuple[TLSParameters, TLSParameters]
) -> None:
    peer = TLSKeeper(world.network, tls[0])
    world.network.binder.listen(ADDRESS, peer)
    world.dial()
    world.reactor.pump()
    world.client.transport.write(b"\x16\x03\x01\x00\x04\x01\x00\x00\x00")  # type: ignore[union-attr]
    world.reactor.pump()
    assert [error.kind for error in peer.errors] == [Kind.CLIENT_TLS]
    assert world.client.data[:1] == b"\x15" and world.client.lost  # an alert record


def test_start_tls_refused_by_the_protocol_and_broken_creator(
    world: World, tls: tuple[TLSParameters, TLSParameters]
) -> None:
    class Refusing(TLSKeeper):
        def buildProtocol(self, addr: Any) -> Any:
            first = Recorder()

            def refuse(info: TLSInfo) -> Recorder:
                raise ProxyError(Kind.DENIED)

            first.made_at.append(
                lambda: self.network.dialler.start_tls(
                    first.transport, self.parameters, refuse, self.errors.append, timeout=5
                )
            )
            return first

    peer = Refusing(world.network, tls[0])
    world.network.binder.listen(ADDRESS, peer)
    world.dial(tls=tls[1])
    world.reactor.pump()
    assert [error.kind for error in peer.errors] == [Kind.DENIED]
    assert world.client.lost or world.errors


def test_received_bytes_are_part_of_the_handshake(
    world: World, tls: tuple[TLSParameters, TLSParameters]
) -> None:
    """A protocol that has read part of the hello (or all of it) hands those bytes over."""
    secured = Recorder()
    errors: list[ProxyError] = []

    class Reader(Recorder):
        def dataReceived(self, data: bytes) -> None:
            self.data += data
            if len(self.data) > 20:
                world.network.dialler.start_tls(
                    self.transport,
                    tls[0],
                    lambda info: secured,
                    errors.append,
                    timeout=5,
                    received=self.data,
                )

    world.network.binder.listen(ADDRESS, Keeper(Reader))
    world.client.made_at.append(lambda: world.client.transport.write(b"hi"))  # type: ignore[union-attr]
    world.dial(tls=tls[1])
    world.reactor.pump()
    assert secured.data == b"hi" and not errors


def test_tls_inside_tls(world: World, tls: tuple[TLSParameters, TLSParameters]) -> None:
    peer = TLSKeeper(world.network, tls[0])
    world.network.binder.listen(ADDRESS, peer)
    world.dial(tls=tls[1])
    world.reactor.pump()
    inner = [Recorder(), Recorder()]
    errors: list[ProxyError] = []
    for side, (outer, parameters) in enumerate(((peer.made[0], tls[0]), (world.client, tls[1]))):
        world.network.dialler.start_tls(
            outer.transport,
            parameters,
            lambda info, side=side: inner[side],
            errors.append,
            timeout=5,
        )
    world.reactor.pump()
    inner[0].transport.write(b"deep")  # type: ignore[union-attr]
    world.reactor.pump()
    assert inner[1].data == b"deep" and not errors


# -- hand-over -------------------------------------------------------------------------------


def test_hand_over_gives_data_unless_closing() -> None:
    class Bare:
        disconnecting = False

    transport = Bare()
    first = Recorder()
    assert not hand_over(transport, first, b"data")  # nothing to switch
    assert first.data == b"data" and first.transport is transport
    transport.protocol = first  # type: ignore[attr-defined]
    second = Recorder()
    second.made_at.append(lambda: setattr(transport, "disconnecting", True))
    assert hand_over(transport, second, b"data")
    assert transport.protocol is second and second.data == b""  # type: ignore[attr-defined]


# -- real sockets ----------------------------------------------------------------------------


async def connect(network: StockNetwork, address: Address, **options: Any) -> Recorder:
    client = HalfCloser()
    errors: list[ProxyError] = []
    network.dialler.dial(address, client, errors.append, timeout=5, **options)
    await eventually(network.reactor, lambda: client.made or errors)
    if errors:
        raise errors[0]
    return client


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "", "::"])
@pytest.mark.parametrize("reuse_port", [False, True])
def test_live_tcp(host: str, reuse_port: bool) -> None:
    async def scenario(reactor: Any) -> None:
        network = StockNetwork(reactor)
        accepted = Keeper(HalfCloser)
        bound = network.binder.listen(Address("tcp", host, 0), accepted, reuse_port=reuse_port)
        assert bound.address.port > 0 and bound.address.host == host
        second = None
        if reuse_port:
            second = network.binder.listen(bound.address, accepted, reuse_port=True)
        targets = {"": ["127.0.0.1"], "::": ["::1", "127.0.0.1"]}.get(host, [host])
        for target in targets:
            client = await connect(
                network, Address("tcp", target, bound.address.port), preamble=b"first "
            )
            server = await eventually(reactor, lambda: accepted.made and accepted.made[-1])
            for transport in (client.transport, server.transport):
                assert transport.getTcpNoDelay() and transport.getTcpKeepAlive()
            client.transport.write(b"hello")  # type: ignore[union-attr]
            client.transport.loseWriteConnection()  # type: ignore[union-attr]
            await eventually(reactor, lambda s=server: s.ended)
            assert server.data == b"first hello" and not server.lost
            server.transport.write(b"bye")
            server.transport.loseConnection()
            await eventually(reactor, lambda c=client: c.ended)
            assert client.data == b"bye"
            client.transport.loseConnection()  # type: ignore[union-attr]
            await eventually(reactor, lambda c=client, s=server: c.lost and s.lost)
            accepted.made.clear()
        await bound.close()
        assert bound.close() is None
        if second is not None:
            await second.close()

    run(scenario)


def test_live_tls(tls: tuple[TLSParameters, TLSParameters]) -> None:
    async def scenario(reactor: Any) -> None:
        network = StockNetwork(reactor)
        accepted = TLSKeeper(network, tls[0])
        bound = network.binder.listen(LOOPBACK, accepted)
        client = await connect(network, bound.address, tls=tls[1])
        server = await eventually(reactor, lambda: accepted.made and accepted.made[0])
        data = os.urandom(300_000)
        server.transport.write(data)
        await eventually(reactor, lambda: len(client.data) == len(data))
        assert client.data == data
        client.transport.write(b"done")  # type: ignore[union-attr]
        client.transport.loseConnection()  # type: ignore[union-attr]
        await eventually(reactor, lambda: client.lost and server.lost)
        assert server.data == b"done"
        wrong = TLSParameters(ClientContextFactory("wrong.example"), False)
        with pytest.raises(ProxyError) as caught:
            await connect(network, bound.address, tls=wrong)
        assert caught.value.kind is Kind.SERVER_TLS
        await bound.close()

    run(scenario)


def test_live_refused_and_silent() -> None:
    async def scenario(reactor: Any) -> None:
        network = StockNetwork(reactor)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = Address("tcp", "127.0.0.1", free.getsockname()[1])
        with pytest.raises(ProxyError) as caught:
            await connect(network, address)
        assert caught.value.kind is Kind.CONNECT_FAILED
        assert caught.value.detail == f"{address}: Connection refused"
        with pytest.raises(ProxyError) as caught:
            await connect(network, Address("unix", path="/nonexistent/socket"))
        assert caught.value.detail == "unix:/nonexistent/socket: No such file or directory"
        with pytest.raises(ProxyError) as caught:
            await connect(network, Address("unix", path="/" + "x" * 200))
        assert caught.value.kind is Kind.CONNECT_FAILED
        assert caught.value.detail.endswith("File name too long")

    run(scenario)


def test_live_unix_socket_file(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    address = Address("unix", path=path)

    async def scenario(reactor: Any) -> None:
        network = StockNetwork(reactor)
        accepted = Keeper()
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(path)  # bound, never listening: what a killed process leaves
        bound = network.binder.listen(address, accepted, mode=0o600)
        assert bound.address == address
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        client = await connect(network, address)
        client.transport.write(b"hello")  # type: ignore[union-attr]
        await eventually(reactor, lambda: accepted.made and accepted.made[0].data == b"hello")
        with pytest.raises(ListenError, match=r"cannot listen on unix:.*in use"):
            network.binder.listen(address, accepted)
        assert len(accepted.made) == 1  # finding that out was not a connection
        client.transport.loseConnection()  # type: ignore[union-attr]
        await eventually(reactor, lambda: accepted.made[0].lost)
        await bound.close()
        assert not os.path.exists(path)  # noqa: ASYNC240
        (tmp_path / "file").write_text("precious")
        with pytest.raises(ListenError, match="in use"):
            network.binder.listen(Address("unix", path=str(tmp_path / "file")), accepted)
        assert (tmp_path / "file").read_text() == "precious"

    run(scenario)


def test_remove_stale_socket_leaves_abstract_names_alone() -> None:
    remove_stale_socket("\0abstract")
    remove_stale_socket("/nonexistent/path")


def test_live_listen_errors() -> None:
    async def scenario(reactor: Any) -> None:
        network = StockNetwork(reactor)
        bound = network.binder.listen(LOOPBACK, Keeper())
        with pytest.raises(ListenError) as caught:
            network.binder.listen(bound.address, Keeper())
        assert str(caught.value) == (
            f"cannot listen on {bound.address}: Address already in use"
            " (another program listens there)"
        )
        with pytest.raises(ListenError, match="no interface of this machine"):
            network.binder.listen(Address("tcp", "192.0.2.1", 0), Keeper())
        with pytest.raises(ListenError, match="must be 0-65535"):
            network.binder.listen(Address("tcp", "127.0.0.1", 99999), Keeper())
        await bound.close()

    run(scenario)


def test_low_port_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    from twisted.internet.error import CannotListenError

    network = StockNetwork(MemoryReactor())

    def deny(*args: Any, **kw: Any) -> None:
        raise CannotListenError("", 80, OSError(errno.EACCES, "Permission denied"))

    monkeypatch.setattr(network.reactor, "listenTCP", deny)
    with pytest.raises(ListenError, match=r"Permission denied \(ports below 1024 need root"):
        network.binder.listen(Address("tcp", "", 80), Keeper())
    with pytest.raises(ListenError, match="cannot share ports"):
        network.binder.listen(Address("tcp", "", 80), Keeper(), reuse_port=True)


def test_live_endpoint_strings(tmp_path: Path) -> None:
    async def scenario(reactor: Any) -> None:
        network = StockNetwork(reactor)
        accepted = Keeper()
        bound = await listen_endpoint(reactor, "tcp:0:interface=127.0.0.1", accepted)
        assert bound.address.host == "127.0.0.1" and bound.address.port
        client = await connect(network, bound.address)
        server = await eventually(reactor, lambda: accepted.made and accepted.made[0])
        assert server.transport.getTcpNoDelay()
        with pytest.raises(ListenError, match=r"cannot listen on tcp:.*already in use"):
            await listen_endpoint(
                reactor, f"tcp:{bound.address.port}:interface=127.0.0.1", accepted
            )
        with pytest.raises(ListenError, match="cannot listen on nonsense:1"):
            await listen_endpoint(reactor, "nonsense:1", accepted)
        client.transport.loseConnection()  # type: ignore[union-attr]
        await eventually(reactor, lambda: client.lost and server.lost)
        await bound.close()
        unix = await listen_endpoint(reactor, f"unix:{tmp_path}/s", accepted)
        assert unix.address == Address("unix", path=f"{tmp_path}/s")
        await unix.close()

    run(scenario)


@pytest.mark.parametrize("kind", [StockNetwork, FastNetwork])
def test_an_adopted_unix_socket_stays_when_one_who_accepts_from_it_closes(kind, tmp_path):
    """Worker processes share it: the file belongs to none of them."""
    path = tmp_path / "web.sock"

    async def scenario(reactor: Any) -> None:
        with socket.socket(socket.AF_UNIX) as shared:
            shared.bind(str(path))
            shared.listen(5)
            address = Address("unix", path=str(path))
            first, other = (
                kind(reactor).binder.adopt(shared.dup(), address, factory)
                for factory in (Factory.forProtocol(Recorder), keeper)
            )
            await maybeDeferred(first.close)
            assert path.exists()
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))
                await eventually(reactor, lambda: len(keeper.made) == 1)
            await maybeDeferred(other.close)
            assert path.exists()

    keeper = Keeper()
    run(scenario, strict=False)
