"""PURE. How many long-lived sessions have to move so that each server has its fair share by weight.

Only what is above a share moves, and only if it is above by more than the tolerance; servers at or below their
share lose nothing.  When what has moved has arrived where room is, the next plan is empty.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

from attrs import frozen

__all__ = ["Load", "plan"]

K = TypeVar("K", bound=Hashable)


@frozen
class Load(Generic[K]):
    """``active`` sessions of a server, and what it may take: its ``weight``, or nothing if it is not ``eligible``."""

    server: K
    active: int
    weight: int
    eligible: bool = True


def plan(loads: Iterable[Load[K]], tolerance: float = 0.0) -> dict[K, int]:
    """How many to move away from each server that has too many; empty when all is well.

    ``tolerance``: how much above its share a server may be, as a part of that share.  Shares are rounded up.
    Servers that are not eligible (down, drained, weight 0) neither give nor take.  O(servers).
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
