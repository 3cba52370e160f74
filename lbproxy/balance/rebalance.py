"""PURE. The number of long-lived sessions to move so that servers have their fair shares by weight.

Only sessions above a share move, and only if the excess is above the tolerance. Servers at or below
their share lose nothing. Once the moved sessions are on servers with room, the next plan is empty.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

from attrs import frozen

__all__ = ["Load", "plan"]

K = TypeVar("K", bound=Hashable)


@frozen
class Load(Generic[K]):
    """The ``active`` sessions of a server and its ``weight``, which counts only if ``eligible``."""

    server: K
    active: int
    weight: int
    eligible: bool = True


def plan(loads: Iterable[Load[K]], tolerance: float = 0.0) -> dict[K, int]:
    """Return how many sessions to move from each overloaded server; empty if there is none.

    ``tolerance``: permitted excess, as a part of the server's share. Shares are rounded up. Servers
    that are not eligible (down, drained, weight 0) are ignored. O(servers).
    """
    there = [load for load in loads if load.eligible and load.weight > 0]
    weights = sum(load.weight for load in there)
    sessions = sum(load.active for load in there)
    moves: dict[K, int] = {}
    for load in there:
        share = -(-sessions * load.weight // weights)
        excess = load.active - share
        if excess > 0 and excess > share * tolerance:
            moves[load.server] = excess
    return moves
