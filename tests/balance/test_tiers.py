"""Which tier serves, and what panic means."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lbproxy.balance.group import ServerGroup
from lbproxy.balance.server import AdminState, ServerState, State
from lbproxy.balance.tiers import choose, peers
from lbproxy.config.model import ServerSpec
from tests.balance.tools import ADDRESS, Clock, Context, make


def server(name: str, tier: int = 0, *, up: bool = True, backup: bool = False) -> ServerState:
    spec = ServerSpec(name, ADDRESS, tier=tier, backup=backup)
    state = ServerState.from_spec("b", spec)
    state.healthy = up
    return state


def names(servers, panic: float = 0.0) -> tuple[str, bool]:
    listed, panicking = choose(servers, panic)
    return "".join(one.name for one in listed), panicking


def test_the_lowest_tier_with_somebody_up() -> None:
    a, b, c, d = server("a"), server("b", 1), server("c", 2), server("d", backup=True)
    everyone = [d, c, b, a]
    for dead, serving in ((None, "a"), (a, "b"), (b, "c"), (c, "d"), (d, "")):
        if dead:
            dead.healthy = False
        assert names(everyone) == (serving, False)


def test_panic_ignores_health() -> None:
    servers = [server("a"), *(server(name, up=False) for name in "bcd")]
    assert names(servers) == ("a", False)
    assert names(servers, 0.25) == ("a", False)
    assert names(servers, 0.3) == ("abcd", True)


def test_a_tier_that_is_well_goes_before_panic() -> None:
    servers = [server("a", up=False), server("b", up=False), server("s", backup=True)]
    assert names(servers, 0.5) == ("s", False)
    servers[2].healthy = False
    assert names(servers, 0.5) == ("ab", True)
    servers[1].healthy = True  # half is enough
    assert names(servers, 0.5) == ("b", False)


def test_panic_does_not_override_operators() -> None:
    servers = [server(name, up=False) for name in "abcd"]
    servers[0].admin = AdminState.DRAIN
    servers[1].addresses = ()
    servers[2].weight = 0
    assert names(servers, 1.0) == ("d", True)
    assert names(servers[:3], 1.0) == ("", False)


def test_the_group_in_panic() -> None:
    group = ServerGroup(make("roundrobin"), Clock(), panic=0.5)
    for name in "abc":
        group.add(server(name))
    a, b, c = group.servers.values()
    group.set_health(a, False)
    assert not group.panicking
    group.set_ejected(b, True, "too slow")
    assert group.panicking
    assert (b.state, b.note) == (State.DOWN, "too slow")
    assert {group.pick(Context()).server for _ in range(3)} == {a, b, c}
    assert group.take(a)
    group.set_addresses(a, ())
    assert a not in group.listed
    group.set_ejected(b, False)
    assert not group.panicking
    assert group.listed == (b, c)


def test_no_more_than_the_share_may_be_ejected() -> None:
    group = ServerGroup(make("roundrobin"), Clock())
    for name in "abcd":
        group.add(server(name))
    group.add(server("s", backup=True))
    a, b, c, d, spare = group.servers.values()
    assert not group.may_eject(a, 0.2)
    assert group.may_eject(a, 0.25)
    group.set_ejected(a, True)
    assert not group.may_eject(b, 0.25)
    assert group.may_eject(b, 0.5)
    group.set_health(c, False)  # down by its checks counts as well
    assert not group.may_eject(b, 0.5)
    assert not group.may_eject(spare, 0.5)  # alone in its tier
    assert group.may_eject(spare, 1.0)
    group.set_admin("d", AdminState.DRAIN)
    assert not group.may_eject(d, 1.0)
    assert peers(a, group.servers.values()) == [a, b, c]
    gone = group.remove("b")
    assert not group.may_eject(gone, 1.0)


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.booleans(), st.booleans(), st.booleans()), max_size=12
    ),
    st.floats(0, 1),
)
def test_laws(facts, panic: float) -> None:
    servers = []
    for i, (tier, up, drained, backup) in enumerate(facts):
        servers.append(server(f"s{i}", tier, up=up, backup=backup))
        if drained:
            servers[-1].admin = AdminState.DRAIN
    listed, panicking = choose(servers, panic)
    assert len({(s.spec.backup or s.spec.tier) for s in listed}) <= 1  # one tier
    assert all(s.candidate for s in listed)
    assert panicking or all(s.eligible for s in listed)
    assert bool(listed) or not any(s.eligible for s in servers)
    if panicking:
        assert panic > 0
        up = sum(s.eligible for s in listed)
        assert up == 0 or up < panic * len(listed)
    if panic == 0 and listed:
        best = min((s.spec.backup, s.spec.tier) for s in servers if s.eligible)
        assert (listed[0].spec.backup, listed[0].spec.tier if not best[0] else best[1]) == best
