"""PURE. Random selection by weight among the servers that are not full.

:class:`Sampled` is the base of the random balancers. It keeps a :class:`Sampler` of the servers
that have room. This costs nothing while no server reaches its ``maxconn``, and at most O(log n)
when one becomes full or gets room.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from lbproxy.balance.base import Balancer
from lbproxy.balance.server import ServerState
from lbproxy.compiled import native
from lbproxy.errors import Outcome
from lbproxy.interfaces import Env, PickContext

__all__ = ["EqualSampler", "Sampled", "Sampler", "WeightedSampler", "sampler"]


class Sampler:
    """A set of servers to draw from. Only its initial members can be removed and added again."""

    __slots__ = ()

    def draw(self, u: float) -> ServerState:
        """Return the server at the fraction ``u`` of the total weight, 0 <= u < 1.

        Raises IndexError if the set is empty.
        """
        raise NotImplementedError

    def draw_two(self, u: float, v: float) -> tuple[ServerState, ServerState]:
        """Return two draws, which may be the same server."""
        raise NotImplementedError

    def drop(self, server: ServerState) -> bool:
        """Remove a server. Return False if it was not in the set."""
        raise NotImplementedError

    def add(self, server: ServerState) -> bool:
        """Add a removed member again. Return False if the server is not a member or is in the set
        already.
        """
        raise NotImplementedError

    def __len__(self) -> int:
        """Return the number of servers that can be drawn."""
        raise NotImplementedError


class EqualSampler(Sampler):
    """Equal weights: an array in which the last server fills the gap of a removed one. O(1)."""

    __slots__ = ("items", "members", "place")

    def __init__(self, servers: Sequence[ServerState]) -> None:
        self.items = [server for server in servers if not server.full]
        self.place = {server: index for index, server in enumerate(self.items)}
        self.members = frozenset(servers)

    def draw(self, u: float) -> ServerState:
        """See :class:`Sampler`."""
        items = self.items
        return items[int(u * len(items))]

    def draw_two(self, u: float, v: float) -> tuple[ServerState, ServerState]:
        """See :class:`Sampler`."""
        items = self.items
        count = len(items)
        if count < 2:
            return items[0], items[0]
        first = int(u * count)
        second = int(v * (count - 1))
        if second >= first:
            second += 1
        return items[first], items[second]

    def drop(self, server: ServerState) -> bool:
        """See :class:`Sampler`."""
        index = self.place.pop(server, -1)
        if index < 0:
            return False
        last = self.items.pop()
        if last is not server:
            self.items[index] = last
            self.place[last] = index
        return True

    def add(self, server: ServerState) -> bool:
        """See :class:`Sampler`."""
        if server in self.place or server not in self.members:
            return False
        self.place[server] = len(self.items)
        self.items.append(server)
        return True

    def __len__(self) -> int:
        return len(self.items)


class WeightedSampler(Sampler):
    """Any weights: a Fenwick tree in which a removed server has weight 0. O(log n)."""

    __slots__ = ("count", "place", "present", "servers", "total", "tree", "width")

    def __init__(self, servers: Sequence[ServerState]) -> None:
        self.servers = tuple(servers)
        self.place = {server: index for index, server in enumerate(servers)}
        self.present = [not server.full for server in servers]
        weights = [s.weight if here else 0 for s, here in zip(servers, self.present, strict=True)]
        self.count = sum(self.present)
        self.total = sum(weights)
        self.tree = tree = [0, *weights]
        for index in range(1, len(tree)):
            parent = index + (index & -index)
            if parent < len(tree):
                tree[parent] += tree[index]
        self.width = int(2 ** (len(servers).bit_length() - 1)) if servers else 0

    def draw(self, u: float) -> ServerState:
        """See :class:`Sampler`."""
        if not self.count:
            raise IndexError("nothing to draw from")
        tree = self.tree
        size = len(tree)
        target = int(u * self.total)
        index = 0
        step = self.width
        while step:
            further = index + step
            if further < size and tree[further] <= target:
                index = further
                target -= tree[further]
            step >>= 1
        return self.servers[index]

    def draw_two(self, u: float, v: float) -> tuple[ServerState, ServerState]:
        """See :class:`Sampler`."""
        return self.draw(u), self.draw(v)

    def drop(self, server: ServerState) -> bool:
        """See :class:`Sampler`."""
        index = self.place.get(server, -1)
        if index < 0 or not self.present[index]:
            return False
        self.present[index] = False
        self.count -= 1
        self._grow(index, -server.weight)
        return True

    def add(self, server: ServerState) -> bool:
        """See :class:`Sampler`."""
        index = self.place.get(server, -1)
        if index < 0 or self.present[index]:
            return False
        self.present[index] = True
        self.count += 1
        self._grow(index, server.weight)
        return True

    def _grow(self, index: int, weight: int) -> None:
        tree = self.tree
        size = len(tree)
        self.total += weight
        index += 1
        while index < size:
            tree[index] += weight
            index += index & -index

    def __len__(self) -> int:
        return self.count


def sampler(servers: Sequence[ServerState]) -> Sampler:
    """Return the cheapest sampler that supports these weights."""
    if len({server.weight for server in servers}) <= 1:
        return EqualSampler(servers)
    return WeightedSampler(servers)


@native(allow_interpreted_subclasses=True)
class Sampled(Balancer):
    """A balancer that draws from ``self.free``: its servers that are not full."""

    def __init__(self, options: Any, env: Env) -> None:
        super().__init__(options, env)
        self.free: Sampler = sampler(())
        self._random = env.random.random

    def servers_changed(self, servers: Sequence[ServerState]) -> None:
        """See :class:`lbproxy.interfaces.IBalancer`."""
        self.servers = servers
        self.free = sampler(servers)

    def taken(self, server: ServerState) -> None:
        """See :class:`lbproxy.interfaces.IBalancer`."""
        if 0 < server.maxconn <= server.active:
            self.free.drop(server)

    def released(self, server: ServerState, outcome: Outcome, seconds: float) -> None:
        """See :class:`lbproxy.interfaces.IBalancer`."""
        if server.active < server.maxconn:
            self.free.add(server)

    def pick(self, context: PickContext, avoid: Collection[ServerState]) -> ServerState | None:
        """See :class:`lbproxy.interfaces.IBalancer`."""
        if avoid:
            return self._pick_without(avoid)
        return self.choose() if len(self.free) else None

    def choose(self) -> ServerState:
        """Return a server of ``self.free``, which is not empty."""
        raise NotImplementedError(f"{type(self).__name__}.choose")

    def _pick_without(self, avoid: Collection[ServerState]) -> ServerState | None:
        free = self.free
        dropped = [server for server in avoid if free.drop(server)]
        try:
            return self.choose() if len(free) else None
        finally:
            for server in dropped:
                free.add(server)
