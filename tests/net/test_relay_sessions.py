"""Whole TCP sessions that move bulk: digests, exact counters, half-closes, resets; real threads at
both ends.
"""

from __future__ import annotations

import hashlib
import random
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

import pytest

from lbproxy.net.descriptors import MAX_PIPES
from lbproxy.net.fast import FastNetwork
from lbproxy.net.pipes import Borrower, PipePool
from lbproxy.service import LoadBalancer
from tests.proxy.test_tcp_sockets import Peer
from tests.support.descriptors import descriptors, settled_descriptors
from tests.support.reactor import eventually, run

MEGABYTE = 1 << 20
NOISE = random.Random(11).randbytes(2 * MEGABYTE)


class Talker:
    """Sends ``goal`` bytes in pieces and reads to the end, now and then pausing; in one thread."""

    def __init__(self, seed: int, goal: int) -> None:
        self.rng = random.Random(seed)
        self.goal = goal
        self.sent = hashlib.blake2b()
        self.got = hashlib.blake2b()
        self.received = 0
        self.eof = False

    def __call__(self, sock: socket.socket) -> Talker:
        sock.setblocking(False)
        rng, left, pending = self.rng, self.goal, memoryview(b"")
        end = time.monotonic() + 50
        while (left or pending or not self.eof) and time.monotonic() < end:
            if left and not pending:
                size = min(left, rng.choice((1, 3000, 100_000, MEGABYTE)))
                start = rng.randrange(len(NOISE) - size + 1)
                pending = memoryview(NOISE)[start : start + size]
                self.sent.update(pending)
                left -= size
            try:
                if pending:
                    pending = pending[sock.send(pending) :]
                    if not pending and not left:
                        sock.shutdown(socket.SHUT_WR)
            except BlockingIOError:
                pass
            self.read(sock)
            if rng.random() < 0.02:
                time.sleep(rng.random() * 0.01)
        if not self.goal:
            sock.shutdown(socket.SHUT_WR)
        return self

    def read(self, sock: socket.socket) -> None:
        """A piece, if there is any."""
        if self.eof:
            return
        try:
            data = sock.recv(self.rng.choice((1000, 65536, MEGABYTE)))
        except BlockingIOError:
            time.sleep(0.0002)
            return
        self.got.update(data)
        self.received += len(data)
        self.eof = not data


def sessions(
    *pairs: tuple[Callable[[Any], Any], Callable[[Any], Any]],
    kind: str = "epoll",
    most: int = MAX_PIPES,
) -> tuple[list[tuple[Any, Any]], list[Any]]:
    """Run the talks of (client, server) at the same time: their results, and the finished
    sessions.
    """
    listening = socket.create_server(("127.0.0.1", 0))
    listening.settimeout(60)
    records: list[Any] = []
    accepted: list[socket.socket] = []

    def accept() -> socket.socket:
        accepted.append(listening.accept()[0])
        return accepted[-1]

    async def scenario(reactor: Any) -> list[tuple[Any, Any]]:
        service = LoadBalancer.from_config(
            f"[lbproxy]\ntransport = {kind}\n[frontend t]\nmode = tcp\n"
            "listen = tcp:0:interface=127.0.0.1\nbackend = raw\n"
            f"[backend raw]\nservers = a 127.0.0.1:{listening.getsockname()[1]}\n",
            reactor=reactor,
        )
        frontend = service.frontend("t")
        frontend.write_log = records.append
        service.startService()
        network: Any = service.network
        fast = isinstance(network, FastNetwork)
        if fast:
            network.poller.pipes._most = most
        address = service.listeners[0].address
        assert address is not None
        port = address.port
        talks: list[tuple[Peer, Peer]] = []
        for client, server in pairs:  # accepted in the order in which they are made
            near = Peer(lambda: socket.create_connection(("127.0.0.1", port), 60), client)
            talks.append((near, Peer(accept, server)))
            await eventually(reactor, lambda: len(accepted) == len(talks))
        peers = [peer for pair in talks for peer in pair]
        await eventually(reactor, lambda: not any(peer.is_alive() for peer in peers), 20)
        await eventually(reactor, lambda: not frontend.clients)
        assert not fast or len(network.poller.pipes) == 0
        await service.stopService()
        if fast:
            network.close()
        return [(near.result, far.result) for near, far in talks]

    before = settled_descriptors()
    try:
        results = run(scenario)
    finally:
        listening.close()
    assert descriptors() <= before, "descriptors leaked"
    return results, records


@pytest.fixture
def relays(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """What each attempt to set up a relay came to."""
    outcomes: list[bool] = []

    take = PipePool.take

    def counted(pool: PipePool, borrower: Borrower) -> Any:
        pipe = take(pool, borrower)
        outcomes.append(pipe is not None)
        return pipe

    monkeypatch.setattr(PipePool, "take", counted)
    return outcomes


def complete(near: Talker, far: Talker) -> bool:
    return (
        near.eof
        and far.eof
        and near.sent.digest() == far.got.digest()
        and far.sent.digest() == near.got.digest()
    )


@pytest.mark.parametrize("seed", range(6))
def test_both_ways(relays: list[bool], seed: int) -> None:
    rng = random.Random(seed)
    near = Talker(seed + 100, rng.randrange(2 * MEGABYTE, 12 * MEGABYTE))
    far = Talker(seed + 200, rng.choice((1, 300_000, 8 * MEGABYTE)))
    results, (record,) = sessions((near, far))
    assert results == [(near, far)] and complete(near, far)
    assert (record.bytes_in, record.bytes_out) == (near.goal, far.goal)
    assert record.close.value == "ok" and True in relays


@pytest.mark.parametrize("most", [0, 2])
def test_more_sessions_than_pipes(relays: list[bool], most: int) -> None:
    for _ in range(10):  # on a busy machine the sessions may run one after the other
        pairs = [(Talker(n, 3 * MEGABYTE), Talker(n + 50, 2 * MEGABYTE)) for n in range(5)]
        results, records = sessions(*pairs, most=most)
        assert results == pairs and all(complete(*pair) for pair in pairs)
        assert sorted(record.bytes_in for record in records) == [3 * MEGABYTE] * 5
        assert sorted(record.bytes_out for record in records) == [2 * MEGABYTE] * 5
        if False in relays:
            break
    assert False in relays and (True in relays) == bool(most)


def test_on_twisteds_transports_nothing_changes(relays: list[bool]) -> None:
    near, far = Talker(1, 2 * MEGABYTE), Talker(2, 2 * MEGABYTE)
    _, (record,) = sessions((near, far), kind="twisted")
    assert complete(near, far) and record.bytes_in == near.goal and not relays


@pytest.mark.parametrize("who", ["client", "server"])
@pytest.mark.parametrize("after", [100_000, 2 * MEGABYTE])
def test_a_reset_in_the_middle(who: str, after: int) -> None:
    def leave(sock: socket.socket) -> int:
        left = after
        while left > 0:
            left -= len(sock.recv(65536))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return after - left

    def pour(sock: socket.socket) -> int:
        sent = 0
        try:
            while sent < 64 * MEGABYTE:
                sent += sock.send(NOISE)
        except OSError:
            return sent
        raise AssertionError("nobody stopped it")

    pair = (leave, pour) if who == "client" else (pour, leave)
    (results,), (record,) = sessions(pair)
    assert all(type(result) is int for result in results), results
    moved, sent = record.bytes_out if who == "client" else record.bytes_in, max(results)
    assert after <= moved <= sent
    assert record.close.value == f"{who}_gone"
