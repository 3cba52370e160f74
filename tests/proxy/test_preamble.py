"""The preamble in memory:

PROXY header, TLS, a look at the hello; any split; everything that goes wrong.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import StringTransport

from lbproxy.config.model import Address
from lbproxy.errors import Kind, ProxyError
from lbproxy.net.proxyproto import encode_v1, encode_v2
from lbproxy.net.stock import StockNetwork
from lbproxy.proxy.http.streams import ConnectionInfo
from lbproxy.proxy.preamble import Preamble
from lbproxy.testing.memory import MemoryReactor
from lbproxy.tls.contexts import ClientContextFactory, ServerContextFactory
from lbproxy.tls.parameters import TLSParameters
from tests.support.tls import ca_file, pair

ADDRESS = Address("tcp", "192.0.2.1", 443)
V1 = encode_v1(("203.0.113.9", 1234), ("198.51.100.1", 443))
V2 = encode_v2(("203.0.113.9", 1234), ("198.51.100.1", 443), [(2, b"a.example")], checksum=True)


class Recorder(Protocol):
    def __init__(self) -> None:
        self.made = 0
        self.data = b""
        self.lost = False

    def connectionMade(self) -> None:
        self.made += 1

    def dataReceived(self, data: bytes) -> None:
        self.data += data

    def connectionLost(self, reason: Any = None) -> None:
        self.lost = True


class World:
    """A listener with a preamble, and one client."""

    def __init__(self) -> None:
        self.reactor = MemoryReactor()
        self.network = StockNetwork(self.reactor)
        self.server = Recorder()
        self.client = Recorder()
        self.infos: list[ConnectionInfo] = []
        self.peeked: list[bytes] = []
        self.errors: list[ProxyError] = []
        self.refuse: ProxyError | None = None

    def preamble(
        self, *, proxy: bool = False, tls: Any = None, look: bool = False, timeout: float = 5
    ) -> Preamble:
        def ready(info: ConnectionInfo, data: bytes) -> Recorder:
            if self.refuse is not None:
                raise self.refuse
            self.infos.append(info)
            self.peeked.append(data)
            return self.server

        return Preamble(
            self.network.dialler,
            ConnectionInfo("192.0.2.7", 7, "192.0.2.7", 7),
            accept_proxy=proxy,
            tls=tls,
            look=look,
            timeout=timeout,
            ready=ready,
            failed=lambda info, error: self.errors.append(error),
        )

    def start(self, **options: Any) -> None:
        world = self

        class Listener(Factory):
            def buildProtocol(self, addr: Any) -> Preamble:
                return world.preamble(**options)

        self.network.binder.listen(ADDRESS, Listener())

    def connect(self, tls: Any = None, preamble: bytes = b"") -> None:
        self.network.dialler.dial(
            ADDRESS, self.client, self.errors.append, timeout=5, tls=tls, preamble=preamble
        )
        self.reactor.pump()

    def send(self, data: bytes) -> None:
        self.client.transport.write(data)  # type: ignore[union-attr]
        self.reactor.pump()

    def send_pieces(self, data: bytes, size: int) -> None:
        for at in range(0, len(data), size):
            self.send(data[at : at + size])

    def kinds(self) -> list[Kind]:
        return [error.kind for error in self.errors]


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def sides(tmp_path: Path) -> tuple[TLSParameters, TLSParameters]:
    server = ServerContextFactory([pair(tmp_path, "a.example")], alpn=["http/1.1"])
    client = ClientContextFactory("a.example", ca=ca_file(tmp_path), alpn=["h2", "http/1.1"])
    return TLSParameters(server, True), TLSParameters(client, False)


def hello(sides: tuple[TLSParameters, TLSParameters]) -> bytes:
    """The ClientHello of the client side."""
    from OpenSSL import SSL

    connection = sides[1].creator.connection_for_socket()
    with pytest.raises(SSL.WantReadError):
        connection.do_handshake()
    data: bytes = connection.bio_read(65536)
    return data


@pytest.mark.parametrize("header", [V1, V2])
@pytest.mark.parametrize("size", [1, 2, 5, 1000])
def test_proxy_header(world: World, header: bytes, size: int) -> None:
    world.start(proxy=True)
    world.connect()
    world.send_pieces(header + b"hello", size)
    (info,) = world.infos
    assert (info.client_ip, info.client_port) == ("203.0.113.9", 1234)
    assert (info.local_ip, info.local_port) == ("198.51.100.1", 443)
    assert (info.peer_ip, info.peer_port) == ("192.0.2.7", 7)
    assert info.tlvs == (((2, b"a.example"),) if header is V2 else ())
    assert world.server.data == b"hello" and world.server.made == 1
    if size == 1000:
        assert world.peeked == [b"hello"]
    world.reactor.advance(60)
    assert not world.errors and not world.server.lost
    world.send(b" again")
    assert world.server.data == b"hello again"
    world.client.transport.loseConnection()  # type: ignore[union-attr]
    world.reactor.pump()
    assert world.server.lost


@pytest.mark.parametrize("header", [encode_v1(None, None), encode_v2(None, None, local=True)])
def test_local_header_keeps_the_peer(world: World, header: bytes) -> None:
    world.start(proxy=True)
    world.connect(preamble=header)
    assert world.infos[0].client_ip == "192.0.2.7" and world.server.made


def test_bad_header(world: World) -> None:
    world.start(proxy=True)
    world.connect()
    world.send(b"GET / HTTP/1.1\r\n\r\n")
    assert world.kinds() == [Kind.BAD_PREAMBLE] and world.client.lost and not world.server.made


@pytest.mark.parametrize("sent", [b"", V1[:10], V2[:20]])
@pytest.mark.parametrize("end", ["timeout", "loseConnection", "abortConnection"])
def test_header_that_never_ends(world: World, sent: bytes, end: str) -> None:
    world.start(proxy=True, timeout=3)
    world.connect()
    world.send(sent)
    if end == "timeout":
        world.reactor.advance(2.9)
        assert not world.errors
        world.reactor.advance(0.2)
        assert world.kinds() == [Kind.BAD_PREAMBLE]
    else:
        getattr(world.client.transport, end)()
        world.reactor.pump()
        assert world.kinds() == [Kind.CLIENT_GONE]
    world.reactor.advance(10)
    assert len(world.errors) == 1 and world.client.lost and not world.server.made


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_look_at_a_hello(
    world: World, sides: tuple[TLSParameters, TLSParameters], size: int
) -> None:
    world.start(look=True)
    world.connect()
    data = hello(sides)
    world.send_pieces(data, size)
    assert world.infos[0].sni == "a.example" and world.infos[0].alpn == ("h2", "http/1.1")
    assert world.infos[0].tls is None
    assert world.server.data == data and world.peeked == [data]


def test_look_at_something_else(world: World) -> None:
    world.start(look=True, proxy=True)
    world.connect()
    world.send(V2 + b"\x00\x00\x00\x08\x04\xd2\x16\x2f")
    assert world.infos[0].sni == "" and world.infos[0].client_ip == "203.0.113.9"
    assert world.server.data == b"\x00\x00\x00\x08\x04\xd2\x16\x2f"


def test_look_at_malformed_hello_and_at_silence(world: World) -> None:
    world.start(look=True, timeout=2)
    world.connect()
    world.send(b"\x16\x03\x01\x00\x01\x02")
    assert world.kinds() == [Kind.BAD_PREAMBLE] and world.client.lost
    world.client = Recorder()
    world.connect()
    world.reactor.advance(2.1)
    assert world.kinds() == [Kind.BAD_PREAMBLE, Kind.CLIENT_TIMEOUT] and world.client.lost


@pytest.mark.parametrize("proxy", [False, True])
def test_tls(world: World, sides: tuple[TLSParameters, TLSParameters], proxy: bool) -> None:
    world.start(tls=sides[0], proxy=proxy)
    world.connect(tls=sides[1], preamble=V2 if proxy else b"")
    world.send(b"hello")
    (info,) = world.infos
    assert info.tls is not None and info.tls.version == "TLSv1.3"
    assert info.sni == "a.example" and info.alpn == ("http/1.1",)
    assert info.client_ip == ("203.0.113.9" if proxy else "192.0.2.7")
    assert world.server.data == b"hello" and not world.errors
    world.reactor.advance(60)
    assert not world.server.lost
    world.server.transport.write(b"bye")  # type: ignore[union-attr]
    world.server.transport.loseConnection()  # type: ignore[union-attr]
    world.reactor.pump()
    assert world.client.data == b"bye" and world.client.lost and world.server.lost


def test_header_and_hello_in_one_segment(
    world: World, sides: tuple[TLSParameters, TLSParameters]
) -> None:
    world.start(tls=sides[0], proxy=True)
    world.connect()
    world.send(V1 + hello(sides))
    assert world.client.data[:3] == b"\x16\x03\x03"  # the ServerHello
    world.reactor.advance(5.1)  # but the client never finishes
    assert world.kinds() == [Kind.CLIENT_TLS] and world.client.lost


def test_header_and_handshake_share_the_deadline(
    world: World, sides: tuple[TLSParameters, TLSParameters]
) -> None:
    world.start(tls=sides[0], proxy=True, timeout=4)
    world.connect()
    world.reactor.advance(3)
    world.send(V1)
    assert not world.errors
    world.reactor.advance(1.1)
    assert world.kinds() == [Kind.CLIENT_TLS] and world.client.lost


def test_plain_http_on_a_tls_listener(
    world: World, sides: tuple[TLSParameters, TLSParameters]
) -> None:
    world.start(tls=sides[0])
    world.connect()
    world.send(b"GET / HTTP/1.1\r\n\r\n")
    assert world.kinds() == [Kind.CLIENT_TLS] and world.client.lost
    assert world.errors[0].detail == "the peer speaks plain HTTP, not TLS"
    assert not world.server.made


@pytest.mark.parametrize("with_tls", [False, True])
def test_refused_when_ready(
    world: World, sides: tuple[TLSParameters, TLSParameters], with_tls: bool
) -> None:
    world.refuse = ProxyError(Kind.DENIED)
    world.start(proxy=True, tls=sides[0] if with_tls else None)
    world.connect(preamble=V1, tls=sides[1] if with_tls else None)
    world.reactor.pump()
    assert world.kinds()[0] is Kind.DENIED and world.client.lost and not world.server.made


def test_nothing_asked_for(world: World) -> None:
    world.start()
    world.connect(preamble=b"hello")
    assert world.server.data == b"hello"


def test_transport_that_cannot_be_handed_over(world: World) -> None:
    """The preamble stays in between and passes everything on."""
    preamble = world.preamble(proxy=True)
    transport: Any = StringTransport()
    if hasattr(transport, "protocol"):
        del transport.protocol
    preamble.makeConnection(transport)
    preamble.dataReceived(V1 + b"one")
    preamble.dataReceived(b" two")
    assert world.server.data == b"one two" and world.server.transport is transport
    from twisted.internet.main import CONNECTION_DONE
    from twisted.python.failure import Failure

    preamble.connectionLost(Failure(CONNECTION_DONE))
    assert world.server.lost and not world.errors
