"""What our transport does beyond Twisted's: draining, deadlines, buffers; over socket pairs and a
Clock.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IConsumer, IPushProducer, ITCPTransport
from zope.interface.verify import verifyObject

from lbproxy.net.endstate import lost
from lbproxy.net.outbuffer import GATHER_BYTES
from lbproxy.net.poller import OUT, Poller
from lbproxy.net.sender import CLOSE_GRACE_S, HIGH_WATER_BYTES
from lbproxy.net.transport import FastTransport
from lbproxy.net.watchedsocket import twisted_address
from tests.net.test_poller import Reactor
from tests.net.wire import HalfRecorder, Recorder


class Rig:
    """A transport on one end of a socket pair, the test on the other.

    The pair of its own holds 128 KiB, whatever the system's default is: tests fill it.
    """

    def __init__(
        self,
        protocol: Recorder | None = None,
        pair: tuple[socket.socket, socket.socket] | None = None,
    ) -> None:
        self.reactor = Reactor()
        self.poller = Poller(self.reactor)
        ours, self.peer = pair or socket.socketpair()
        if pair is None:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)  # the kernel doubles it
        ours.setblocking(False)
        self.peer.setblocking(False)
        self.protocol = protocol or Recorder()
        self.transport = FastTransport(self.poller, ours)
        self.transport.protocol = self.protocol
        self.transport.start()
        self.protocol.makeConnection(self.transport)

    def turn(self, times: int = 1) -> None:
        for _ in range(times):
            if self.poller.fileno() >= 0:
                self.poller.doRead()
            self.reactor.advance(0)

    def turn_until(self, done: Callable[[], object]) -> None:
        """At most a minute: the kernel delivers over loopback in its own time."""
        deadline = time.monotonic() + 60
        while not done():
            assert time.monotonic() < deadline
            self.turn()

    def fill(self) -> None:
        """Write until something stays in the buffer."""
        while not self.transport.buffered_bytes:
            self.transport.write(b"f" * 60_000)

    def read_all(self) -> bytes:
        parts = []
        while True:
            try:
                part = self.peer.recv(1 << 20)
            except BlockingIOError:
                return b"".join(parts)
            if not part:
                return b"".join(parts)
            parts.append(part)
            self.turn()


@pytest.fixture
def rig() -> Any:
    made = Rig()
    yield made
    made.poller.close()
    made.peer.close()


def test_provides_what_it_says(rig: Rig) -> None:
    for interface in (ITCPTransport, IConsumer, IPushProducer):
        assert verifyObject(interface, rig.transport)
    assert not hasattr(rig.transport, "__dict__"), "small while idle"
    assert rig.transport._pending is None


def test_write_sends_at_once_and_keeps_the_rest(rig: Rig) -> None:
    rig.transport.write(b"now")
    assert rig.peer.recv(10) == b"now" and not rig.transport._mask & OUT
    rig.fill()
    buffered = rig.transport.buffered_bytes
    assert rig.transport._mask & OUT
    rig.transport.write(b"tail")
    assert rig.transport.buffered_bytes == buffered + 4
    assert rig.read_all().endswith(b"ftail")
    rig.turn(3)
    assert rig.transport.buffered_bytes == 0 and rig.transport._pending is None
    assert not rig.transport._mask & OUT, "no longer watched for writing"


def test_buffered_data_is_not_changed_by_its_owner(rig: Rig) -> None:
    rig.fill()
    mine = bytearray(b"a" * 5000)
    rig.transport.write(mine)
    mine[:] = b"b" * 5000
    assert b"b" not in rig.read_all()


def test_small_writes_share_a_buffer(rig: Rig) -> None:
    rig.fill()
    for _ in range(10_000):
        rig.transport.write(b"x")
    assert rig.transport._pending is not None and len(rig.transport._pending) < 10
    assert rig.read_all().endswith(b"x" * 10_000)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 3 * GATHER_BYTES // 2), min_size=1, max_size=10), st.data())
def test_taken_removes_exactly_what_was_sent(sizes: list[int], data: st.DataObject) -> None:
    rig = Rig()
    try:
        transport = rig.transport
        transport._pending = pending = deque()
        whole = b""
        for number, size in enumerate(sizes):
            chunk = bytes([number % 256]) * size
            whole += chunk
            transport._append(chunk)
        while whole:
            assert transport.buffered_bytes == len(whole)
            sent = data.draw(st.integers(1, len(whole)))
            transport._taken(pending, sent)
            whole = whole[sent:]
            assert b"".join(bytes(part) for part in pending) == whole
    finally:
        rig.poller.close()
        rig.peer.close()


def test_a_close_the_peer_does_not_take_ends_in_a_reset(rig: Rig) -> None:
    rig.fill()
    rig.transport.loseConnection()
    rig.turn()
    rig.reactor.advance(CLOSE_GRACE_S - 1)
    rig.turn()
    assert not rig.protocol.lost
    rig.reactor.pump([1.0, 0.1, 0])
    rig.turn()
    assert rig.protocol.lost == "ConnectionAborted"


def test_progress_prolongs_the_grace(rig: Rig) -> None:
    rig.transport.write(b"x" * 2_000_000)
    rig.transport.loseConnection()
    for _ in range(3):
        rig.reactor.advance(CLOSE_GRACE_S - 1)
        with contextlib.suppress(BlockingIOError):
            for _ in range(8):
                rig.peer.recv(1 << 16)
        rig.turn()
        assert not rig.protocol.lost
    rig.read_all()
    rig.turn(2)
    assert rig.protocol.lost == "ConnectionDone"
    assert not rig.reactor.readers


def test_answer_before_a_reset_is_delivered(rig: Rig) -> None:
    """A server that answers early and closes: our write fails, its answer still counts."""
    rig.peer.send(b"413 too large")
    rig.peer.close()
    rig.transport.write(b"more body")
    rig.transport.write(b"more body")
    assert not rig.protocol.lost and not rig.protocol.data
    rig.reactor.advance(0)
    assert (bytes(rig.protocol.data), rig.protocol.lost) == (b"413 too large", "ConnectionLost")
    assert isinstance(rig.protocol.reason.value.__cause__, OSError)


def test_a_paused_dead_peer_does_not_spin(rig: Rig) -> None:
    rig.transport.pauseProducing()
    rig.peer.send(b"last words")
    rig.peer.close()
    rig.turn(2)
    assert rig.poller._epoll.poll(0) == [], "a hang-up nobody can act on is not watched"
    assert not rig.protocol.lost
    rig.transport.resumeProducing()
    rig.turn()
    assert (bytes(rig.protocol.data), rig.protocol.lost) == (b"last words", "ConnectionDone")


def test_pausing_is_lazy_and_exact(rig: Rig) -> None:
    rig.transport.pauseProducing()
    rig.transport.resumeProducing()
    rig.transport.pauseProducing()
    rig.peer.send(b"a")
    rig.turn(2)
    assert not rig.protocol.data and rig.poller._epoll.poll(0) == []
    rig.transport.resumeProducing()
    rig.turn()
    assert rig.protocol.data == b"a"


def test_both_ways_closed_is_not_watched() -> None:
    rig = Rig(HalfRecorder())
    rig.transport.loseWriteConnection()
    rig.turn()
    rig.peer.shutdown(socket.SHUT_WR)
    rig.turn(2)
    assert rig.protocol.calls == ["write lost", "read lost"]
    assert rig.poller._epoll.poll(0) == []
    rig.transport.loseConnection()
    rig.turn()
    assert rig.protocol.lost == "ConnectionDone"
    rig.peer.close()
    rig.poller.close()


def test_a_unix_peer_that_closed_after_its_fin_is_gone_in_good_order() -> None:
    """The kernel reports a hang-up for it; over TCP it would be the FIN alone."""
    rig = Rig(HalfRecorder())
    rig.peer.shutdown(socket.SHUT_WR)
    rig.turn()
    assert rig.protocol.calls == ["read lost"]
    rig.peer.close()
    rig.turn(2)
    assert rig.protocol.lost == "ConnectionDone"
    rig.poller.close()


def test_reset_after_the_peers_fin_is_noticed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        pair = socket.create_connection(listener.getsockname()), listener.accept()[0]
    rig = Rig(HalfRecorder(), pair)
    rig.peer.shutdown(socket.SHUT_WR)
    rig.turn_until(lambda: rig.protocol.calls)
    assert rig.protocol.calls == ["read lost"]
    rig.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    rig.peer.close()
    rig.turn_until(lambda: rig.protocol.lost)
    assert rig.protocol.lost == "ConnectionLost"
    rig.poller.close()


def test_producer_is_paused_above_the_mark_only(rig: Rig) -> None:
    calls: list[str] = []

    class Producer:
        def pauseProducing(self) -> None:
            calls.append("pause")

        def resumeProducing(self) -> None:
            calls.append("resume")

        def stopProducing(self) -> None:
            calls.append("stop")

    rig.fill()
    rig.read_all()
    rig.turn(3)
    rig.transport.registerProducer(Producer(), True)
    while rig.transport.buffered_bytes <= HIGH_WATER_BYTES:
        assert not calls
        rig.transport.write(b"x" * 1000)
    rig.transport.write(b"x")
    assert calls == ["pause"]
    rig.read_all()
    rig.turn(3)
    assert calls == ["pause", "resume"]
    rig.transport.abortConnection()
    rig.turn()
    rig.reactor.advance(0)
    assert calls == ["pause", "resume", "stop"] and rig.protocol.lost == "ConnectionAborted"


def test_a_failing_protocol_is_told_and_closed(rig: Rig) -> None:
    def explode(self: Recorder, data: bytes) -> None:
        raise KeyError("x")

    rig.protocol.on_data = explode
    rig.peer.send(b"x")
    rig.turn()
    assert rig.protocol.lost == "KeyError"
    assert rig.peer.recv(1) == b""


def test_reactor_stop_loses_the_connection(rig: Rig) -> None:
    rig.poller.connectionLost(None)  # type: ignore[arg-type]
    assert rig.protocol.lost == "ConnectionLost"


def test_addresses() -> None:
    mapped = twisted_address(socket.AF_INET6, ("::ffff:192.0.2.1", 80, 0, 0))
    assert (type(mapped).__name__, mapped.host, mapped.port) == ("IPv4Address", "192.0.2.1", 80)
    assert twisted_address(socket.AF_INET6, ("2001:db8::1", 80, 0, 0)).host == "2001:db8::1"
    assert twisted_address(socket.AF_UNIX, "").name is None
    assert isinstance(lost(OSError(104, "")).value, ConnectionLost)


class Offering:
    """A streaming producer that offers what is left of ``data`` whenever it may."""

    def __init__(self, transport: FastTransport, data: bytes) -> None:
        self.transport = transport
        self.left = memoryview(data)
        self.calls: list[str] = []
        transport.registerProducer(self, True)

    def go(self) -> None:
        taken = self.transport.offer(self.left[:100_000])
        while taken:
            self.left = self.left[taken:]
            taken = self.transport.offer(self.left[:100_000]) if self.left else 0

    def pauseProducing(self) -> None:
        self.calls.append("pause")

    def resumeProducing(self) -> None:
        self.calls.append("resume")
        self.go()

    def stopProducing(self) -> None:
        self.calls.append("stop")


def test_what_is_offered_is_sent_and_never_kept(rig: Rig) -> None:
    data = bytes(range(256)) * 10_000
    producer = Offering(rig.transport, data)
    rig.transport.write(b"head ")
    producer.go()
    assert producer.calls == ["pause"] and producer.left, "the socket is full"
    assert not rig.transport._pending, "nothing is kept"
    assert rig.transport.buffered_bytes, "but the peer is slow"
    assert rig.transport.offer(b"x") == 0
    found = b""
    while len(found) < 5 + len(data):
        found += rig.read_all()
        rig.turn()
    assert found == b"head " + data
    assert producer.calls[:2] == ["pause", "resume"]
    rig.turn(2)
    assert rig.transport._pending is None and not rig.transport.buffered_bytes


def test_an_offer_waits_for_what_was_written_before(rig: Rig) -> None:
    rig.fill()
    producer = Offering(rig.transport, b"after")
    producer.go()
    assert producer.calls == ["pause"]
    found = rig.read_all()
    rig.turn(3)
    assert (found + rig.read_all()).endswith(b"fafter")


def test_what_is_written_after_an_offer_follows_it(rig: Rig) -> None:
    producer = Offering(rig.transport, b"o" * 10_000_000)
    producer.go()
    offered = 10_000_000 - len(producer.left)
    producer.left = producer.left[:0]
    rig.transport.write(b"written")
    found = b""
    while len(found) < offered + 7:
        found += rig.read_all()
        rig.turn()
    assert found == b"o" * offered + b"written"


def test_a_close_after_an_offer_that_was_not_taken(rig: Rig) -> None:
    producer = Offering(rig.transport, b"o" * 10_000_000)
    producer.go()
    offered = 10_000_000 - len(producer.left)
    rig.transport.unregisterProducer()
    rig.transport.loseConnection()
    found = rig.read_all()
    rig.turn(3)
    assert found == b"o" * offered
    assert rig.protocol.lost == "ConnectionDone" and producer.calls == ["pause"]


def test_an_offer_to_a_peer_that_is_gone(rig: Rig) -> None:
    producer = Offering(rig.transport, b"o" * 10_000_000)
    producer.go()
    rig.peer.close()
    rig.turn(5)
    assert rig.protocol.lost and producer.calls[-1] == "stop"
    assert rig.transport.offer(b"late") == 0


@settings(max_examples=30, deadline=None)
@given(st.lists(st.binary(max_size=400_000), max_size=6), st.booleans())
def test_a_sequence_arrives_as_if_it_were_joined(parts: list[bytes], full: bool) -> None:
    rig = Rig()
    try:
        if full:
            rig.fill()
        rig.transport.writeSequence(iter(parts))
        rig.transport.write(b"!")
        found = b""
        while not found.endswith(b"!"):
            found += rig.read_all()
            rig.turn()
        assert found.lstrip(b"f") == (b"".join(parts) + b"!").lstrip(b"f")
    finally:
        rig.poller.close()
        rig.peer.close()


def test_a_long_sequence_arrives(rig: Rig) -> None:
    rig.transport.writeSequence([b"%d," % number for number in range(500)])
    rig.turn(3)
    assert rig.read_all() == b"".join(b"%d," % number for number in range(500))
