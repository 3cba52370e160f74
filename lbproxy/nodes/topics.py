"""CONTROL. Bans, lists and other kept topics of all nodes, in a Redis stream.

The stream is a log (:mod:`lbproxy.sharing.log`). A node reads all of it at its start, which gives
it the state of the others. After an outage of the store it continues where it stopped. If the store
has lost its data, every node sends its state again, and its recent messages. A node detects the
loss because the last entry that it has read no longer exists.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from itertools import chain, islice
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from lbproxy.net.redis import RedisClient, RedisDown, RedisRefused
from lbproxy.nodes.turns import StoreTurns
from lbproxy.proxy.ratelog import Quiet
from lbproxy.sharing.local import LocalReplicated
from lbproxy.sharing.log import SharedLog

__all__ = ["EVERY", "MOST", "StreamTopics"]

_quiet = Quiet(Logger())

EVERY = 0.25
"""Seconds between two reads of the stream."""

MOST = 100_000
"""Approximate maximum number of messages in the stream. A node that starts does not get older
ones.
"""

CHECKED = 5.0
"""Seconds between two checks for a lost stream on one connection."""

_READ = 200  # maximum number of messages in a reply
_FIRST = 8  # number of messages in the first reply
_LARGE = 128 * 1024  # size of a reply in bytes above which fewer messages are requested
_SENT = 100  # number of messages sent in one turn
_SETTLED = 100  # number of messages repeated in one turn
_BEGIN = b"0-0"


class StreamTopics:
    """The :class:`~lbproxy.sharing.local.RemoteTopics` of a node."""

    def __init__(
        self,
        client: RedisClient,
        replicated: LocalReplicated,
        reactor: Any,
        prefix: str,
        node: str,
        wall: Callable[[], float],
    ) -> None:
        self.log = SharedLog(node, self._spread, wall)
        self.received = 0
        self._client = client
        self._replicated = replicated
        self._reactor = reactor
        self._key = f"{prefix}:log"
        self._last = _BEGIN
        self._most = _FIRST  # number of messages that fit into a reply before its deadline
        self._synced = -CHECKED  # last check that the log is the one read so far
        self._late: list[str] = []  # topics whose past was not read
        self._whole: Iterator[str] | None = None  # messages to send again
        self._turns = StoreTurns(
            reactor, EVERY, "messages", self._turn, self._failed, self._is_pressing
        )
        client.watchers.append(self._turned)

    # -- RemoteTopics ---------------------------------------------------------------------------

    def publish(self, topic: str, message: Any) -> None:
        """See RemoteTopics."""
        self.log.publish(topic, message)
        self._turns.soon()

    def subscribed(self, topic: str) -> None:
        """See RemoteTopics."""
        if self._last != _BEGIN:
            self._late.append(topic)

    # -- the service ----------------------------------------------------------------------------

    def start(self) -> None:
        """Start the exchange."""
        self._turns.start()

    def stop(self) -> None:
        """Stop the exchange."""
        self._turns.stop()

    def _turned(self, up: bool) -> None:
        self._synced = -CHECKED

    def _turn(self) -> Coroutine[Any, Any, None] | None:
        return self._look() if self._client.up else None

    def _failed(self, _: Failure) -> None:
        self._synced = -CHECKED

    def _is_pressing(self) -> bool:
        """Return whether messages are waiting that can be sent."""
        return self._client.up and bool(self.log.unsent())

    async def _look(self) -> None:
        if self._reactor.seconds() - self._synced >= CHECKED:
            await self._sync()
        await self._send()
        await self._read()
        while self._late:
            await self._catch_up(self._late[0])
            del self._late[0]

    async def _sync(self) -> None:
        """Check whether the log is the one that was read so far."""
        top = "+" if self._last == _BEGIN else self._last
        found = await self._client.call("XREVRANGE", self._key, top, "-", "COUNT", 1)
        if not found or self._last not in (_BEGIN, found[0][0]):
            self._last = _BEGIN
            self._whole = self.log.everything(self._known())
        self.log.send_again()
        self._synced = self._reactor.seconds()

    def _known(self) -> Iterator[tuple[str, Any]]:
        """Return the state of this node. It does not replace the state of the others."""
        every = self._replicated.everything()
        return (one for one in every if one[1] != {"whole": True})

    async def _send(self) -> None:
        if self.log.overflowed:
            self.log.overflowed = False
            self._whole = self.log.everything(self._known())
        for entry in self.log.unsent()[:_SENT]:
            entry.sent = True  # a failure sends all messages again
            await self._add(entry.text)
        for text in islice(self._whole or (), _SENT):
            try:
                await self._add(text)
            except BaseException:
                self._whole = chain([text], self._whole or ())
                raise

    def _add(self, text: str) -> Deferred[Any]:
        return self._client.call("XADD", self._key, "MAXLEN", "~", MOST, "*", "m", text)

    async def _read(self) -> None:
        try:
            rows = await self._rows(self._last)
            while rows:
                for number, text in rows:
                    self._take_in(text)
                    self._last = number
                rows = await self._rows(self._last)
        except (RedisDown, RedisRefused):
            await self._settle()  # messages must be applied in the same order as at other nodes
            raise
        await self._settle()

    async def _catch_up(self, topic: str) -> None:
        """Read the messages of one topic that arrived before its first subscriber."""
        at = _BEGIN
        while _number(at) < _number(self._last):
            rows = await self._rows(at)
            for number, text in rows:
                if _number(number) <= _number(self._last):
                    self._take_in(text, topic)
                at = number
            if not rows:
                break
        await self._settle()

    async def _settle(self) -> None:
        for number, _ in enumerate(self.log.settle()):
            if number % _SETTLED == _SETTLED - 1:
                await deferLater(self._reactor, 0)

    async def _rows(self, after: bytes) -> list[tuple[bytes, bytes]]:
        """Return the next messages. Large ones are requested in small numbers, so that a reply
        meets its deadline.
        """
        most = self._most
        self._most = max(1, most // 2)  # if the reply does not arrive in time
        found = await self._client.call("XREAD", "COUNT", most, "STREAMS", self._key, after)
        rows = [(number, _text_of(fields)) for number, fields in (found[0][1] if found else [])]
        size = sum(len(text) for _, text in rows)
        if size <= _LARGE:
            self._most = min(2 * most, _READ) if len(rows) == most else most
        return rows

    def _take_in(self, text: bytes, only: str = "") -> None:
        self.received += 1
        try:
            if only:
                self.log.take_in_late(text, only)
            else:
                self.log.take_in(text)
        except ValueError as error:
            _quiet.warn(
                "shared message",
                "shared store: ignoring an invalid message: {error}",
                error=str(error),
            )

    def _spread(self, topic: str, message: Any) -> None:
        try:
            self._replicated.spread_kept(topic, message)
        except Exception:
            _quiet.failure("shared message", "shared store: ignoring an invalid message", Failure())


def _text_of(fields: Any) -> bytes:
    """Return the field ``m`` of an entry of the stream."""
    if not isinstance(fields, list):
        return b""
    pairs = dict(zip(fields[::2], fields[1::2], strict=False))
    return bytes(pairs.get(b"m", b""))


def _number(entry: bytes) -> tuple[int, int]:
    """Return the id of an entry of a stream as numbers."""
    first, _, second = entry.partition(b"-")
    return int(first), int(second or b"0")
