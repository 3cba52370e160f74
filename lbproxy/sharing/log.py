"""PURE. A node's side of a message log that all nodes share.

A node applies its own messages at once, and those of the others as it reads them. The last message
wins at every node, in whatever order and however often messages arrive
(:mod:`lbproxy.sharing.past`). Messages must therefore be idempotent. "Last" is determined by the
clocks of the nodes, but a message is always later than all messages that its node knew when it sent
it.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any, Final

from attrs import define, field

from lbproxy.sharing.past import MOST, MOST_BYTES, Past, Remark

__all__ = ["AHEAD", "MOST_OWN", "REPEATED", "LogEntry", "SharedLog"]

MOST_OWN: Final = MOST
"""Maximum number of own messages that wait for the log. Beyond it, the node sends its complete
state later instead.
"""

REPEATED: Final = 3600.0
"""Age in seconds up to which messages are sent again if the log was lost."""

AHEAD: Final = 86400.0
"""Maximum number of seconds by which the clock of another node may be ahead. Later messages are
refused.
"""

_STEP = 1e-6  # minimum number of seconds between two messages


@define(eq=False)
class LogEntry:
    """A message of this node that was not read back yet."""

    number: int
    text: str
    sent: bool = False


@define(eq=False)
class SharedLog:
    """The log. ``node``: name of this node. ``spread(topic, message)`` delivers a message in this
    node. ``wall``: Unix time in seconds.

    ``overflowed``: messages were dropped, so that the other nodes lack some.
    """

    node: str
    spread: Callable[[str, Any], None]
    wall: Callable[[], float]
    overflowed: bool = False
    _own: deque[LogEntry] = field(factory=deque)
    _waiting: int = 0  # size of the own messages in bytes
    _number: int = 0
    _latest: float = 0.0  # time of the latest known message
    _dropped: float = 0.0  # time of the latest dropped message
    _past: Past = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._past = Past(self._spread_again)

    def __len__(self) -> int:
        return len(self._own)

    def publish(self, topic: str, message: Any) -> None:
        """Record a message of this node, which it has already applied."""
        at = self._latest = max(self.wall(), self._latest + _STEP)
        if len(self._own) >= MOST_OWN or self._waiting >= MOST_BYTES:
            self._own.clear()
            self._waiting = 0
            self.overflowed = True
            self._dropped = at
        self._number += 1
        text = json.dumps([self.node, self._number, topic, message, at])
        self._own.append(LogEntry(self._number, text))
        self._waiting += len(text)
        self._past.note(Remark(at, self.node, topic, text))

    def unsent(self) -> list[LogEntry]:
        """Return the messages that are not being sent."""
        return [one for one in self._own if not one.sent]

    def send_again(self) -> None:
        """Mark all messages as not sent."""
        for one in self._own:
            one.sent = False

    def everything(self, known: Iterable[tuple[str, Any]]) -> Iterator[str]:
        """Yield the messages for a log that lacks some: recent messages, and the topics and
        messages with the complete state ``known``, which precedes them.
        """
        yield from [one.text for one in self._past.since(self.wall() - REPEATED)]
        for topic, message in known:
            yield json.dumps([self.node, 0, topic, message, self._dropped])

    def take_in(self, text: str | bytes) -> None:
        """Apply the next message of the log. Raises ValueError for any other text.

        Call :meth:`settle` after the last message.
        """
        said, number, message = self._parse(text)
        if said.node == self.node:
            self._read_back(number)
        self._latest = max(self._latest, said.at)
        if number == 0:
            self._past.interrupted(said.topic, (said.at, ""))
        elif not self._past.note(said):
            return
        self.spread(said.topic, message)

    def take_in_late(self, text: str | bytes, topic: str) -> None:
        """Apply a message that was read before ``topic`` had a subscriber, if it belongs to this
        topic.
        """
        said, _, message = self._parse(text)
        if said.topic == topic:
            self._past.interrupted(topic)
            self.spread(topic, message)

    def settle(self) -> Iterator[None]:
        """Apply later messages again after late ones; each step delivers one message in this
        node.
        """
        return self._past.settle()

    def _spread_again(self, said: Remark) -> None:
        with suppress(RecursionError):  # the stack may be deeper than when the message arrived
            self.spread(said.topic, json.loads(said.text)[3])

    def _read_back(self, number: int) -> None:
        while self._own and self._own[0].number <= number:
            self._waiting -= len(self._own.popleft().text)

    def _parse(self, text: str | bytes) -> tuple[Remark, int, Any]:
        """Return a message, its number at its node, and its content."""
        words = text if isinstance(text, str) else text.decode()
        try:
            node, number, topic, message, at = json.loads(words)
        except TypeError:
            raise ValueError("no message") from None
        except RecursionError:
            raise ValueError("nested too deeply") from None
        kinds = ((node, str), (number, int), (topic, str), (at, (int, float)))
        if not all(isinstance(value, kind) for value, kind in kinds):
            raise ValueError("no message")
        if not at <= self.wall() + AHEAD:  # NaN is refused too
            raise ValueError(f"the clock of the node {node} is ahead by more than a day")
        if at < 0:
            raise ValueError("no message")
        return Remark(float(at), node, topic, words), number, message
