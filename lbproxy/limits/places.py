"""PURE. Places of ``concurrent`` limits that several nodes share through a store.

Each process decides by its own places, those of the other processes of its machine, and those of
the other nodes at the last exchange, so that no request waits for the store. The places of a node
are leases: they are renewed every :data:`RENEW` seconds and end :data:`LEASE` seconds after a node
has died.

Guarantees for ``N`` nodes (with worker processes, machines) that exchange within ``d`` seconds: a
key has at most ``N * most`` places at a time, and at most ``most`` if its traffic moves to another
node no faster than ``d``. A key is refused only if the nodes together held ``most`` up to ``d``
ago, or up to :data:`LEASE` ago if a node has died. Nodes that cannot reach the store apply the
limit separately.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Final

from attrs import define, field

from lbproxy.limits.nodes import BATCH, MOST_NOTED

__all__ = ["LEASE", "RENEW", "HeldKey", "NodePlaces"]

LEASE: Final = 5.0
"""Seconds after which the store drops the places of a node, unless the node renews them."""

RENEW: Final = 1.0
"""Seconds between two renewals, and the maximum age of data about unused keys."""


@define(eq=False)
class HeldKey:
    """The places of one key. ``own``: those of this process. ``others``: those of other nodes at
    the last exchange.

    ``digest``: the name of the key in the store. ``asked``: used since the last renewal.
    """

    digest: str
    own: int = 0
    others: int = 0
    asked: bool = True


@define(eq=False)
class NodePlaces:
    """The keys that this process holds or has used lately; at most ``most``.

    ``dropped``: number of times that a key exceeded this number and was limited by this node alone.
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
        """Number of keys to exchange now."""
        return len(self._due)

    def others(self, key: str) -> int:
        """Return the number of places of ``key`` that other nodes hold, and request the latest
        number.
        """
        one = self._key(key)
        if one is None:
            return 0
        one.asked = True
        return one.others

    def hold(self, key: str, own: int) -> None:
        """Record that this process holds ``own`` places of ``key`` from now on."""
        one = self._key(key)
        if one is not None:
            one.own = own

    def renew(self, now: float) -> None:
        """Mark all keys for exchange, once every :data:`RENEW` seconds. Drop unused ones."""
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
        """Return at most :data:`~lbproxy.limits.nodes.BATCH` keys to exchange now."""
        return [self._due.popitem() for _ in range(min(BATCH, len(self._due)))]

    def again(self, sent: Iterable[tuple[str, HeldKey]]) -> None:
        """Mark these keys for exchange again, because they have not arrived."""
        self._due.update(sent)

    def settle(self, sent: Sequence[tuple[str, HeldKey]], counts: Iterable[int]) -> None:
        """Store the places of other nodes. Keys without places are dropped."""
        for (key, one), count in zip(sent, counts, strict=True):
            one.others = max(0, count)
            if not one.own and not one.others and key not in self._due:
                self._keys.pop(key, None)

    def lose(self) -> None:
        """Drop the places of other nodes, because the store does not respond."""
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
