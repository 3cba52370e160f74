"""PURE. Places of ``concurrent`` limits that several nodes hold together through a store.

Each process decides by what it holds, what the other processes of its machine hold, and what the
other nodes held at the last exchange, so no request waits for the store.  What it holds is a lease:
it is renewed every :data:`RENEW` seconds and ends :data:`LEASE` seconds after a node has died.

Laws for ``N`` nodes (with worker processes, machines) that exchange within ``d`` seconds.  A key
has at most ``N * most`` at once, and at most ``most`` if its traffic moves to another node no
faster than ``d``.  A key is refused only if the nodes together held ``most`` up to ``d`` ago, or up
to :data:`LEASE` ago if a node has died.  Nodes that cannot reach the store hold their own limit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Final

from attrs import define, field

from lbproxy.limits.nodes import BATCH, MOST_NOTED

__all__ = ["LEASE", "RENEW", "HeldKey", "NodePlaces"]

LEASE: Final = 5.0
"""Seconds after which the store forgets what a node holds, unless the node renews it."""

RENEW: Final = 1.0
"""Seconds from one renewal to the next, and the age of what is known of keys nobody asks for."""


@define(eq=False)
class HeldKey:
    """``own``: places that this process holds.  ``others``: those of other nodes, as last known.

    ``digest``: the name of the key in the store.  ``asked``: since the last renewal.
    """

    digest: str
    own: int = 0
    others: int = 0
    asked: bool = True


@define(eq=False)
class NodePlaces:
    """The keys that this process holds or has asked for lately; at most ``most``.

    ``dropped``: how often a key was beyond that, and was limited by this node alone.
    """

    most: int = MOST_NOTED
    dropped: int = 0
    _keys: dict[str, HeldKey] = field(factory=dict)
    _due: dict[str, HeldKey] = field(factory=dict)
    _renewed: float = 0.0

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def due(self) -> int:
        """The number of keys that are to be exchanged now."""
        return len(self._due)

    def others(self, key: str) -> int:
        """Return how many places of ``key`` other nodes hold, and ask for the newest number."""
        one = self._key(key)
        if one is None:
            return 0
        one.asked = True
        return one.others

    def hold(self, key: str, own: int) -> None:
        """Note that this process holds ``own`` places of ``key`` from now on."""
        one = self._key(key)
        if one is not None:
            one.own = own

    def renew(self, now: float) -> None:
        """Make all keys due, once every :data:`RENEW` seconds; forget those nobody asks for."""
        if now - self._renewed < RENEW:
            return
        self._renewed = now
        for key in [key for key, one in self._keys.items() if not one.own and not one.asked]:
            if key not in self._due:
                del self._keys[key]
        self._due.update(self._keys)
        for one in self._keys.values():
            one.asked = False

    def take(self) -> list[tuple[str, HeldKey]]:
        """Return up to :data:`~lbproxy.limits.nodes.BATCH` keys to be exchanged now."""
        return [self._due.popitem() for _ in range(min(BATCH, len(self._due)))]

    def again(self, sent: Iterable[tuple[str, HeldKey]]) -> None:
        """Exchange these keys once more: they have not arrived."""
        self._due.update(sent)

    def settle(self, sent: Sequence[tuple[str, HeldKey]], counts: Iterable[int]) -> None:
        """Take over what other nodes hold.  Keys that nobody holds are forgotten."""
        for (key, one), count in zip(sent, counts, strict=True):
            one.others = max(0, count)
            if not one.own and not one.others and key not in self._due:
                self._keys.pop(key, None)

    def lose(self) -> None:
        """Forget what other nodes hold: the store does not answer."""
        for key, one in list(self._keys.items()):
            one.others = 0
            if not one.own:
                del self._keys[key]
        self._due = dict(self._keys)

    def _key(self, key: str) -> HeldKey | None:
        one = self._keys.get(key)
        if one is None:
            if len(self._keys) >= self.most:
                self.dropped += 1
                return None
            digest = blake2b(key.encode("utf-8", "replace"), digest_size=16).hexdigest()
            one = self._keys[key] = HeldKey(digest)
        self._due[key] = one
        return one
