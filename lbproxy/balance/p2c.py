"""PURE. ``balance = p2c``: of two servers drawn by weight, the one with fewer active leases per weight.

The power of two choices (Mitzenmacher 2001): nearly as even as leastconn, without the herd that runs to
the one least loaded server when several load balancers share the servers.  O(1) with equal weights,
O(log n) otherwise; a full server leaves the draw until a lease of it ends.
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
        # a / w <= b / v without dividing; the first drawn wins a tie, so ties follow the weights
        return one if one.active * other.weight <= other.active * one.weight else other

    def scores(self, context: PickContext) -> list[tuple[ServerState, float, str]]:
        """Load per weight: of any two drawn, the lower wins."""
        return [
            (
                s,
                s.active / s.weight,
                f"{s.active} active, weight {s.weight}" + (", full" if s.full else ""),
            )
            for s in self.servers
        ]
