"""PURE. Which servers of a backend may be picked: its tiers, and what happens when too few are up.

Called by :class:`lbproxy.balance.group.ServerGroup` whenever something changed.  The rules:

1. A *candidate* has a positive weight and an address, and nobody put it in drain or maint.
2. Servers stand in tiers: by ``tier``, those with ``backup`` after all others.
3. The first tier serves of which some candidate is up, and at least the share ``panic`` of its candidates.
4. With ``panic`` and no such tier, health is ignored: all candidates of the first tier that has any serve.  When
   most servers seem dead, either the checks are wrong, or the few that are left would drown.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lbproxy.balance.server import ServerState

__all__ = ["choose", "peers", "tier_of"]

_LAST = 1 << 30


def tier_of(server: ServerState) -> int:
    """Where it stands; the lowest serves."""
    return _LAST if server.spec.backup else server.spec.tier


def choose(
    servers: Iterable[ServerState], panic: float = 0.0
) -> tuple[tuple[ServerState, ...], bool]:
    """The servers that may be picked, in order, and whether that is in panic."""
    tiers: dict[int, list[ServerState]] = {}
    for server in servers:
        if server.candidate:
            tiers.setdefault(tier_of(server), []).append(server)
    order = sorted(tiers)
    for tier in order:
        candidates = tiers[tier]
        up = [server for server in candidates if server.eligible]
        if up and len(up) >= panic * len(candidates):
            return tuple(up), False
    if panic and order:
        return tuple(tiers[order[0]]), True
    return (), False


def peers(server: ServerState, servers: Iterable[ServerState]) -> Sequence[ServerState]:
    """The candidates of the tier of ``server``, itself included."""
    tier = tier_of(server)
    return [one for one in servers if one.candidate and tier_of(one) == tier]
