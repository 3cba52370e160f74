"""Hang-ups while reading is paused: seen at once by protocols that ask for it, data first for the
others.
"""

from __future__ import annotations

from typing import Any

import pytest

from lbproxy.net.fast import FastNetwork
from tests.net.test_transport import Rig
from tests.net.wire import HalfRecorder, HangUpRecorder, Pair
from tests.support.reactor import eventually, run, sleep


async def paused(reactor: Any, far: HalfRecorder) -> Pair:
    """A connection whose far end is paused with data unread."""
    pair = await Pair(reactor, FastNetwork(reactor), HalfRecorder(), far).open()
    far.transport.pauseProducing()
    pair.near.transport.write(b"unread")
    await sleep(reactor, 0.02)
    assert not far.data
    return pair


def polls(network: FastNetwork) -> list[Any]:
    """What the epoll reports at this moment."""
    return network.poller._epoll.poll(0, 10)


@pytest.mark.parametrize("leaves", [True, False])
def test_a_fin_is_reported_once(leaves: bool) -> None:
    async def scenario(reactor: Any) -> None:
        far = HangUpRecorder(leaves)
        pair = await paused(reactor, far)
        pair.near.transport.loseWriteConnection()
        await eventually(reactor, lambda: far.calls)
        await sleep(reactor, 0.02)
        if leaves:
            assert (far.calls, far.lost, bytes(far.data)) == (["fin"], "ConnectionDone", b"")
        else:
            assert far.calls == ["fin"] and not far.lost
            assert not polls(pair.network), (
                "a hang-up that is left alone must not be reported for ever"
            )  # type: ignore[arg-type]
            far.transport.resumeProducing()
            await eventually(reactor, lambda: len(far.calls) == 2)
            assert (bytes(far.data), far.calls) == (b"unread", ["fin", "read lost"])
            far.transport.loseConnection()
            pair.near.transport.loseConnection()
        await pair.closed()

    run(scenario)


@pytest.mark.parametrize("leaves", [True, False])
def test_a_reset_is_reported_once(leaves: bool) -> None:
    async def scenario(reactor: Any) -> None:
        far = HangUpRecorder(leaves)
        pair = await paused(reactor, far)
        pair.near.transport.abortConnection()
        await eventually(reactor, lambda: far.calls)
        await sleep(reactor, 0.02)
        assert far.calls == ["reset"]
        if leaves:
            assert (far.lost, bytes(far.data)) == ("ConnectionLost", b"")
            assert "reset by peer" in str(far.reason.value)
        else:
            assert not far.lost and not polls(pair.network)  # type: ignore[arg-type]
            far.transport.resumeProducing()
        await pair.closed()
        assert far.lost == "ConnectionLost"

    run(scenario)


def test_a_fin_and_then_a_reset() -> None:
    async def scenario(reactor: Any) -> None:
        far = HangUpRecorder(False)
        pair = await paused(reactor, far)
        pair.near.transport.loseWriteConnection()
        await eventually(reactor, lambda: far.calls == ["fin"])
        far.leaves = True
        pair.near.transport.abortConnection()
        await pair.closed()
        assert (far.calls, far.lost) == (["fin", "reset"], "ConnectionLost")

    run(scenario)


def test_others_get_their_data_first() -> None:
    async def scenario(reactor: Any) -> None:
        far = HalfRecorder()
        pair = await paused(reactor, far)
        pair.near.transport.loseConnection()
        await eventually(reactor, lambda: pair.near.reason)
        await sleep(reactor, 0.02)
        assert not far.lost and not far.calls
        far.transport.resumeProducing()
        await eventually(reactor, lambda: far.calls)
        assert (bytes(far.data), far.calls) == (b"unread", ["read lost"])
        far.transport.loseConnection()
        await pair.closed()

    run(scenario)


def test_a_protocol_that_raises_loses_its_connection() -> None:
    class Bad(HangUpRecorder):
        def peer_hung_up(self, reset: bool) -> bool:
            raise RuntimeError("of a test")

    rig = Rig(Bad(True))
    try:
        rig.transport.pauseProducing()
        rig.peer.close()
        rig.turn_until(lambda: rig.protocol.reason)
    finally:
        rig.poller.close()
