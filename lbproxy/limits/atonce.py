"""PURE. The number of concurrent uses of a key."""

from __future__ import annotations

from typing import Protocol

from lbproxy.limits.places import NodePlaces

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

    A key that is not in use takes no memory. With several processes a key can be refused too early,
    but never too late (:class:`~lbproxy.sharing.contracts.Shared`). :meth:`join` adds other nodes,
    with a further error (:mod:`~lbproxy.limits.places`).
    """

    def __init__(self, shared: AtOnceClaims, name: str, most: int) -> None:
        self._shared = shared
        self._prefix = f"limit:{name}:"
        self._places: NodePlaces | None = None
        self.most = most
        self.held: dict[str, int] = {}

    def join(self, places: NodePlaces | None) -> None:
        """Enforce the limit together with other nodes from now on; None stops this."""
        before, self._places = self._places, places
        if before is places:
            return
        for key, own in self.held.items():
            if before is not None:
                before.hold(self._prefix + key, 0)
            if places is not None:
                places.hold(self._prefix + key, own)

    def room(self, key: str) -> int:
        """Return how many more uses of the key are allowed."""
        return self._room(key) - self._shared.others(self._prefix + key)

    def take(self, key: str) -> bool:
        """Count one more use of ``key`` if it is allowed. Return whether it was counted."""
        if not self._shared.claim(self._prefix + key, self._room(key)):
            return False
        self._hold(key, self.held.get(key, 0) + 1)
        return True

    def give_back(self, key: str) -> None:
        """Remove one use counted by :meth:`take`. Raises KeyError if none is counted."""
        self._hold(key, self.held[key] - 1)
        self._shared.release(self._prefix + key)

    def _room(self, key: str) -> int:
        """Return how many more uses this process may have if the other processes of the machine
        have none.
        """
        room = self.most - self.held.get(key, 0)
        return room if self._places is None else room - self._places.others(self._prefix + key)

    def _hold(self, key: str, own: int) -> None:
        if own:
            self.held[key] = own
        else:
            del self.held[key]
        if self._places is not None:
            self._places.hold(self._prefix + key, own)
