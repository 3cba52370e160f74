"""PURE. The messages of one node in a log that all nodes share.

A node takes in its own messages at once, and those of the others as it reads them.  What was said
last holds, at every node, in whatever order the messages arrive and however often
(:mod:`lbproxy.sharing.past`).  They therefore have to be such that a second time changes nothing.
"Last" is by the clocks of the nodes, but a message is always later than what its node knew when it
said it.
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
"""Own messages that wait for the log; with more, the node sends all it knows later instead."""

REPEATED: Final = 3600.0
"""Age in seconds of messages that are sent once more if the log was lost."""

AHEAD: Final = 86400.0
"""Seconds by which the clock of another node may be ahead; its messages are refused beyond."""

_STEP = 1e-6  # seconds from one message to the next, at least


@define(eq=False)
class LogEntry:
    """A message of this node that was not read back yet."""

    number: int
    text: str
    sent: bool = False


@define(eq=False)
class SharedLog:
    """``node``: the name of this one.  ``spread(topic, message)`` gives a message to this node.
    ``wall``: Unix time in seconds.

    ``overflowed``: messages were dropped, so the others lack something.
    """

    node: str
    spread: Callable[[str, Any], None]
    wall: Callable[[], float]
    overflowed: bool = False
    _own: deque[LogEntry] = field(factory=deque)
    _waiting: int = 0  # bytes of the own messages
    _number: int = 0
    _latest: float = 0.0  # when the last message that this node knows was said
    _dropped: float = 0.0  # when the last message that was dropped was said
    _past: Past = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._past = Past(self._spread_again)

    def __len__(self) -> int:
        return len(self._own)

    def publish(self, topic: str, message: Any) -> None:
        """Note a message of this node, which it has taken in already."""
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
        """Return the messages that are not on their way."""
        return [one for one in self._own if not one.sent]

    def send_again(self) -> None:
        """Assume that nothing has arrived."""
        for one in self._own:
            one.sent = False

    def everything(self, known: Iterable[tuple[str, Any]]) -> Iterator[str]:
        """Return what has to be sent for a log that lacks messages: what was said lately, and the
        topics and messages that say all that is ``known``, which hold before it.
        """
        yield from [one.text for one in self._past.since(self.wall() - REPEATED)]
        for topic, message in known:
            yield json.dumps([self.node, 0, topic, message, self._dropped])

    def take_in(self, text: str | bytes) -> None:
        """Take in the next message of the log.  ValueError for anything else than a message.

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
        """Take in a message that was read before anybody wanted ``topic``, if it is of this one."""
        said, _, message = self._parse(text)
        if said.topic == topic:
            self._past.interrupted(topic)
            self.spread(topic, message)

    def settle(self) -> Iterator[None]:
        """Let that hold which was said last; each step gives one message to this node."""
        return self._past.settle()

    def _spread_again(self, said: Remark) -> None:
        with suppress(RecursionError):  # the stack may be deeper than when the message arrived
            self.spread(said.topic, json.loads(said.text)[3])

    def _read_back(self, number: int) -> None:
        while self._own and self._own[0].number <= number:
            self._waiting -= len(self._own.popleft().text)

    def _parse(self, text: str | bytes) -> tuple[Remark, int, Any]:
        """Return a message, the number that its node gave it, and what it says."""
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
        if not at <= self.wall() + AHEAD:  # nor is NaN
            raise ValueError(f"the clock of the node {node} is ahead by more than a day")
        if at < 0:
            raise ValueError("no message")
        return Remark(float(at), node, topic, words), number, message
