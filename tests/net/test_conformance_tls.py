"""TLS on both networks and between them: the same scripts, the same outcome."""

from __future__ import annotations

import hashlib
import socket
from pathlib import Path
from typing import Any

import pytest
from OpenSSL import SSL
from twisted.internet.protocol import Protocol

from lbproxy.errors import Kind, ProxyError
from lbproxy.net.sslsocket import FastTLSTransport
from lbproxy.tls.contexts import ClientContextFactory, ServerContextFactory
from lbproxy.tls.parameters import TLSInfo, TLSParameters
from tests.net.wire import LOOPBACK, NETWORKS, Once, Recorder, closing
from tests.support.reactor import eventually, run, sleep
from tests.support.tls import ca_file, pair

pytestmark = pytest.mark.live

DATA = hashlib.sha256(b"tls").digest() * 320_000  # 10 MB


class Kit:
    """Contexts of both sides, and the networks to use them on."""

    def __init__(self, folder: Path, near: Any, far: Any) -> None:
        self.near_type, self.far_type = near, far
        self.server = ServerContextFactory([pair(folder, "site.test")], alpn=["h2", "http/1.1"])
        self.ca = ca_file(folder)

    def client(self, name: str = "site.test", **options: Any) -> TLSParameters:
        creator = ClientContextFactory(name, ca=self.ca, alpn=["http/1.1"], **options)
        return TLSParameters(creator, server_side=False)


@pytest.fixture(params=[(a, b) for a in sorted(NETWORKS) for b in sorted(NETWORKS)], ids="-".join)
def kit(request: pytest.FixtureRequest, tmp_path: Path) -> Kit:
    near, far = request.param
    return Kit(tmp_path, NETWORKS[near], NETWORKS[far])


class Secure(Protocol):
    """Starts TLS as soon as it is connected."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def connectionMade(self) -> None:
        session = self.session
        session.far_network.dialler.start_tls(
            self.transport,
            TLSParameters(session.kit.server, server_side=True),
            session.far_ready,
            session.far_failed.append,
            timeout=session.timeout,
        )

    def dataReceived(self, data: bytes) -> None:
        raise AssertionError("in the clear")


class Session:
    """One dial to one TLS listener."""

    def __init__(self, reactor: Any, kit: Kit, near: Recorder, far: Recorder) -> None:
        self.reactor, self.kit, self.near, self.far = reactor, kit, near, far
        self.near_network = kit.near_type(reactor)
        self.far_network = kit.far_type(reactor)
        self.near_failed: list[ProxyError] = []
        self.far_failed: list[ProxyError] = []
        self.info: TLSInfo | None = None
        self.timeout = 5.0
        self.port = self.far_network.binder.listen(LOOPBACK, Once(Secure(self)))

    def far_ready(self, info: TLSInfo) -> Recorder:
        self.info = info
        return self.far

    def dial(self, tls: TLSParameters | None, timeout: float = 5.0) -> Any:
        return self.near_network.dialler.dial(
            self.port.address, self.near, self.near_failed.append, timeout=timeout, tls=tls
        )

    async def open(self) -> Session:
        self.dial(self.kit.client())
        await eventually(
            self.reactor, lambda: (self.near.made and self.far.made) or self.near_failed
        )
        assert not self.near_failed and not self.far_failed
        return self

    async def closed(self) -> None:
        await eventually(self.reactor, lambda: self.near.reason and self.far.reason)
        await closing(self.port)


def test_handshake_says_what_was_settled(kit: Kit) -> None:
    async def scenario(reactor: Any) -> None:
        session = await Session(reactor, kit, Recorder(), Recorder()).open()
        assert session.info is not None
        assert (session.info.version, session.info.alpn) == ("TLSv1.3", "http/1.1")
        assert session.info.sni == "site.test" and session.info.cipher
        assert session.near.transport.negotiatedProtocol == b"http/1.1"
        session.near.transport.write(b"ping")
        await eventually(reactor, lambda: session.far.data)
        session.far.transport.write(b"pong")
        session.far.transport.loseConnection()
        await session.closed()
        assert (bytes(session.far.data), bytes(session.near.data)) == (b"ping", b"pong")
        assert session.near.lost == session.far.lost == "ConnectionDone"

    run(scenario)


def test_much_data_both_ways_and_a_close_behind_it(kit: Kit) -> None:
    async def scenario(reactor: Any) -> None:
        session = await Session(reactor, kit, Recorder(), Recorder()).open()
        for side in (session.near, session.far):
            for start in range(0, len(DATA), 1_000_003):
                side.transport.write(DATA[start : start + 1_000_003])
        await eventually(
            reactor, lambda: len(session.near.data) == len(session.far.data) == len(DATA), 20
        )
        session.far.transport.write(DATA)
        session.far.transport.loseConnection()
        await eventually(reactor, lambda: session.near.reason and session.far.reason, 20)
        await session.closed()
        assert session.near.data == DATA + DATA and session.far.data == DATA

    run(scenario)


def test_many_small_writes(kit: Kit) -> None:
    async def scenario(reactor: Any) -> None:
        session = await Session(reactor, kit, Recorder(), Recorder()).open()
        for number in range(2000):
            session.near.transport.write(b"%d," % number)
        expected = b"".join(b"%d," % number for number in range(2000))
        await eventually(reactor, lambda: len(session.far.data) == len(expected))
        assert session.far.data == expected
        session.near.transport.loseConnection()
        await session.closed()

    run(scenario)


def test_paused_reader_holds_the_writer_back(kit: Kit) -> None:
    class Counting:
        paused = 0
        stopped = False

        def pauseProducing(self) -> None:
            self.paused += 1

        def resumeProducing(self) -> None:
            pass

        def stopProducing(self) -> None:
            self.stopped = True

    async def scenario(reactor: Any) -> None:
        session = await Session(reactor, kit, Recorder(), Recorder()).open()
        producer = Counting()
        session.far.transport.pauseProducing()
        session.near.transport.registerProducer(producer, True)
        session.near.transport.write(DATA)
        await sleep(reactor, 0.05)
        assert producer.paused and not session.far.data
        session.far.transport.resumeProducing()
        await eventually(reactor, lambda: len(session.far.data) == len(DATA))
        session.near.transport.unregisterProducer()
        session.near.transport.loseConnection()
        await session.closed()

    run(scenario)


def test_truncation_is_not_a_clean_end(kit: Kit) -> None:
    async def scenario(reactor: Any) -> None:
        session = Session(reactor, kit, Recorder(), Recorder())
        with socket.create_connection(("127.0.0.1", session.port.address.port)) as raw:
            raw.setblocking(False)
            client = await handshake(reactor, raw, kit)
            client.send(b"half")
            await eventually(reactor, lambda: session.far.data)
        await eventually(reactor, lambda: session.far.reason)
        assert (bytes(session.far.data), session.far.lost) == (b"half", "ConnectionLost")
        await closing(session.port)

    run(scenario)


def test_close_notify_is_a_clean_end(kit: Kit) -> None:
    async def scenario(reactor: Any) -> None:
        session = Session(reactor, kit, Recorder(), Recorder())
        with socket.create_connection(("127.0.0.1", session.port.address.port)) as raw:
            raw.setblocking(False)
            client = await handshake(reactor, raw, kit)
            client.send(b"whole")
            client.shutdown()
            await eventually(reactor, lambda: session.far.reason)
        assert (bytes(session.far.data), session.far.lost) == (b"whole", "ConnectionDone")
        await closing(session.port)

    run(scenario)


def test_closing_sends_close_notify(kit: Kit) -> None:
    async def scenario(reactor: Any) -> None:
        far = Recorder(on_data=lambda self, data: self.transport.loseConnection())
        session = Session(reactor, kit, Recorder(), far)
        with socket.create_connection(("127.0.0.1", session.port.address.port)) as raw:
            raw.setblocking(False)
            client = await handshake(reactor, raw, kit)
            client.send(b"bye")
            await eventually(reactor, lambda: ended(client))
        await eventually(reactor, lambda: far.reason)
        assert far.lost == "ConnectionDone"
        await closing(session.port)

    run(scenario)


def ended(client: SSL.Connection) -> bool:
    try:
        client.recv(100)
    except SSL.WantReadError:
        return False
    except SSL.ZeroReturnError:
        return True
    raise AssertionError("unexpected data")


async def handshake(reactor: Any, raw: socket.socket, kit: Kit) -> SSL.Connection:
    client: SSL.Connection = kit.client().creator.connection_for_socket(raw)

    def step() -> bool:
        try:
            client.do_handshake()
        except SSL.WantReadError:
            return False
        return True

    await eventually(reactor, step)
    return client


# -- failures --------------------------------------------------------------------------------


def test_wrong_name_is_refused_on_both_sides(kit: Kit) -> None:
    async def scenario(reactor: Any) -> None:
        session = Session(reactor, kit, Recorder(), Recorder())
        session.dial(kit.client("other.test"))
        await eventually(reactor, lambda: session.near_failed)
        error = session.near_failed[0]
        assert error.kind is Kind.SERVER_TLS and "other.test" in error.detail
        assert not session.near.made
        await eventually(reactor, lambda: session.far_failed or session.far.reason)
        await closing(session.port)

    run(scenario)


def test_not_tls_at_all(kit: Kit) -> None:
    async def scenario(reactor: Any) -> None:
        session = Session(reactor, kit, Recorder(), Recorder())
        with socket.create_connection(("127.0.0.1", session.port.address.port)) as raw:
            raw.sendall(b"GET / HTTP/1.0\r\n\r\n")
            await eventually(reactor, lambda: session.far_failed)
        assert session.far_failed[0].kind is Kind.CLIENT_TLS
        assert not session.far.made
        await closing(session.port)

    run(scenario)


def test_a_client_that_leaves_during_the_handshake(kit: Kit) -> None:
    async def scenario(reactor: Any) -> None:
        session = Session(reactor, kit, Recorder(), Recorder())
        socket.create_connection(("127.0.0.1", session.port.address.port)).close()
        await eventually(reactor, lambda: session.far_failed)
        assert session.far_failed[0].kind is Kind.CLIENT_TLS
        await closing(session.port)

    run(scenario)


def test_silence_meets_the_deadline(kit: Kit) -> None:
    async def scenario(reactor: Any) -> None:
        session = Session(reactor, kit, Recorder(), Recorder())
        session.timeout = 0.1
        with socket.create_connection(("127.0.0.1", session.port.address.port)):
            await eventually(reactor, lambda: session.far_failed)
        assert session.far_failed[0].kind is Kind.CLIENT_TLS
        await closing(session.port)

    run(scenario)


def test_dial_deadline_covers_the_handshake(kit: Kit) -> None:
    async def scenario(reactor: Any) -> None:
        network = kit.near_type(reactor)
        silent = Recorder()
        port = network.binder.listen(LOOPBACK, Once(silent))
        failures: list[ProxyError] = []
        network.dialler.dial(
            port.address, Recorder(), failures.append, timeout=0.15, tls=kit.client()
        )
        await eventually(reactor, lambda: failures)
        assert failures[0].kind is Kind.CONNECT_TIMEOUT
        await eventually(reactor, lambda: silent.reason)
        await closing(port)

    run(scenario)


def test_cancel_during_the_handshake(kit: Kit) -> None:
    async def scenario(reactor: Any) -> None:
        network = kit.near_type(reactor)
        silent, near = Recorder(), Recorder()
        port = network.binder.listen(LOOPBACK, Once(silent))
        failures: list[ProxyError] = []
        dial = network.dialler.dial(
            port.address, near, failures.append, timeout=5, tls=kit.client()
        )
        await eventually(reactor, lambda: silent.data)
        dial.cancel()
        await eventually(reactor, lambda: silent.reason)
        assert not failures and not near.made
        await closing(port)

    run(scenario)


def test_bytes_already_read_are_part_of_the_handshake(kit: Kit) -> None:
    async def scenario(reactor: Any) -> None:
        network = kit.far_type(reactor)
        near, far = Recorder(), Recorder()
        failures: list[ProxyError] = []

        def looked(self: Recorder, data: bytes) -> None:
            network.dialler.start_tls(
                self.transport,
                TLSParameters(kit.server, server_side=True),
                lambda info: far,
                failures.append,
                timeout=5,
                received=data,
            )

        port = network.binder.listen(LOOPBACK, Once(Recorder(on_data=looked)))
        kit.near_type(reactor).dialler.dial(
            port.address, near, failures.append, timeout=5, tls=kit.client()
        )
        await eventually(reactor, lambda: (near.made and far.made) or failures)
        near.transport.write(b"hello")
        await eventually(reactor, lambda: far.data == b"hello")
        near.transport.loseConnection()
        await eventually(reactor, lambda: near.reason and far.reason)
        assert not failures
        await closing(port)

    run(scenario)


def test_refusal_after_the_handshake(kit: Kit) -> None:
    async def scenario(reactor: Any) -> None:
        session = Session(reactor, kit, Recorder(), Recorder())

        def refuse(info: TLSInfo) -> Recorder:
            raise ProxyError(Kind.DENIED, "not you")

        session.far_ready = refuse  # type: ignore[method-assign]
        session.dial(kit.client())
        await eventually(reactor, lambda: session.far_failed)
        assert session.far_failed[0].kind is Kind.DENIED
        await eventually(reactor, lambda: session.near.reason or session.near_failed)
        await closing(session.port)

    run(scenario)


def test_renegotiation_is_off(tmp_path: Path) -> None:
    kit = Kit(tmp_path, NETWORKS["fast"], NETWORKS["fast"])

    async def scenario(reactor: Any) -> None:
        session = Session(reactor, kit, Recorder(), Recorder())
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_max_proto_version(SSL.TLS1_2_VERSION)
        with socket.create_connection(("127.0.0.1", session.port.address.port)) as raw:
            raw.setblocking(False)
            client = SSL.Connection(context, raw)
            client.set_connect_state()

            def step() -> bool:
                try:
                    client.do_handshake()
                except SSL.WantReadError:
                    return False
                return True

            await eventually(reactor, step)
            assert type(session.far.transport) is FastTLSTransport
            assert client.renegotiate()
            with pytest.raises(SSL.Error, match=r"renegotiation|closed|EOF"):
                await eventually(reactor, step, 2)
        await eventually(reactor, lambda: session.far.reason)
        await closing(session.port)

    run(scenario)


def test_http_spoken_to_a_tls_port_gets_a_plain_answer(kit: Kit) -> None:
    kit.server.plain_reply = b"HTTP/1.1 400 Bad Request\r\n\r\n"

    async def scenario(reactor: Any) -> None:
        session = Session(reactor, kit, Recorder(), Recorder())
        network = kit.near_type(reactor)
        client = Recorder()
        network.dialler.dial(session.port.address, client, pytest.fail, timeout=5)
        await eventually(reactor, lambda: client.made)
        client.transport.write(b"GET / HTTP/1.1\r\nHost: site.test\r\n\r\n")
        await eventually(reactor, lambda: client.reason and session.far_failed)
        assert bytes(client.data) == kit.server.plain_reply
        assert session.far_failed[0].kind is Kind.CLIENT_TLS
        assert session.far_failed[0].detail == "the peer speaks plain HTTP, not TLS"
        await closing(session.port)

    run(scenario)


@pytest.mark.parametrize("garbage", [b"SSH-2.0-x\r\n", b"\0" * 50])
def test_nothing_is_said_in_the_clear_to_others(kit: Kit, garbage: bytes) -> None:
    kit.server.plain_reply = b"HTTP/1.1 400 Bad Request\r\n\r\n"

    async def scenario(reactor: Any) -> None:
        session = Session(reactor, kit, Recorder(), Recorder())
        client = Recorder()
        network = kit.near_type(reactor)
        network.dialler.dial(session.port.address, client, pytest.fail, timeout=5)
        await eventually(reactor, lambda: client.made)
        client.transport.write(garbage)
        await eventually(reactor, lambda: client.reason and session.far_failed)
        assert b"HTTP" not in client.data
        await closing(session.port)

    run(scenario)


def test_the_next_connection_resumes_the_session(kit: Kit) -> None:
    client = kit.client()
    verified: list[int] = []
    client.creator.context.set_verify(
        SSL.VERIFY_PEER, lambda *args: bool(verified.append(1)) or True
    )

    async def once(reactor: Any) -> bool:
        """Whether the server proved who it is."""
        verified.clear()
        session = Session(reactor, kit, Recorder(), Recorder())
        session.dial(client)
        await eventually(reactor, lambda: session.near.made and session.far.made)
        session.far.transport.write(b"x")
        await eventually(reactor, lambda: session.near.data)
        session.near.transport.loseConnection()
        await session.closed()
        return bool(verified)

    async def scenario(reactor: Any) -> None:
        assert await once(reactor)
        assert not await once(reactor)
        assert not await once(reactor)

    run(scenario)
