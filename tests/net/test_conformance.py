"""The same scripts on both networks, over real loopback sockets: what a protocol sees is
the same.
"""

from __future__ import annotations

import hashlib
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lbproxy.config.model import Address
from lbproxy.errors import Kind, ListenError
from tests.net.wire import LOOPBACK, NETWORKS, HalfRecorder, Once, Pair, Recorder, closing
from tests.support.reactor import eventually, run, sleep

pytestmark = pytest.mark.live


@pytest.fixture(params=sorted(NETWORKS))
def make(request: pytest.FixtureRequest) -> Callable[[Any], Any]:
    return NETWORKS[request.param]


def pattern(size: int) -> bytes:
    block = hashlib.sha256(b"pattern").digest()
    return (block * (size // len(block) + 1))[:size]


def digest(data: bytes | bytearray) -> str:
    return hashlib.sha256(data).hexdigest()


def test_bytes_arrive_in_order(make: Any) -> None:
    async def scenario(reactor: Any) -> None:
        pair = await Pair(reactor, make(reactor), Recorder(), Recorder()).open()
        for number in range(500):
            pair.near.transport.write(b"%d;" % number)
        pair.near.transport.writeSequence([b"a", b"", b"b"])
        pair.near.transport.write(b"")
        expected = b"".join(b"%d;" % number for number in range(500)) + b"ab"
        await eventually(reactor, lambda: len(pair.far.data) == len(expected))
        assert pair.far.data == expected
        pair.near.transport.loseConnection()
        await pair.closed()
        assert pair.near.lost == pair.far.lost == "ConnectionDone"

    run(scenario)


def test_preamble_comes_first(make: Any) -> None:
    async def scenario(reactor: Any) -> None:
        near = Recorder(on_made=lambda self: self.transport.write(b"hello"))
        pair = await Pair(reactor, make(reactor), near, Recorder()).open(preamble=b"PROXY ")
        await eventually(reactor, lambda: len(pair.far.data) == 11)
        assert pair.far.data == b"PROXY hello"
        pair.far.transport.loseConnection()
        await pair.closed()

    run(scenario)


def test_addresses(make: Any) -> None:
    async def scenario(reactor: Any) -> None:
        pair = await Pair(reactor, make(reactor), Recorder(), Recorder()).open()
        near, far = pair.near.transport, pair.far.transport
        assert near.getPeer() == far.getHost()
        assert near.getHost() == far.getPeer()
        assert near.getPeer().port == pair.port.address.port
        for transport in (near, far):
            assert transport.getTcpNoDelay() and transport.getTcpKeepAlive()
        near.setTcpNoDelay(False)
        assert not near.getTcpNoDelay()
        near.loseConnection()
        await pair.closed()

    run(scenario)


@pytest.mark.parametrize("size", [1_000_000, 10_000_000])
def test_close_while_writing_loses_nothing(make: Any, size: int) -> None:
    async def scenario(reactor: Any) -> None:
        pair = await Pair(reactor, make(reactor), Recorder(), Recorder()).open()
        data = pattern(size)
        pair.near.transport.write(data)
        pair.near.transport.loseConnection()
        assert pair.near.reason is None, "told from within the call"
        await pair.closed()
        assert digest(pair.far.data) == digest(data)
        assert pair.near.lost == pair.far.lost == "ConnectionDone"

    run(scenario)


def test_echo_of_much_data_both_ways(make: Any) -> None:
    async def scenario(reactor: Any) -> None:
        far = Recorder(on_data=lambda self, data: self.transport.write(data))
        pair = await Pair(reactor, make(reactor), Recorder(), far).open()
        data = pattern(5_000_000)
        for start in range(0, len(data), 100_000):
            pair.near.transport.write(data[start : start + 100_000])
        await eventually(reactor, lambda: len(pair.near.data) == len(data))
        assert digest(pair.near.data) == digest(data)
        pair.near.transport.loseConnection()
        await pair.closed()

    run(scenario)


def test_write_after_the_end_is_ignored(make: Any) -> None:
    async def scenario(reactor: Any) -> None:
        pair = await Pair(reactor, make(reactor), Recorder(), Recorder()).open()
        transport = pair.near.transport
        transport.loseConnection()
        transport.loseConnection()
        await pair.closed()
        transport.write(b"late")
        transport.writeSequence([b"late"])
        transport.loseConnection()
        transport.abortConnection()
        transport.pauseProducing()
        transport.resumeProducing()
        await sleep(reactor)
        assert pair.far.data == b""

    run(scenario)


# -- half-close ------------------------------------------------------------------------------


def test_half_close_each_way(make: Any) -> None:
    async def scenario(reactor: Any) -> None:
        pair = await Pair(reactor, make(reactor), HalfRecorder(), HalfRecorder()).open()
        near, far = pair.near, pair.far
        data = pattern(2_000_000)
        near.transport.write(data)
        near.transport.loseWriteConnection()
        await eventually(reactor, lambda: far.calls)
        assert digest(far.data) == digest(data), "everything before the FIN"
        assert near.calls == ["write lost"] and far.calls == ["read lost"]
        near.transport.write(b"dropped")
        far.transport.write(data)
        far.transport.loseWriteConnection()
        await eventually(reactor, lambda: len(near.calls) == 2)
        assert digest(near.data) == digest(data)
        assert (near.calls, far.calls) == (
            ["write lost", "read lost"],
            ["read lost", "write lost"],
        )
        await sleep(reactor, 0.02)
        assert near.reason is None and far.reason is None, "closing is the protocol's to do"
        near.transport.loseConnection()
        far.transport.loseConnection()
        await pair.closed()
        assert near.lost == far.lost == "ConnectionDone"

    run(scenario)


def test_fin_ends_a_protocol_without_half_close(make: Any) -> None:
    async def scenario(reactor: Any) -> None:
        pair = await Pair(reactor, make(reactor), HalfRecorder(), Recorder()).open()
        pair.near.transport.write(b"bye")
        pair.near.transport.loseWriteConnection()
        await eventually(reactor, lambda: pair.far.reason)
        assert (bytes(pair.far.data), pair.far.lost) == (b"bye", "ConnectionDone")
        await eventually(reactor, lambda: "read lost" in pair.near.calls)
        pair.near.transport.loseConnection()
        await pair.closed()

    run(scenario)


# -- back-pressure ---------------------------------------------------------------------------


class Push:
    """A push producer that writes until it is paused."""

    def __init__(self, transport: Any, total: int) -> None:
        self.transport = transport
        self.left = total
        self.paused = False
        self.pauses = 0
        self.stopped = False

    def run(self) -> None:
        while self.left and not self.paused and not self.stopped:
            size = min(self.left, 32768)
            self.left -= size
            self.transport.write(b"p" * size)
        if not self.left and not self.stopped:
            self.stopped = True
            self.transport.unregisterProducer()

    def pauseProducing(self) -> None:
        self.paused = True
        self.pauses += 1

    def resumeProducing(self) -> None:
        self.paused = False
        self.transport.reactor.callLater(0, self.run)

    def stopProducing(self) -> None:
        self.stopped = True


class Pull:
    """A pull producer: one chunk per request."""

    def __init__(self, transport: Any, chunks: int) -> None:
        self.transport = transport
        self.left = chunks
        self.stopped = False

    def resumeProducing(self) -> None:
        self.left -= 1
        self.transport.write(b"q" * 10_000)
        if not self.left:
            self.transport.unregisterProducer()

    def stopProducing(self) -> None:
        self.stopped = True


def test_push_producer_is_paused_and_resumed(make: Any) -> None:
    async def scenario(reactor: Any) -> None:
        pair = await Pair(reactor, make(reactor), Recorder(), Recorder()).open()
        pair.far.transport.pauseProducing()
        producer = Push(pair.near.transport, 20_000_000)
        pair.near.transport.registerProducer(producer, True)
        with pytest.raises(RuntimeError):
            pair.near.transport.registerProducer(producer, True)
        producer.run()
        await eventually(reactor, lambda: producer.paused)
        await sleep(reactor, 0.05)
        left = producer.left
        await sleep(reactor, 0.05)
        assert producer.left == left > 0, "nobody reads, so nothing more is produced"
        assert pair.far.data == b""
        pair.far.transport.resumeProducing()
        await eventually(reactor, lambda: len(pair.far.data) == 20_000_000)
        assert producer.pauses > 1
        pair.near.transport.loseConnection()
        await pair.closed()

    run(scenario)


def test_pull_producer_is_asked_until_it_ends(make: Any) -> None:
    async def scenario(reactor: Any) -> None:
        pair = await Pair(reactor, make(reactor), Recorder(), Recorder()).open()
        producer = Pull(pair.near.transport, 300)
        pair.near.transport.registerProducer(producer, False)
        assert producer.left > 200, "asked for one chunk at a time"
        pair.near.transport.loseConnection()
        await pair.closed()
        assert len(pair.far.data) == 3_000_000, "the close waits for the producer"
        assert pair.near.lost == "ConnectionDone" and not producer.stopped

    run(scenario)


def test_producer_is_stopped_with_the_connection(make: Any) -> None:
    async def scenario(reactor: Any) -> None:
        pair = await Pair(reactor, make(reactor), Recorder(), Recorder()).open()
        first, second = Push(pair.near.transport, 1), Push(pair.near.transport, 1)
        pair.near.transport.registerProducer(first, True)
        pair.near.transport.loseConnection()
        await pair.closed()
        assert first.stopped
        pair.near.transport.registerProducer(second, True)
        assert second.stopped, "a producer of a dead transport is stopped at once"

    run(scenario)


# -- violent ends ----------------------------------------------------------------------------


def test_abort(make: Any) -> None:
    async def scenario(reactor: Any) -> None:
        pair = await Pair(reactor, make(reactor), Recorder(), Recorder()).open()
        pair.far.transport.pauseProducing()
        pair.near.transport.write(pattern(8_000_000))
        pair.near.transport.abortConnection()
        assert pair.near.reason is None
        await eventually(reactor, lambda: pair.near.reason)
        pair.far.transport.resumeProducing()
        await pair.closed()
        assert (pair.near.lost, pair.far.lost) == ("ConnectionAborted", "ConnectionLost")

    run(scenario)


def test_data_before_a_hang_up_is_delivered(make: Any) -> None:
    async def scenario(reactor: Any) -> None:
        network = make(reactor)
        far = Recorder()
        port = network.binder.listen(LOOPBACK, Once(far))
        with socket.create_connection(("127.0.0.1", port.address.port)) as client:
            await eventually(reactor, lambda: far.made)
            far.transport.pauseProducing()
            client.sendall(pattern(200_000))
        await sleep(reactor, 0.05)
        assert far.reason is None
        far.transport.resumeProducing()
        await eventually(reactor, lambda: far.reason)
        assert (len(far.data), far.lost) == (200_000, "ConnectionDone")
        await closing(port)

    run(scenario)


def test_peer_reset(make: Any) -> None:
    async def scenario(reactor: Any) -> None:
        far = Recorder()
        port = make(reactor).binder.listen(LOOPBACK, Once(far))
        client = socket.create_connection(("127.0.0.1", port.address.port))
        await eventually(reactor, lambda: far.made)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        await eventually(reactor, lambda: far.reason)
        assert far.lost == "ConnectionLost"
        await closing(port)

    run(scenario)


def test_a_failing_write_is_told_later(make: Any) -> None:
    async def scenario(reactor: Any) -> None:
        far = Recorder()
        port = make(reactor).binder.listen(LOOPBACK, Once(far))
        client = socket.create_connection(("127.0.0.1", port.address.port))
        await eventually(reactor, lambda: far.made)
        far.transport.pauseProducing()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        for _ in range(3):
            far.transport.write(b"x" * 100)
            assert far.reason is None, "told from within write"
        await eventually(reactor, lambda: far.reason)
        assert far.lost == "ConnectionLost"
        await closing(port)

    run(scenario)


def test_a_protocol_that_raises_loses_its_connection_only(make: Any) -> None:
    def explode(self: Recorder, data: bytes) -> None:
        raise ZeroDivisionError

    async def scenario(reactor: Any) -> None:
        network = make(reactor)
        bad, good = Recorder(on_data=explode), Recorder()
        port = network.binder.listen(LOOPBACK, Once(bad, good))
        target = ("127.0.0.1", port.address.port)
        with socket.create_connection(target) as one, socket.create_connection(target) as two:
            one.sendall(b"x")
            two.sendall(b"y")
            await eventually(reactor, lambda: bad.reason and good.data)
            assert bad.lost == "ZeroDivisionError" and good.reason is None
        await eventually(reactor, lambda: good.reason)
        await closing(port)

    run(scenario)


# -- listening and dialling ------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def test_refused(make: Any) -> None:
    async def scenario(reactor: Any) -> None:
        failures: list[Any] = []
        address = Address("tcp", "127.0.0.1", free_port())
        make(reactor).dialler.dial(address, Recorder(), failures.append, timeout=5)
        assert not failures, "told from within dial"
        await eventually(reactor, lambda: failures)
        assert failures[0].kind is Kind.CONNECT_FAILED
        assert str(address) in failures[0].detail and "refused" in failures[0].detail

    run(scenario)


@pytest.mark.parametrize(
    "address", [Address("tcp", "127.0.0.1", 99999), Address("unix", path="/x" * 200)]
)
def test_impossible_address(make: Any, address: Address) -> None:
    async def scenario(reactor: Any) -> None:
        failures: list[Any] = []
        network = make(reactor)
        network.dialler.dial(address, Recorder(), failures.append, timeout=5)
        assert not failures
        await eventually(reactor, lambda: failures)
        assert failures[0].kind is Kind.CONNECT_FAILED
        if address.kind == "unix":
            with pytest.raises(ListenError, match="cannot listen on"):
                network.binder.listen(address, Once())

    run(scenario)


def test_connect_timeout_and_cancel(make: Any) -> None:
    async def scenario(reactor: Any) -> None:
        with socket.socket() as full:
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            address = Address("tcp", "127.0.0.1", full.getsockname()[1])
            fillers = [socket.socket() for _ in range(3)]
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(("127.0.0.1", address.port))
            await sleep(reactor, 0.02)
            failures: list[Any] = []
            network = make(reactor)
            network.dialler.dial(address, Recorder(), failures.append, timeout=0.2)
            cancelled: list[Any] = []
            dial = network.dialler.dial(address, Recorder(), cancelled.append, timeout=0.1)
            dial.cancel()
            dial.cancel()
            await eventually(reactor, lambda: failures)
            assert failures[0].kind is Kind.CONNECT_TIMEOUT and not cancelled
            for filler in fillers:
                filler.close()

    run(scenario)


def test_cancel_before_it_is_connected(make: Any) -> None:
    async def scenario(reactor: Any) -> None:
        network = make(reactor)
        near, far = Recorder(), Recorder()
        port = network.binder.listen(LOOPBACK, Once(far))
        failures: list[Any] = []
        network.dialler.dial(port.address, near, failures.append, timeout=5).cancel()
        await sleep(reactor, 0.05)
        assert not near.made and not failures
        assert not far.made or far.reason
        await closing(port)

    run(scenario)


def test_port_in_use_and_factory_life(make: Any) -> None:
    async def scenario(reactor: Any) -> None:
        network = make(reactor)
        factory = Once()
        port = network.binder.listen(LOOPBACK, factory)
        assert factory.started == 1
        with pytest.raises(ListenError, match=r"cannot listen on 127.0.0.1:.*in use"):
            network.binder.listen(port.address, Once())
        with socket.create_connection(("127.0.0.1", port.address.port)) as refused:
            refused.setblocking(False)
            await eventually(reactor, lambda: closed_by_peer(refused))
        await closing(port)
        await closing(port)
        assert factory.started == 0
        again = network.binder.listen(port.address, factory)
        await closing(again)

    run(scenario)


def closed_by_peer(sock: socket.socket) -> bool:
    try:
        return sock.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def test_shared_port(make: Any) -> None:
    async def scenario(reactor: Any) -> None:
        network = make(reactor)
        one = network.binder.listen(LOOPBACK, Once(), reuse_port=True)
        two = network.binder.listen(one.address, Once(), reuse_port=True)
        assert one.address == two.address
        await closing(one)
        await closing(two)

    run(scenario)


def test_dual_stack(make: Any) -> None:
    async def scenario(reactor: Any) -> None:
        network = make(reactor)
        four, six = Recorder(), Recorder()
        port = network.binder.listen(Address("tcp", "::", 0), Once(four, six))
        with socket.create_connection(("127.0.0.1", port.address.port)):
            await eventually(reactor, lambda: four.made)
            with socket.create_connection(("::1", port.address.port)):
                await eventually(reactor, lambda: six.made)
                assert four.transport.getPeer().host.endswith("127.0.0.1")
                assert six.transport.getPeer().host == "::1"
        await eventually(reactor, lambda: four.reason and six.reason)
        await closing(port)

    run(scenario)


def test_unix_socket(make: Any, tmp_path: Path) -> None:
    async def scenario(reactor: Any) -> None:
        network = make(reactor)
        address = Address("unix", path=str(tmp_path / "s"))
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(address.path)
        near = Recorder()
        far = Recorder(on_data=lambda self, data: self.transport.write(data.upper()))
        port = network.binder.listen(address, Once(far), mode=0o600)
        assert os.stat(address.path).st_mode & 0o777 == 0o600
        with pytest.raises(ListenError):
            network.binder.listen(address, Once())
        failures: list[Any] = []
        network.dialler.dial(address, near, failures.append, timeout=5, preamble=b"abc")
        await eventually(reactor, lambda: near.data or failures)
        assert near.data == b"ABC"
        near.transport.loseConnection()
        await eventually(reactor, lambda: near.reason and far.reason)
        await closing(port)
        await eventually(reactor, lambda: not os.path.exists(address.path))

    run(scenario)
