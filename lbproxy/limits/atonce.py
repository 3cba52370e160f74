"""PURE. How many a key has at once."""

from __future__ import annotations

from typing import Protocol

__all__ = ["AtOnce", "AtOnceClaims"]


class AtOnceClaims(Protocol):
    """The part of :class:`lbproxy.sharing.contracts.Shared` that limits use."""

    def others(self, key: str) -> int:
        """See Shared."""

    def claim(self, key: str, room: int) -> bool:
        """See Shared."""

    def release(self, key: str) -> None:
        """See Shared."""


class AtOnce:
    """At most ``most`` of each key at once, in all processes that ``shared`` joins.

    A key without any uses no memory.  With several processes a key can be refused too early, never
    too late (:class:`~lbproxy.sharing.contracts.Shared`).
    """

    def __init__(self, shared: AtOnceClaims, name: str, most: int) -> None:
        self._shared = shared
        self._prefix = f"limit:{name}:"
        self.most = most
        self.held: dict[str, int] = {}

    def room(self, key: str) -> int:
        """Return how many more the key may have."""
        return self.most - self.held.get(key, 0) - self._shared.others(self._prefix + key)

    def take(self, key: str) -> bool:
        """Count one more of ``key`` unless that is too many; return whether it was counted."""
        own = self.held.get(key, 0)
        if not self._shared.claim(self._prefix + key, self.most - own):
            return False
        self.held[key] = own + 1
        return True

    def give_back(self, key: str) -> None:
        """Uncount one that :meth:`take` has counted.  KeyError if there is none."""
        own = self.held[key]
        if own == 1:
            del self.held[key]
        else:
            self.held[key] = own - 1
        self._shared.release(self._prefix + key)
