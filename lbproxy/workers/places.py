"""CONTROL. The assignment of places on the board to servers and queues."""

from __future__ import annotations

from collections.abc import Mapping

from lbproxy.proxy.backend import Backend
from lbproxy.workers.board import PLACES
from lbproxy.workers.shared import place_name, queue_place

__all__ = ["Places"]


class Places:
    """Assigns places on the board. The master does so for all workers."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}

    def update(self, backends: Mapping[str, Backend]) -> dict[str, int]:
        """Return the places by name. The object stays the same until a server or backend is added
        or removed.

        Places of removed servers are reused.
        """
        present = {
            place_name(server)
            for backend in backends.values()
            for server in backend.group.servers.values()
        }
        present.update(queue_place(name) for name in backends)
        if present != self._places.keys():
            places = {name: place for name, place in self._places.items() if name in present}
            taken = set(places.values())
            free = (one for one in range(PLACES) if one not in taken)
            places.update(zip(sorted(present - places.keys()), free, strict=False))
            self._places = places
        return self._places
