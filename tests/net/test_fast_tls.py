"""TLS on the socket: what only our own transport does."""

from __future__ import annotations

import contextlib
import socket
import struct
from pathlib import Path
from typing import Any

import pytest
from OpenSSL import SSL

from lbproxy.net import sslsocket
from lbproxy.net.sslsocket import FastTLSTransport
from tests.net.test_conformance_tls import Kit, Session, ended, handshake
from tests.net.wire import NETWORKS, HalfRecorder, Recorder, closing
from tests.support.reactor import eventually, run

pytestmark = pytest.mark.live


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    return Kit(tmp_path, NETWORKS["fast"], NETWORKS["fast"])


async def raw_client(reactor: Any, session: Session) -> tuple[socket.socket, SSL.Connection]:
    raw = socket.create_connection(("127.0.0.1", session.port.address.port))
    raw.setblocking(False)
    return raw, await handshake(reactor, raw, session.kit)


def test_tiny_records_do_not_cost_an_event_each(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = 0
    original = FastTLSTransport._read

    def counting(self: FastTLSTransport, hang_up: bool) -> None:
        nonlocal reads
        reads += 1
        original(self, hang_up)

    monkeypatch.setattr(FastTLSTransport, "_read", counting)

    async def scenario(reactor: Any) -> None:
        session = Session(reactor, kit, Recorder(), Recorder())
        raw, client = await raw_client(reactor, session)
        await eventually(reactor, lambda: session.far.made)
        session.far.transport.pauseProducing()
        for number in range(400):
            client.send(b"%d" % (number % 10))
        session.far.transport.resumeProducing()
        await eventually(reactor, lambda: len(session.far.data) == 400)
        assert session.far.data == b"0123456789" * 40
        assert reads < 60
        raw.close()
        await eventually(reactor, lambda: session.far.reason)
        await closing(session.port)

    run(scenario)


def test_writes_of_one_turn_share_a_record(kit: Kit) -> None:
    def answer(self: Recorder, data: bytes) -> None:
        for _ in range(100):
            self.transport.write(b"0123456789")

    async def scenario(reactor: Any) -> None:
        session = Session(reactor, kit, Recorder(), Recorder(on_data=answer))
        raw, client = await raw_client(reactor, session)
        client.send(b"x")
        got: list[bytes] = []

        def read() -> bool:
            try:
                got.append(client.recv(16384))
            except SSL.WantReadError:
                return False
            return True

        await eventually(reactor, read)
        assert got == [b"0123456789" * 100]
        raw.close()
        await eventually(reactor, lambda: session.far.reason)
        await closing(session.port)

    run(scenario)


def test_half_close(kit: Kit) -> None:
    async def scenario(reactor: Any) -> None:
        session = Session(reactor, kit, Recorder(), HalfRecorder())
        raw, client = await raw_client(reactor, session)
        client.send(b"question")
        client.shutdown()
        await eventually(reactor, lambda: session.far.calls == ["read lost"])
        assert session.far.data == b"question"
        session.far.transport.write(b"answer")
        session.far.transport.loseWriteConnection()
        got: list[bytes] = []

        def read() -> bool:
            with contextlib.suppress(SSL.WantReadError):
                got.append(client.recv(100))
            return bool(got)

        await eventually(reactor, read)
        await eventually(reactor, lambda: ended(client))
        assert got == [b"answer"] and session.far.calls == ["read lost", "write lost"]
        assert session.far.reason is None
        session.far.transport.loseConnection()
        await eventually(reactor, lambda: session.far.reason)
        assert session.far.lost == "ConnectionDone"
        raw.close()
        await closing(session.port)

    run(scenario)


def test_a_peer_that_does_not_close_is_not_waited_for(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sslsocket, "CLOSE_WAIT_S", 0.1)

    async def scenario(reactor: Any) -> None:
        far = Recorder(on_data=lambda self, data: self.transport.loseConnection())
        session = Session(reactor, kit, Recorder(), far)
        raw, client = await raw_client(reactor, session)
        client.send(b"x")
        await eventually(reactor, lambda: far.reason)
        assert far.lost == "ConnectionDone" and ended(client)
        raw.close()
        await closing(session.port)

    run(scenario)


def test_abort_while_waiting_for_the_peer(kit: Kit) -> None:
    async def scenario(reactor: Any) -> None:
        session = Session(reactor, kit, Recorder(), Recorder())
        raw, client = await raw_client(reactor, session)
        await eventually(reactor, lambda: session.far.made)
        session.far.transport.loseConnection()
        await eventually(reactor, lambda: ended(client))
        session.far.transport.write(b"late")
        session.far.transport.loseConnection()
        assert session.far.reason is None
        session.far.transport.abortConnection()
        await eventually(reactor, lambda: session.far.reason)
        assert session.far.lost == "ConnectionAborted"
        raw.close()
        await closing(session.port)

    run(scenario)


def test_what_a_system_call_said_of_one_connection_is_not_kept(kit: Kit) -> None:
    async def scenario(reactor: Any) -> None:
        session = Session(reactor, kit, Recorder(), Recorder())
        raw, _ = await raw_client(reactor, session)
        await eventually(reactor, lambda: session.far.made)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raw.close()
        assert session.far.transport._close_notify()
        assert SSL._lib.ERR_peek_error() == 0
        session.far.transport.loseConnection()
        await eventually(reactor, lambda: session.far.reason)
        await closing(session.port)

    run(scenario)
