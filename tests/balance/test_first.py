from __future__ import annotations

from lbproxy.balance.server import AdminState
from lbproxy.errors import Outcome

from .tools import Context, group_of, make, names, servers


def test_fills_in_order_and_falls_back() -> None:
    members = servers([1, 9, 1], maxconn=2)
    group = group_of(make("first"), members)
    leases = [group.pick(Context()) for _ in range(6)]
    assert [lease and lease.server.name for lease in leases] == ["s0", "s0", "s1", "s1", "s2", "s2"]
    for index in (3, 0):
        lease = leases[index]
        assert lease is not None
        lease.release(Outcome.OK)
    assert names(group, 3) == ["s0", "s0", "s0"]


def test_the_next_one_while_the_first_is_away() -> None:
    group = group_of(make("first"), servers([1, 1]))
    assert names(group, 2) == ["s0", "s0"]
    group.set_admin("s0", AdminState.DRAIN)
    assert names(group, 2) == ["s1", "s1"]
    group.set_admin("s0", AdminState.READY)
    assert names(group, 2) == ["s0", "s0"]


def test_an_avoided_server_is_still_first_for_others() -> None:
    members = servers([1, 1, 1])
    group = group_of(make("first"), members)
    lease = group.pick(Context(), members[:2])
    assert lease is not None and lease.server is members[2]
    assert names(group, 1) == ["s0"]


def test_scores_put_full_servers_last() -> None:
    members = servers([1, 1, 1], maxconn=1)
    group = group_of(make("first"), members)
    assert group.pick(Context()) is not None
    ranked = sorted(group.balancer.scores(Context()), key=lambda row: row[1])
    assert [row[0].name for row in ranked] == ["s1", "s2", "s0"]
    assert ranked[-1][2] == "number 1 in order, full"
