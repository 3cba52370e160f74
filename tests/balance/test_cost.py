"""A pick among four thousand servers costs about what one among ten does."""

from __future__ import annotations

import time
from collections import deque

import pytest

from lbproxy.balance.lease import Lease
from lbproxy.errors import Outcome

from .tools import BUILTIN, Clock, Context, group_of, make, servers

MANY = 4_000


def cost(kind: str, weights: list[int], maxconn: int = 0) -> float:
    """Seconds for a batch of picks and releases with twenty leases held; the best of several."""
    clock = Clock()
    group = group_of(make(kind, clock), servers(weights, maxconn), clock)
    contexts = [Context(client_ip=f"10.0.0.{i}") for i in range(50)]
    held: deque[Lease | None] = deque(group.pick(context) for context in contexts[:20])
    best = float("inf")
    for _ in range(7):
        begin = time.process_time()
        for context in contexts * 10:
            held.append(group.pick(context))
            lease = held.popleft()
            assert lease is not None
            lease.release(Outcome.OK, 0.01)
        best = min(best, time.process_time() - begin)
    return best


@pytest.mark.parametrize("weights", [[1], [1, 2, 5]], ids=["equal", "weighted"])
@pytest.mark.parametrize("kind", sorted(BUILTIN))
def test_picks_do_not_grow_with_the_servers(kind: str, weights: list[int]) -> None:
    few = cost(kind, (weights * 10)[:10])
    many = cost(kind, (weights * MANY)[:MANY])
    assert many <= 4 * few + 0.002


@pytest.mark.parametrize("kind", sorted(BUILTIN))
def test_full_servers_are_not_walked_over_each_time(kind: str) -> None:
    """All but thirty of four thousand are full."""
    clock = Clock()
    members = servers([1] * MANY, maxconn=1)
    group = group_of(make(kind, clock), members, clock)
    for member in members[:-30]:
        assert group.take(member) is not None
    group.pick(Context())  # the first may sort out the full ones
    best = float("inf")
    for _ in range(5):
        begin = time.process_time()
        for _ in range(100):
            lease = group.pick(Context())
            assert lease is not None and lease.server in members[-30:]
            lease.release(Outcome.OK, 0.01)
        best = min(best, time.process_time() - begin)
    assert best < 0.03  # it takes 0.005 s; walking over them would take 0.2 s
