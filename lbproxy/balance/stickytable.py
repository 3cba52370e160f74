"""PURE. The table behind sticky sessions: key -> server name, bounded in size, with expiry.

The *name* of the server is stored, so that the table outlives the server's object: a reload, or a
server that is removed and added again, does not change the table. Every operation is O(1)
amortised. The order of use is the order of expiry, because each use moves an entry to the end and
restarts its time.

Several processes can keep the same table. :attr:`StickyTable.tell` is called for local additions,
removals and uses, and :meth:`StickyTable.learn` applies them in another process.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator

from attrs import frozen

__all__ = ["StickyEntry", "StickyTable"]


@frozen
class StickyEntry:
    """One entry in the form that people see. ``expires_s``: seconds left."""

    key: str
    server: str
    expires_s: float


class StickyTable:
    """At most ``size`` keys (at least 1). A key that is not used for ``expire`` seconds is removed.

    A full table drops the least recently used key. ``created``, ``evicted`` (dropped before their
    time) and ``expired`` are counters. ``now``: clock in seconds; if it is set back, existing
    entries live longer by that much.

    ``tell``: called with key and server, or with "" as the server when the key is removed. It is
    called again while the key is in use, once in an eighth of ``expire``.
    """

    def __init__(self, size: int, expire: float, now: Callable[[], float]) -> None:
        self.size = size
        self.expire = expire
        self.created = self.evicted = self.expired = 0
        self.tell: Callable[[bytes, str], None] | None = None
        self._now = now
        # server, expiry time, and time of the last call of ``tell``
        self._entries: OrderedDict[bytes, tuple[str, float, float]] = OrderedDict()
        self._counts: dict[str, int] = {}

    def __len__(self) -> int:
        self._purge(self._now())
        return len(self._entries)

    def get(self, key: bytes) -> str | None:
        """Return the server of ``key``, or None. This counts as a use."""
        now = self._now()
        found = self._entries.get(key)
        if found is None:
            return None
        server, expires, told = found
        if expires <= now:
            self._purge(now)
            self.expired += self._remove(key)  # still valid if the clock was set back
            return None
        if self.tell is not None and not 0 <= now - told < self.expire / 8:
            told = now
            self.tell(key, server)
        self._entries[key] = (server, now + self.expire, told)
        self._entries.move_to_end(key)
        return server

    def peek(self, key: bytes) -> str | None:
        """Return the server of ``key``, or None. This does not count as a use."""
        found = self._entries.get(key)
        return found[0] if found is not None and found[1] > self._now() else None

    def put(self, key: bytes, server: str) -> None:
        """Store ``server`` as the server of ``key``."""
        self.learn(key, server)
        if self.tell is not None:
            self.tell(key, server)

    def learn(self, key: bytes, server: str) -> None:
        """Apply a change that ``tell`` of another table has reported."""
        if not server:
            self._remove(key)
            return
        now = self._now()
        self._purge(now)
        old = self._entries.pop(key, None)
        if old is not None:
            self._uncount(old[0])
        else:
            self.created += 1
            if len(self._entries) >= self.size:
                self._drop_oldest()
                self.evicted += 1
        self._entries[key] = (server, now + self.expire, now)
        self._counts[server] = self._counts.get(server, 0) + 1

    def remove(self, key: bytes) -> bool:
        """Remove one key. Return False if it did not exist."""
        if self.tell is not None:
            self.tell(key, "")
        return self._remove(key)

    def _remove(self, key: bytes) -> bool:
        old = self._entries.pop(key, None)
        if old is not None:
            self._uncount(old[0])
        return old is not None

    def clear(self, server: str = "") -> int:
        """Remove the keys of one server, or all keys if ``server`` is empty. Return their number.
        O(size). Other processes are not notified.
        """
        gone = [key for key, (name, *_) in self._entries.items() if server in ("", name)]
        for key in gone:
            self._remove(key)
        return len(gone)

    def count(self, server: str) -> int:
        """Return the number of keys of ``server``."""
        self._purge(self._now())
        return self._counts.get(server, 0)

    def entries(self) -> Iterator[tuple[bytes, str, float]]:
        """Yield (key, server, seconds left), the most recently used first. Do not change the table
        meanwhile.
        """
        now = self._now()
        for key, (server, expires, _) in reversed(self._entries.items()):
            if expires > now:
                yield key, server, expires - now

    def adopt(self, old: StickyTable) -> None:
        """Copy the keys of a table of the same kind, as many as fit, with at most ``expire``
        seconds left.
        """
        now = self._now()
        newest = list(old.entries())[: self.size]
        for key, server, left in reversed(newest):
            self.learn(key, server)
            self._entries[key] = (server, now + min(left, self.expire), now)

    def _purge(self, now: float) -> None:
        entries = self._entries
        while entries and next(iter(entries.values()))[1] <= now:
            self._drop_oldest()
            self.expired += 1

    def _drop_oldest(self) -> None:
        _, (server, *_) = self._entries.popitem(last=False)
        self._uncount(server)

    def _uncount(self, server: str) -> None:
        left = self._counts[server] - 1
        if left:
            self._counts[server] = left
        else:
            del self._counts[server]
