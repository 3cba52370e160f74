"""PURE. The tiers of a backend, and what happens if too few servers are up.

:class:`lbproxy.balance.group.ServerGroup` calls it after each change. The rules:

1. A *candidate* has a positive weight and an address, and is not in drain or maint.
2. Servers are grouped in tiers by ``tier``; servers with ``backup`` come after all others.
3. The active tier is the first one in which a candidate is up, and at least the share ``panic`` of
   the candidates.
4. With ``panic`` and no such tier, health is ignored: all candidates of the first tier that has any
   are used. If most servers seem dead, either the checks are wrong, or the few that are left would
   be overloaded.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lbproxy.balance.server import ServerState

__all__ = ["choose", "peers", "tier_of"]

_LAST = 1 << 30


def tier_of(server: ServerState) -> int:
    """Return the tier of a server; the lowest is used first."""
    return _LAST if server.spec.backup else server.spec.tier


def choose(
    servers: Iterable[ServerState], panic: float = 0.0
) -> tuple[tuple[ServerState, ...], bool]:
    """Return the servers that may be picked, in order, and whether this is panic mode."""
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
    """Return the candidates of the tier of ``server``, including itself."""
    tier = tier_of(server)
    return [one for one in servers if one.candidate and tier_of(one) == tier]
