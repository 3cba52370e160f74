"""Bulk through the kernel: every byte, in order, whatever happens meanwhile; over real sockets and
a Clock.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import random
import socket
import struct
import time
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol
from zope.interface import implementer

from lbproxy.net import pipes, relay
from lbproxy.net.halfclose import ending
from lbproxy.net.pipes import KEPT, PIPE_BYTES, SHORTAGE_S, SWEEP_S, PipePool
from lbproxy.net.poller import Poller
from lbproxy.net.relay import BULK_BYTES, LARGE_BYTES, SMALL_READS, splice_to
from lbproxy.net.transport import FastTransport
from tests.net.test_poller import Reactor
from tests.support.descriptors import descriptors, settled_descriptors

pytestmark = pytest.mark.skipif(pipes.splice is None, reason="no os.splice here")

PATIENCE_S = 10.0  # for the kernel: TCP's own timers run in real time
NOISE = random.Random(7).randbytes(1 << 20)
MEGABYTE = 1 << 20


@implementer(IHalfCloseableProtocol)
class Side(Protocol):
    """One side of a session that passes on what it gets, as a TCP session does."""

    other: Side
    transport: Any

    def __init__(self) -> None:
        self.moved = self.copied = self.progress = 0
        self.switched: list[bool] = []
        self.lost = ""

    def dataReceived(self, data: bytes) -> None:
        assert not self.lost
        self.copied += len(data)
        self.moved += len(data)
        self.other.transport.write(data)

    def bulk_flow(self) -> None:
        self.switched.append(splice_to(self.transport, self.other.transport, self.count))

    def count(self, size: int) -> None:
        assert not self.lost
        self.moved += size
        self.progress += not size

    def readConnectionLost(self) -> None:
        other = self.other
        if ending(self.transport._half) and not other.lost:  # both directions have ended
            for side in (self, other):
                side.transport.unregisterProducer()
                side.transport.loseConnection()
        else:
            other.transport.loseWriteConnection()

    def writeConnectionLost(self) -> None:
        pass

    def connectionLost(self, reason: Any = None) -> None:
        assert not self.lost, "lost twice"
        self.lost = reason.type.__name__
        if not self.other.lost:
            self.other.transport.unregisterProducer()
            if self.lost == "ConnectionDone":
                self.other.transport.loseConnection()
            else:
                self.other.transport.abortConnection()


class Peer:
    """A client or server: sends noise of its own, checks that what it gets is the other's noise."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.sent = self.got = 0
        self.eof = False
        self.error = 0

    def send(self, size: int) -> int:
        """Up to ``size`` bytes; how many were taken."""
        start = self.sent % len(NOISE)
        try:
            sent = self.sock.send(memoryview(NOISE)[start : start + size])
        except BlockingIOError:
            return 0
        except OSError as error:
            self.error = error.errno or -1
            return 0
        self.sent += sent
        return sent

    def receive(self, size: int) -> int:
        """Up to ``size`` bytes; how many there were."""
        try:
            data = self.sock.recv(size)
        except BlockingIOError:
            return 0
        except OSError as error:
            self.error = error.errno or -1
            return 0
        start = self.got % len(NOISE)
        expected = NOISE[start : start + len(data)]
        expected += NOISE[: len(data) - len(expected)]
        assert data == expected, f"changed after {self.got} bytes"
        self.got += len(data)
        self.eof = not data
        return len(data)

    def reset(self) -> None:
        if self.sock.family != socket.AF_UNIX:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()
        self.error = -1


def patiently() -> Iterator[None]:
    """Repeat for a while."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        yield


def connected(family: str, segment: int = 0) -> tuple[socket.socket, socket.socket]:
    if family == "unix":
        return socket.socketpair()
    with socket.create_server(("127.0.0.1", 0)) as port:
        if segment:
            port.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, segment)
        one = socket.create_connection(port.getsockname())
        two, _ = port.accept()
    for sock in (one, two):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return one, two


class Loop:
    """A poller that the test turns."""

    def __init__(self, most: int = 8) -> None:
        self.reactor = Reactor()
        self.poller = Poller(self.reactor)
        self.poller.pipes = self.pool = PipePool(self.poller.wheel, most)

    def turn(self, times: int = 1) -> None:
        for _ in range(times):
            if self.poller.fileno() >= 0:
                self.poller.doRead()
            self.reactor.advance(0)


class Rig:
    """client, its transport, the server's transport, server."""

    def __init__(self, loop: Loop, family: str = "tcp", buffers: int = 0) -> None:
        self.loop = loop
        segment = 1400 if buffers else 0  # loopback's own would not fit into small buffers
        near, ours = connected(family, segment)
        theirs, far = connected(family, segment)
        if buffers:
            for sock in (near, ours, theirs, far):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffers)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffers)
        self.client, self.server = Peer(near), Peer(far)
        self.a, self.b = Side(), Side()
        self.a.other, self.b.other = self.b, self.a
        for side, sock in ((self.a, ours), (self.b, theirs)):
            sock.setblocking(False)
            transport = FastTransport(loop.poller, sock)
            transport.protocol = side
            transport.start()
            side.makeConnection(transport)  # type: ignore[no-untyped-call]
        self.a.transport.registerProducer(self.b.transport, True)
        self.b.transport.registerProducer(self.a.transport, True)

    def upload(self, size: int, read: bool = True) -> None:
        """``size`` bytes from the client to the server, which reads them unless told not to."""
        end = self.client.sent + size
        while self.client.sent < end:
            stuck = not self.client.send(end - self.client.sent)
            self.loop.turn()
            if read:
                self.server.receive(MEGABYTE)
            elif stuck and self.settled():
                return
        if read:
            self.finish_reading(end)

    def settled(self) -> bool:
        """Nothing moves any more."""
        for _ in range(5):
            before = self.a.moved
            self.loop.turn(3)
            if self.a.moved != before or self.client.send(1 << 16):
                return False
        return True

    def finish_reading(self, end: int) -> None:
        for _ in patiently():
            if self.server.got >= end:
                return
            self.loop.turn()
            self.server.receive(MEGABYTE)
        raise AssertionError(f"{self.server.got} of {end} bytes")

    def until(self, condition: Any) -> None:
        for _ in patiently():
            if condition():
                return
            self.loop.turn()
        raise AssertionError("never came true")

    def jam(self) -> None:
        """Upload until the pipe holds something that the server does not take."""
        self.upload(BULK_BYTES * 2)
        self.upload(64 * MEGABYTE, read=False)
        assert self.a.transport._relay is not None and self.a.transport._relay.left

    def close(self) -> None:
        self.client.sock.close()
        self.server.sock.close()


@pytest.fixture
def loop() -> Any:
    before = settled_descriptors()
    made = Loop()
    yield made
    made.poller.close()
    assert descriptors() <= before, "descriptors leaked"  # fewer: what others left was collected
    assert len(made.pool) == 0


@pytest.fixture
def rig(loop: Loop) -> Any:
    made = Rig(loop)
    yield made
    made.close()


@pytest.mark.parametrize("family", ["tcp", "unix"])
def test_bulk_does_not_pass_through_the_process(loop: Loop, family: str) -> None:
    rig = Rig(loop, family)
    rig.upload(6 * MEGABYTE)
    assert rig.a.moved == rig.client.sent == rig.server.got == 6 * MEGABYTE
    assert rig.a.switched == [True] and rig.a.copied < 2 * BULK_BYTES
    assert rig.b.switched == [] and len(loop.pool) == 1
    rig.close()


def test_little_never_takes_a_pipe(rig: Rig, loop: Loop) -> None:
    for _ in range(500):
        rig.upload(LARGE_BYTES - 1)
        assert not rig.a.switched
    rig.upload(BULK_BYTES - LARGE_BYTES)
    assert not rig.a.switched and len(loop.pool) == 0


def test_idle_and_chatty_sessions_hold_no_pipe(rig: Rig, loop: Loop) -> None:
    rig.upload(MEGABYTE)
    assert len(loop.pool) == 1
    loop.reactor.pump([SWEEP_S] * 3)
    assert len(loop.pool) == 0 and rig.a.transport._relay is None
    assert loop.poller._handlers[rig.a.transport.fileno()] is rig.a.transport
    rig.upload(MEGABYTE)
    assert len(loop.pool) == 1
    for _ in range(SMALL_READS):
        rig.upload(100)
    assert len(loop.pool) == 0
    rig.upload(MEGABYTE)
    assert rig.a.switched == [True] * 3
    assert rig.a.moved == rig.server.got


def test_a_flow_in_use_keeps_its_pipe(rig: Rig, loop: Loop) -> None:
    rig.upload(MEGABYTE)
    for _ in range(5):
        loop.reactor.pump([SWEEP_S])
        rig.upload(LARGE_BYTES * 2)
    assert rig.a.switched == [True] and len(loop.pool) == 1


def test_what_is_not_taken_stops_the_reading(rig: Rig, loop: Loop) -> None:
    rig.jam()
    moved = rig.a.moved
    assert not rig.a.transport._reading
    loop.reactor.pump([SWEEP_S] * 10)
    assert len(loop.pool) == 1, "a pipe with something in it is kept"
    loop.turn(50)
    assert rig.a.moved == moved
    assert moved - rig.server.got < 32 * MEGABYTE
    rig.finish_reading(rig.client.sent)
    assert rig.a.moved == rig.client.sent and rig.a.progress


def test_one_pipe_full_a_turn(loop: Loop) -> None:
    one, two = Rig(loop), Rig(loop)
    for rig in (one, two):
        rig.upload(MEGABYTE)
    before = [one.a.moved, two.a.moved]
    for rig in (one, two):
        while rig.client.send(MEGABYTE):
            pass
    loop.turn()
    after = [one.a.moved, two.a.moved]
    assert all(0 < new - old <= PIPE_BYTES for old, new in zip(before, after, strict=True))
    for rig in (one, two):
        rig.finish_reading(rig.client.sent)
        rig.close()


def test_the_pipe_is_drained_before_the_fin(rig: Rig) -> None:
    rig.jam()
    rig.client.sock.shutdown(socket.SHUT_WR)
    rig.loop.turn(10)
    rig.finish_reading(rig.client.sent)
    rig.until(lambda: rig.server.receive(1) or rig.server.eof)
    assert rig.server.got == rig.client.sent == rig.a.moved
    rig.server.send(1000)
    rig.until(lambda: rig.client.receive(1000))
    assert rig.client.got == 1000, "the other direction lives on"


def test_a_close_sends_what_is_in_the_pipe(rig: Rig, loop: Loop) -> None:
    rig.jam()
    for side in (rig.a, rig.b):
        side.transport.unregisterProducer()
        side.transport.loseConnection()
    loop.turn(5)
    assert (rig.a.lost, rig.b.lost) == ("ConnectionDone", "") and len(loop.pool) == 1
    rig.finish_reading(rig.a.moved)
    rig.until(lambda: rig.server.receive(1) or rig.server.eof)
    rig.until(lambda: rig.b.lost)
    assert rig.b.lost == "ConnectionDone" and len(loop.pool) == 0


def test_a_close_that_is_not_taken_loses_the_pipe(rig: Rig, loop: Loop) -> None:
    rig.jam()
    rig.b.transport.unregisterProducer()
    rig.b.transport.loseConnection()
    loop.reactor.pump([1.0] * 40)
    loop.turn(5)
    assert rig.b.lost == "ConnectionAborted" and len(loop.pool) == 0


def test_a_write_keeps_its_place_behind_the_pipe(rig: Rig) -> None:
    rig.jam()
    held = rig.b.transport.buffered_bytes
    place = rig.a.moved - rig.server.got
    rig.b.transport.write(b"!" * 5000)
    assert held and rig.b.transport.buffered_bytes == held + 5000
    end = rig.client.sent - rig.server.got + 5000
    data = bytearray()

    def complete() -> bool:
        with contextlib.suppress(BlockingIOError):
            data.extend(rig.server.sock.recv(MEGABYTE))
        return len(data) >= end

    rig.until(complete)
    assert len(data) == end and data[place : place + 5000] == b"!" * 5000
    assert b"!" * 20 not in data[:place] + data[place + 5000 :]


@pytest.mark.parametrize("who", ["client", "server"])
def test_a_reset_while_the_pipe_is_full(rig: Rig, loop: Loop, who: str) -> None:
    rig.jam()
    getattr(rig, who).reset()
    rig.until(lambda: rig.a.lost or rig.b.lost or rig.server.receive(1 << 16) < 0)
    rig.until(lambda: rig.a.lost and rig.b.lost)
    assert len(loop.pool) == 0
    assert rig.a.moved <= rig.client.sent


def test_a_reset_is_not_taken_for_an_end(rig: Rig) -> None:
    rig.upload(MEGABYTE)
    rig.client.reset()
    rig.until(lambda: rig.a.lost)
    assert rig.a.lost == "ConnectionLost"


def test_without_a_pipe_it_goes_the_ordinary_way() -> None:
    loop = Loop(most=1)
    one, two = Rig(loop), Rig(loop)
    one.upload(MEGABYTE)
    two.upload(MEGABYTE)
    assert one.a.switched == [True] and two.a.switched and not any(two.a.switched)
    assert two.a.copied == two.a.moved == MEGABYTE
    loop.reactor.pump([SWEEP_S] * 3)
    two.upload(MEGABYTE)
    assert two.a.switched[-1] and len(loop.pool) == 1
    one.close()
    two.close()
    loop.poller.close()


def test_few_empty_pipes_are_kept() -> None:
    before = settled_descriptors()
    loop = Loop()
    rigs = [Rig(loop) for _ in range(8)]
    for rig in rigs:
        rig.upload(MEGABYTE)
    assert len(loop.pool) == 8
    gc.collect()  # not in the middle: earlier tests have left descriptors to the collector
    with_pipes = descriptors()
    loop.reactor.pump([SWEEP_S] * 3)
    assert len(loop.pool) == 0 and with_pipes - descriptors() == 2 * (8 - KEPT)
    assert not loop.reactor.getDelayedCalls() or not loop.pool._timer.armed
    for rig in rigs:
        rig.close()
    loop.poller.close()
    assert descriptors() <= before


@pytest.mark.parametrize("short", ["descriptors", "capacity"])
def test_a_shortage_is_waited_for(
    rig: Rig, loop: Loop, monkeypatch: pytest.MonkeyPatch, short: str
) -> None:
    calls: list[int] = []

    def fail(flags: int) -> tuple[int, int]:
        calls.append(flags)
        raise OSError(errno.EMFILE, "too many")

    with monkeypatch.context() as patch:
        if short == "descriptors":
            patch.setattr(os, "pipe2", fail)
        else:
            patch.setattr(pipes, "LEAST_BYTES", 1 << 40)
        rig.upload(4 * MEGABYTE)
        assert len(calls) == (short == "descriptors")
    rig.upload(MEGABYTE)
    assert rig.a.switched and not any(rig.a.switched)
    loop.reactor.advance(SHORTAGE_S)
    rig.upload(MEGABYTE)
    assert rig.a.switched[-1] and rig.a.moved == rig.server.got


@pytest.mark.parametrize("failing", [1, 2, 3, 4])
@pytest.mark.parametrize("code", [errno.EINVAL, errno.EAGAIN, errno.ENOSYS])
def test_a_kernel_that_will_not(
    rig: Rig, loop: Loop, monkeypatch: pytest.MonkeyPatch, failing: int, code: int
) -> None:
    """The nth call fails: reading (odd) or writing (even)."""
    calls: list[int] = []

    def fail(src: int, dst: int, count: int, **options: Any) -> int:
        calls.append(count)
        if len(calls) == failing:
            raise OSError(code, "no")
        return os.splice(src, dst, count, **options)

    monkeypatch.setattr(relay, "splice", fail)
    rig.upload(3 * MEGABYTE)
    assert rig.a.moved == rig.client.sent == rig.server.got
    if code == errno.EAGAIN:
        assert rig.a.switched == [True]
    else:
        assert len(calls) == failing and len(loop.pool) == 0 and not rig.a.switched[-1]


def test_a_blocked_sink_that_cannot_be_spliced_to(
    rig: Rig, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.jam()

    def fail(*args: Any, **options: Any) -> int:
        raise OSError(errno.EINVAL, "no")

    monkeypatch.setattr(relay, "splice", fail)
    rig.finish_reading(rig.client.sent)
    assert len(loop.pool) == 0 and rig.a.moved == rig.client.sent


def test_a_system_without_splice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipes, "splice", None)
    loop = Loop()
    rig = Rig(loop)
    rig.upload(MEGABYTE)
    assert rig.a.switched and not any(rig.a.switched) and rig.a.copied == MEGABYTE
    rig.close()
    loop.poller.close()


def test_only_to_who_has_us_as_producer(rig: Rig) -> None:
    rig.b.transport.unregisterProducer()
    rig.upload(MEGABYTE)
    assert rig.a.switched and not any(rig.a.switched)
    assert not splice_to(rig.a.transport, object(), rig.a.count)


def test_protocols_that_know_nothing_of_it(loop: Loop) -> None:
    ours, theirs = connected("tcp")
    ours.setblocking(False)
    got: list[bytes] = []

    class Plain(Protocol):
        def dataReceived(self, data: bytes) -> None:
            got.append(data)

    transport = FastTransport(loop.poller, ours)
    transport.protocol = Plain()
    transport.start()
    transport.protocol.makeConnection(transport)
    peer = Peer(theirs)
    while peer.sent < MEGABYTE:
        peer.send(MEGABYTE)
        loop.turn()
    loop.turn(20)
    assert sum(map(len, got)) == MEGABYTE
    theirs.close()


def test_the_end_of_everything_with_pipes_full() -> None:
    before = settled_descriptors()
    loop = Loop()
    rig = Rig(loop)
    rig.jam()
    loop.poller.close()
    assert rig.a.lost and rig.b.lost
    rig.close()
    assert descriptors() <= before and len(loop.pool) == 0


# -- at random -------------------------------------------------------------------------------


def _step(rig: Rig, rng: random.Random, goals: dict[Peer, int]) -> None:
    """Something small happens at each end."""
    for peer, goal in goals.items():
        if rng.random() < 0.7 and peer.sent < goal and not peer.error:
            peer.send(min(goal - peer.sent, rng.choice((1, 900, 30_000, 200_000, MEGABYTE))))
            if peer.sent == goal and not peer.error:
                with contextlib.suppress(OSError):
                    peer.sock.shutdown(socket.SHUT_WR)
        if rng.random() < _eagerness(rng) and not peer.eof and not peer.error:
            peer.receive(rng.choice((1, 5000, 100_000, MEGABYTE)))
    rig.loop.turn(rng.choice((0, 1, 1, 2)))
    if rng.random() < 0.01:
        rig.loop.reactor.pump([SWEEP_S] * rng.choice((1, 3)))


def _eagerness(rng: random.Random) -> float:
    """How eager a reader is."""
    return rng.choice((0.2, 0.9))


@pytest.mark.parametrize("seed", range(24))
def test_both_ways_at_random(loop: Loop, seed: int) -> None:
    rng = random.Random(seed)
    rig = Rig(loop, rng.choice(("tcp", "tcp", "unix")), rng.choice((0, 0, 20_000)))
    client, server = rig.client, rig.server
    goals = {client: rng.randrange(5 * MEGABYTE), server: rng.randrange(5 * MEGABYTE)}
    for _ in patiently():
        _step(rig, rng, goals)
        if client.eof and server.eof:
            break
    assert (server.got, client.got) == (goals[client], goals[server])
    assert (rig.a.moved, rig.b.moved) == (goals[client], goals[server])
    rig.until(lambda: rig.a.lost and rig.b.lost)
    assert (rig.a.lost, rig.b.lost) == ("ConnectionDone", "ConnectionDone")
    assert len(loop.pool) == 0
    rig.close()


@pytest.mark.parametrize("seed", range(40))
def test_a_reset_at_any_moment(loop: Loop, seed: int) -> None:
    rng = random.Random(1000 + seed)
    rig = Rig(loop, rng.choice(("tcp", "unix")), rng.choice((0, 20_000)))
    goals = {rig.client: 4 * MEGABYTE, rig.server: rng.choice((0, 4 * MEGABYTE))}
    for _ in range(rng.randrange(400)):
        _step(rig, rng, goals)
    victim, other = rng.choice(((rig.client, rig.server), (rig.server, rig.client)))
    victim.reset()
    for _ in patiently():
        if rig.a.lost and rig.b.lost:
            break
        if not other.eof and not other.error:
            other.receive(MEGABYTE)
            if other.eof:  # it has nothing more to say either
                other.sock.close()
                other.error = -1
        loop.turn()
    assert rig.a.lost and rig.b.lost and len(loop.pool) == 0
    assert rig.a.moved <= rig.client.sent and rig.b.moved <= rig.server.sent
    rig.close()
