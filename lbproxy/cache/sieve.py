"""PURE. Eviction by SIEVE: a queue in order of arrival, and a hand that skips used entries.

Zhang et al., "SIEVE is Simpler than LRU", NSDI 2024. A hit sets one flag and moves nothing. On the
web's skewed popularity SIEVE keeps more repeatedly requested entries than LRU, because entries
requested once are evicted when the hand passes. ``tests/cache/test_sieve.py`` compares both on a
Zipf trace.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

from lbproxy.compiled import native

__all__ = ["Node", "Sieve"]


@native(allow_interpreted_subclasses=True)
class Node:
    """A member of a :class:`Sieve`.  Set ``used`` on every hit."""

    __slots__ = ("newer", "older", "used")

    def __init__(self) -> None:
        self.newer: Node | None = None
        self.older: Node | None = None
        self.used = False


NodeT = TypeVar("NodeT", bound=Node)


class _Cursor:
    """The position of a :meth:`Sieve.walk`: the next member."""

    __slots__ = ("node", "upwards")

    def __init__(self, node: Node | None, upwards: bool) -> None:
        self.node = node
        self.upwards = upwards

    def leave(self) -> None:
        """Continue to the next member."""
        if self.node is not None:
            self.node = self.node.newer if self.upwards else self.node.older


class Sieve(Generic[NodeT]):
    """The members, and the choice of the one to evict. All calls take constant time on average."""

    __slots__ = ("_cursors", "_hand", "_newest", "_oldest", "count")

    def __init__(self) -> None:
        self._newest: Node | None = None
        self._oldest: Node | None = None
        self._hand: Node | None = None
        self._cursors: list[_Cursor] = []
        self.count = 0

    def add(self, node: NodeT) -> None:
        """Add a member as the newest."""
        node.older = self._newest
        node.newer = None
        node.used = False
        if self._newest is not None:
            self._newest.newer = node
        self._newest = node
        if self._oldest is None:
            self._oldest = node
        self.count += 1

    def remove(self, node: NodeT) -> None:
        """Remove a member."""
        if self._hand is node:
            self._hand = node.newer
        for cursor in self._cursors:
            if cursor.node is node:
                cursor.leave()
        if node.newer is not None:
            node.newer.older = node.older
        else:
            self._newest = node.older
        if node.older is not None:
            node.older.newer = node.newer
        else:
            self._oldest = node.newer
        node.newer = node.older = None
        self.count -= 1

    def walk(self, oldest_first: bool = False) -> Iterator[NodeT]:
        """Yield the members. Others may be added and removed meanwhile.

        New members are the newest, so that only a walk with ``oldest_first`` reaches them.
        """
        cursor = _Cursor(self._oldest if oldest_first else self._newest, oldest_first)
        self._cursors.append(cursor)
        try:
            while (node := cursor.node) is not None:
                cursor.leave()
                yield node  # type: ignore[misc]
        finally:
            self._cursors.remove(cursor)

    def victim(self) -> NodeT | None:
        """Return the member to evict, which stays a member until it is removed; None if there is
        none.
        """
        node = self._hand if self._hand is not None else self._oldest
        while node is not None and node.used:
            node.used = False
            node = node.newer if node.newer is not None else self._oldest
        self._hand = node
        return node  # type: ignore[return-value]
