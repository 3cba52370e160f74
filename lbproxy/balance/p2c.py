"""PURE. ``balance = p2c``: of two servers drawn by weight, the one with the lower load.

The load is the number of active leases per unit of weight. The power of two choices (Mitzenmacher
2001) is nearly as even as leastconn. It also avoids that several load balancers send their traffic
to the same least loaded server at once. A pick is O(1) with equal weights and O(log n) otherwise. A
full server is not drawn until one of its leases ends.
"""

from __future__ import annotations

from lbproxy.balance.sampler import Sampled
from lbproxy.balance.server import ServerState
from lbproxy.interfaces import PickContext

__all__ = ["PowerOfTwo"]


class PowerOfTwo(Sampled):
    """The less loaded of two random servers."""

    name = "p2c"

    def choose(self) -> ServerState:
        """See :class:`~lbproxy.balance.sampler.Sampled`."""
        random = self._random
        one, other = self.free.draw_two(random(), random())
        # a / w <= b / v without division; the first server drawn wins a tie, so ties follow the
        # weights
        return one if one.active * other.weight <= other.active * one.weight else other

    def scores(self, context: PickContext) -> list[tuple[ServerState, float, str]]:
        """Return the load per unit of weight. Of two servers drawn, the lower wins."""
        return [
            (
                s,
                s.active / s.weight,
                f"{s.active} active, weight {s.weight}" + (", full" if s.full else ""),
            )
            for s in self.servers
        ]
