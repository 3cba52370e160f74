"""PURE. ``balance = random``: any server, by weight.

The balancer has no state, so several load balancers in front of the same servers never move in
step. A pick is O(1) with equal weights and O(log n) otherwise. A full server is not drawn until one
of its leases ends.
"""

from __future__ import annotations

from lbproxy.balance.sampler import Sampled
from lbproxy.balance.server import ServerState
from lbproxy.interfaces import PickContext

__all__ = ["Random"]


class Random(Sampled):
    """A random server, by weight."""

    name = "random"

    def choose(self) -> ServerState:
        """See :class:`~lbproxy.balance.sampler.Sampled`."""
        return self.free.draw(self._random())

    def scores(self, context: PickContext) -> list[tuple[ServerState, float, str]]:
        """Return one minus the probability of each server."""
        total = sum(s.weight for s in self.servers if not s.full)
        result = []
        for s in self.servers:
            chance = 0.0 if s.full else s.weight / total
            note = "full" if s.full else f"drawn {chance:.1%} of the time"
            result.append((s, 1.0 - chance, note))
        return result
