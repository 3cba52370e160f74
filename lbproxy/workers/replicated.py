"""CONTROL. :class:`lbproxy.sharing.contracts.Replicated` through the master.

The master has a :class:`Hub` with limits, leases and values in its memory. It sends published
messages to every worker, including the publisher, in one order. A worker has a
:class:`MasterReplicated`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import attrs
from attrs import define
from twisted.internet.defer import ensureDeferred
from twisted.logger import Logger

from lbproxy.sharing.contracts import Rate, SharedStateError
from lbproxy.sharing.local import LocalReplicated, Topics
from lbproxy.workers.channel import Channel
from lbproxy.workers.rpc import RemoteCalls

__all__ = ["BEHIND", "Hub", "MasterReplicated"]

_log = Logger()

BEHIND = 8 * 1024 * 1024
"""Maximum number of unread bytes of a worker. Beyond it, messages are skipped, and their topics are
sent again later.
"""

_AGAIN = 0.25  # seconds before a worker that is behind is checked again


@define(eq=False)
class _Peer:
    """The state of one worker. ``missed``: topics to send again."""

    channel: Channel
    missed: set[str]


class Hub(LocalReplicated):
    """The master's implementation. Its own subscribers are in the same process."""

    def __init__(self, reactor: Any, now: Callable[[], float]) -> None:
        super().__init__(now)
        self._reactor = reactor
        self._peers: dict[int, _Peer] = {}

    # -- workers --------------------------------------------------------------------------------

    def attach(self, slot: int, channel: Channel) -> None:
        """Send all known state to a worker that starts."""
        peer = _Peer(channel, set())
        self._peers[slot] = peer
        self._send_whole(slot, peer, self._topics.whole())

    def detach(self, slot: int) -> None:
        """Drop the leases of a worker that has ended."""
        self._peers.pop(slot, None)
        self.store.release_all(f"worker {slot}")

    def tend(self) -> None:
        """Send topics again to workers that have missed messages and have caught up. Called a few
        times a second.
        """
        for slot, peer in self._peers.items():
            if peer.missed and not peer.channel.behind:
                topics, peer.missed = sorted(peer.missed), set()
                for topic in topics:
                    self._send_whole(slot, peer, self._topics.whole(topic))

    def received(self, slot: int, message: dict[str, Any]) -> None:
        """Handle a worker's request; see :class:`MasterReplicated`."""
        operation, arguments = message["operation"], message["arguments"]
        if operation == "publish":
            self.publish(**arguments)
        else:
            ensureDeferred(self._answer(slot, message["number"], operation, arguments))

    async def _answer(
        self, slot: int, number: int, operation: str, arguments: dict[str, Any]
    ) -> None:
        try:
            answer = {"value": await self._run(f"worker {slot}", operation, arguments)}
        except BaseException as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        peer = self._peers.get(slot)
        if peer is not None:
            peer.channel.send({"type": "answer", "number": number, "answer": answer})

    async def _run(self, holder: str, operation: str, arguments: dict[str, Any]) -> Any:
        if operation == "take":
            rate = Rate(**arguments["rate"])
            return await self.take(arguments["key"], arguments["cost"], rate)
        if operation == "lease":
            return await self.lease_for(holder, arguments["name"], arguments["seconds"])
        if operation == "release":
            return await self.release_for(holder, arguments["name"])
        if operation == "get":
            return await self.get(**arguments)
        if operation == "put":
            return await self.put(**arguments)
        raise ValueError(f"unknown operation {operation!r}")

    @property
    def alone(self) -> bool:
        """See Replicated."""
        return False

    def spread(self, topic: str, message: Any) -> None:
        """See LocalReplicated. The workers belong to this node."""
        super().spread(topic, message)
        for peer in list(self._peers.values()):
            if peer.channel.behind > BEHIND:
                peer.missed.add(topic)
            else:
                _send(peer.channel, topic, message)

    def _send_whole(self, slot: int, peer: _Peer, left: Iterator[tuple[str, Any]]) -> None:
        """Send one message per turn of the reactor while the worker reads them, because the state
        may be large.
        """
        if self._peers.get(slot) is not peer:
            return
        if peer.channel.behind > BEHIND:
            self._reactor.callLater(_AGAIN, self._send_whole, slot, peer, left)
            return
        found = next(left, None)
        if found is not None:
            _send(peer.channel, *found)
            self._reactor.callLater(0, self._send_whole, slot, peer, left)


def _send(channel: Channel, topic: str, message: Any) -> None:
    channel.send({"type": "publish", "topic": topic, "message": message})


class MasterReplicated:
    """The worker's implementation. ``channel``: to the master, whose messages arrive through
    :meth:`answered` and :meth:`received`.
    """

    alone = False

    def __init__(self, reactor: Any, channel: Channel) -> None:
        self._topics = Topics()
        self._channel = channel
        self._calls = RemoteCalls(reactor)

    @property
    def ready(self) -> bool:
        """See Replicated."""
        return not self._channel.behind

    async def take(self, key: str, cost: float, rate: Rate) -> float:
        """See Replicated."""
        return float(await self._call("take", key=key, cost=cost, rate=attrs.asdict(rate)))

    async def lease(self, name: str, seconds: float) -> bool:
        """See Replicated."""
        return bool(await self._call("lease", name=name, seconds=seconds))

    async def release(self, name: str) -> None:
        """See Replicated."""
        await self._call("release", name=name)

    async def get(self, key: str) -> Any:
        """See Replicated."""
        return await self._call("get", key=key)

    async def put(self, key: str, value: Any, seconds: float = 0.0) -> None:
        """See Replicated."""
        await self._call("put", key=key, value=value, seconds=seconds)

    def publish(self, topic: str, message: Any) -> None:
        """See Replicated. The message comes back through :meth:`received`."""
        self._send("publish", {"topic": topic, "message": message})

    def subscribe(
        self,
        topic: str,
        receive: Callable[[Any], None],
        whole: Callable[[], Iterator[Any]] | None = None,
        *,
        kept: bool = False,
    ) -> Callable[[], None]:
        """See Replicated. ``whole`` is not used, because the master has its own."""
        return self._topics.subscribe(topic, receive, None)

    def received(self, topic: str, message: Any) -> None:
        """Handle a message published by this or another process."""
        self._topics.deliver(topic, message)

    def answered(self, number: int, answer: Any) -> None:
        """Handle the master's answer to a call."""
        self._calls.answered(0, number, answer)

    def stop(self) -> None:
        """Fail the open calls."""
        self._calls.stop()

    async def _call(self, operation: str, **arguments: Any) -> Any:
        request = {"type": "replicated", "operation": operation, "arguments": arguments}
        answers = await self._calls.send({0: self._channel}, request)
        answer = answers.get(0)
        if answer is None:
            raise SharedStateError("the master did not answer")
        if "error" in answer:
            raise SharedStateError(answer["error"])
        return answer["value"]

    def _send(self, operation: str, arguments: dict[str, Any]) -> None:
        request = {"type": "replicated", "operation": operation, "arguments": arguments}
        self._channel.send({**request, "number": 0})
