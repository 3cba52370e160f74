"""PURE. The messages of one node in a log that all nodes share.

The log has one order, in which every node takes in the messages of the others.  A node takes in its
own at once, before the log has them.  If a message of another node turns out to come earlier, the
node takes in its own once more behind it, so that all nodes end alike.  For the same reason it
takes in what it repeats, and its own messages when it reads the log anew.  Messages therefore have
to be such that the second time changes nothing.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from attrs import define, field

__all__ = ["MOST_OWN", "LogEntry", "SharedLog"]

MOST_OWN: Final = 5000
"""Own messages that wait for the log; with more, the node sends all it knows later instead."""


@define(eq=False)
class LogEntry:
    """A message of this node that was not read back yet."""

    number: int
    topic: str
    message: Any
    sent: bool = False


@define(eq=False)
class SharedLog:
    """``node``: the name of this one.  ``spread(topic, message)`` gives a message to this node.

    ``overflowed``: messages were dropped, so the others lack something.
    """

    node: str
    spread: Callable[[str, Any], None]
    overflowed: bool = False
    _own: deque[LogEntry] = field(factory=deque)
    _number: int = 0

    def __len__(self) -> int:
        return len(self._own)

    def publish(self, topic: str, message: Any) -> None:
        """Note a message of this node, which it has taken in already."""
        if len(self._own) >= MOST_OWN:
            self._own.clear()
            self.overflowed = True
        self._number += 1
        self._own.append(LogEntry(self._number, topic, message))

    def unsent(self) -> list[LogEntry]:
        """Return the messages that are not on their way."""
        return [one for one in self._own if not one.sent]

    def send_again(self) -> None:
        """Assume that nothing has arrived."""
        for one in self._own:
            one.sent = False

    def encode(self, entry: LogEntry) -> str:
        """Return a message as the log has it."""
        return json.dumps([self.node, entry.number, entry.topic, entry.message])

    def whole(self, topic: str, message: Any) -> str:
        """Return a message that repeats what this node knows."""
        return json.dumps([self.node, 0, topic, message])

    def take_in(self, text: str | bytes, only: str = "") -> None:
        """Take in the next message of the log; ``only``: if it is of this topic.

        ValueError for anything else than a message.
        """
        try:
            node, number, topic, message = json.loads(text)
        except RecursionError:
            raise ValueError("nested too deeply") from None
        if not (isinstance(node, str) and isinstance(number, int) and isinstance(topic, str)):
            raise ValueError("no message")
        if only:
            if topic == only:
                self.spread(topic, message)
            return
        if node == self.node:
            awaited = bool(number and self._own and self._own[0].number <= number)
            while number and self._own and self._own[0].number <= number:
                self._own.popleft()
            if awaited:
                return
        self.spread(topic, message)
        for one in list(self._own):
            if one.topic == topic:
                self.spread(topic, one.message)
