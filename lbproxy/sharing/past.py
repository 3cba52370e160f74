"""PURE. The last messages of a log, in the order in which their nodes sent them.

Messages may arrive in another order. A node that applies a late message applies the later ones
again, so that all nodes end in the same state.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from math import inf
from typing import Final

from attrs import define, field

__all__ = ["MOST", "MOST_BYTES", "Past", "Remark"]

MOST: Final = 5000
"""Maximum number of stored messages."""

MOST_BYTES: Final = 16 * 1024 * 1024
"""Maximum size of the stored messages in bytes."""


@define(frozen=True, slots=True)
class Remark:
    """One message. ``at``: Unix time in seconds, later than all messages that its node knew then.
    ``text``: as in the log.
    """

    at: float
    node: str
    topic: str
    text: str


def _order(said: Remark) -> tuple[float, str]:
    return said.at, said.node


@define(eq=False)
class Past:
    """The last messages of all nodes. ``again(said)`` applies a message again."""

    again: Callable[[Remark], None]
    _said: list[Remark] = field(factory=list)
    _bytes: int = 0
    _behind: dict[str, tuple[float, str]] = field(factory=dict)

    def note(self, said: Remark) -> bool:
        """Store a message. Return False if it is stored already.

        If it is late, :meth:`settle` repeats the later ones.
        """
        key = _order(said)
        at = len(self._said)
        if at and _order(self._said[-1]) >= key:
            at = bisect_left(self._said, key, key=_order)
            if _order(self._said[at]) == key:
                return False
            self.interrupted(said.topic, key)
        self._said.insert(at, said)
        self._bytes += len(said.text)
        while len(self._said) > MOST or self._bytes > MOST_BYTES:
            self._bytes -= len(self._said.pop(0).text)
        return True

    def interrupted(self, topic: str, after: tuple[float, str] = (0.0, "")) -> None:
        """Note that an older message was applied; :meth:`settle` repeats the later ones."""
        self._behind[topic] = min(self._behind.get(topic, after), after)

    def settle(self) -> Iterator[None]:
        """Repeat the messages that must follow late messages, one at each step.

        New messages may arrive between two steps.
        """
        after = min(self._behind.values(), default=(inf, ""))
        while (at := bisect_right(self._said, after, key=_order)) < len(self._said):
            said = self._said[at]
            after = _order(said)
            first = self._behind.get(said.topic)
            if first is not None and after > first:
                self.again(said)
                yield
        self._behind.clear()

    def since(self, time: float) -> list[Remark]:
        """Return the messages sent from ``time`` on."""
        return self._said[bisect_left(self._said, (time, ""), key=_order) :]
