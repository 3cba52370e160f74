from __future__ import annotations

import pytest

from lbproxy.balance.group import ServerGroup
from lbproxy.balance.lease import LeaseError
from lbproxy.balance.server import AdminState, ServerState, State
from lbproxy.config.model import Address, ServerSpec
from lbproxy.errors import Outcome

from .tools import ADDRESS, Clock, Context, Recorder, group_of, server, servers

UP, DOWN, DRAIN, MAINT = State.UP, State.DOWN, State.DRAIN, State.MAINT


@pytest.fixture
def balancer() -> Recorder:
    return Recorder()


def test_a_lease_counts_and_tells_once(balancer: Recorder) -> None:
    (a,) = members = [server("a")]
    group = group_of(balancer, members)
    lease = group.pick(Context())
    assert lease is not None and lease.server is a and lease.held and a.active == 1
    lease.release(Outcome.FAILED, 0.5)
    assert not lease.held and a.active == 0
    assert balancer.told == ["+a=1", "-a=0 failed 0.5"]
    with pytest.raises(LeaseError, match="twice"):
        lease.release(Outcome.OK)
    assert a.active == 0 and len(balancer.told) == 2


def test_told_only_of_real_changes(balancer: Recorder) -> None:
    a, b, spare = server("a"), server("b", 2), server("spare", backup=True)
    group = group_of(balancer, [a, b, spare])
    assert balancer.changes == [["a*1", "b*2"]]
    group.set_weight("b", 2)
    group.set_weight("spare", 7)
    group.set_health(a, True, "still fine")
    group.set_addresses(a, (ADDRESS, ADDRESS))
    group.set_admin("spare", AdminState.MAINT)
    group.set_admin("spare", AdminState.READY)
    group.set_maxconn("a", 5)
    group.remove("spare")
    group.add(spare)
    assert len(balancer.changes) == 1
    group.set_weight("b", 3)
    group.set_weight("b", 0)
    group.set_weight("a", 4)
    group.set_health(a, False, "refused")
    assert balancer.changes[1:] == [["a*1", "b*3"], ["a*1"], ["a*4"], ["spare*7"]]
    assert a.health_note == "refused"


def test_backups_serve_only_when_nobody_else_can(balancer: Recorder) -> None:
    a, spare = server("a"), server("spare", backup=True)
    group = group_of(balancer, [spare, a])
    assert group.listed == (a,) and group.only(a) and not group.only(spare)
    group.set_health(a, False)
    assert group.listed == (spare,) and spare.listed and not a.listed
    group.set_health(a, True)
    assert group.listed == (a,)
    group.set_admin("a", AdminState.DRAIN)
    group.set_health(spare, False)
    assert not group.has_eligible and not group.has_free and group.eligible_count == 0
    assert group.pick(Context()) is None


def test_free_follows_maxconn(balancer: Recorder) -> None:
    members = servers([1, 1], maxconn=2)
    group = group_of(balancer, members)
    leases = [group.pick(Context()) for _ in range(4)]
    assert all(leases) and group.free == 0 and group.has_eligible and not group.has_free
    balancer.answer = RuntimeError("must not be asked")
    assert group.pick(Context()) is None and group.balancer_errors == 0
    balancer.answer = None
    group.set_maxconn("s0", 3)
    assert group.free == 1 and group.pick(Context()) is not None and group.free == 0
    group.set_maxconn("s0", 0)
    assert group.free == 1
    group.set_maxconn("s0", 1)  # below what it holds
    assert group.free == 0
    for lease in leases:
        assert lease is not None
        lease.release(Outcome.OK)
    assert [m.active for m in members] == [1, 0] and group.free == 1
    assert len(balancer.changes) == 4


def test_freed_places_are_announced(balancer: Recorder) -> None:
    a, b = server("a", maxconn=1), server("b", maxconn=1)
    group = group_of(balancer, [a])
    heard: list[int] = []
    group.on_free(lambda: heard.append(group.free))
    lease = group.pick(Context())
    assert lease is not None and heard == []
    lease.release(Outcome.OK)
    assert heard == [1]
    group.add(b)
    assert heard == [1, 2]
    group.set_admin("b", AdminState.MAINT)
    assert heard == [1, 2]
    group.set_weight("a", 5)
    assert heard == [1, 2], "no place has become free"


def test_other_servers_to_avoid_do_not_matter(balancer: Recorder) -> None:
    a, b, c = servers([1, 1, 1])
    group = group_of(balancer, [a, b, c])
    balancer.answer = c
    lease = group.pick(Context(), (a,))
    assert lease is not None and lease.server is c and group.balancer_errors == 0


def test_a_balancer_that_does_not_know_the_list_is_replaced_by_the_first(
    balancer: Recorder,
) -> None:
    """Its None counts only once it has taken the list."""
    a, b = servers([1, 1])
    group = group_of(balancer, [a])
    assert group.pick(Context(), (a,)) is None and group.has_free
    balancer.breaks = "servers_changed"
    group.add(b)
    balancer.servers = []
    lease = group.pick(Context(), (a,))
    assert lease is not None and lease.server is b and group.balancer_errors == 1
    balancer.breaks = ""
    group.set_weight(b.name, 2)
    balancer.servers = []
    assert group.pick(Context()) is None and group.balancer_errors == 1


def test_a_check_and_an_agent_that_want_no_new_work() -> None:
    clock = Clock()
    clock.time = 1234.0
    a = server("a")
    group = group_of(Recorder(), [a], clock)
    assert a.since == 1234.0
    group.set_leaving(a, True)
    assert a.state is DRAIN and not group.has_eligible
    group.set_leaving(a, False)
    assert a.state is UP and group.has_eligible
    group.set_agent(a, DRAIN, "busy")
    assert (a.state, a.agent_note) == (DRAIN, "busy")


def test_an_agent_scales_the_weight(balancer: Recorder) -> None:
    a, b = server("a", weight=10), server("b", weight=10)
    group = group_of(balancer, [a, b])
    full = b.weight
    group.set_agent_share(a, 0.5)
    assert a.weight * 2 == b.weight
    group.set_agent_share(a, 0.0)
    assert group.listed == (b,)
    group.set_agent_share(a, 1.0)
    assert group.listed == (a, b) and a.weight == b.weight == full


def test_who_hears_of_addresses_and_of_the_list(balancer: Recorder) -> None:
    a = server("a")
    group = group_of(balancer, [a])
    addresses: list[object] = []
    changes: list[tuple[object, ...]] = []
    group.on_addresses(addresses.append)
    group.on_change(lambda: changes.append(group.listed))
    group.set_unusable(a, frozenset(["10.0.0.1"]))
    group.set_unusable(a, frozenset(["10.0.0.1"]))
    assert (addresses, changes) == ([a], [])
    group.set_addresses(a, ())
    assert (addresses, changes) == ([a, a], [()])


def test_leases_are_counted(balancer: Recorder) -> None:
    a = server("a", maxconn=2)
    group = group_of(balancer, [a])
    assert (group.active, group.free) == (0, 1)
    one, two = group.pick(Context()), group.take(a)
    assert one is not None and two is not None
    assert (group.active, group.free, a.active) == (2, 0, 2)
    one.release(Outcome.OK)
    assert (group.active, group.free, a.active) == (1, 1, 1)
    two.release(Outcome.FAILED)
    assert (group.active, group.free, a.active) == (0, 1, 0)


def test_states_and_who_hears_of_them(balancer: Recorder) -> None:
    clock = Clock()
    a = server("a")
    group = group_of(balancer, [a], clock)
    heard: list[tuple[str, State, State]] = []
    group.on_state(lambda s, old, new: heard.append((s.name, old, new)))
    clock.time = 2000.0
    group.set_health(a, False, "no answer")
    group.set_health(a, False, "no answer again")
    clock.time = 3000.0
    group.set_admin("a", AdminState.DRAIN)
    group.set_health(a, True)
    group.set_admin("a", AdminState.MAINT)
    group.set_admin("a", AdminState.READY)
    group.set_addresses(a, ())
    assert heard == [
        ("a", UP, DOWN),
        ("a", DOWN, DRAIN),
        ("a", DRAIN, MAINT),
        ("a", MAINT, UP),
        ("a", UP, DOWN),
    ]
    assert a.since == 3000.0


def test_changes_are_told_together(balancer: Recorder) -> None:
    a, b = members = servers([1, 1])
    group = group_of(balancer, members)
    heard: list[bool] = []
    group.on_state(lambda s, old, new: heard.append(b.listed))
    with group.changes():
        group.set_health(a, False)
        group.set_weight("s1", 5)
        group.add(server("c"))
        assert balancer.changes == [["s0*1", "s1*1"]] and heard == []
    assert balancer.changes[1:] == [["s1*5", "c*1"]] and heard == [True]


def test_order_is_the_configurations(balancer: Recorder) -> None:
    group = group_of(balancer, servers([1, 1, 1]))
    group.reorder(["s2", "nobody", "s0"])
    assert list(group.servers) == ["s2", "s0", "s1"]
    assert balancer.changes[-1] == ["s2*1", "s0*1", "s1*1"]


def test_a_removed_server_and_its_namesake(balancer: Recorder) -> None:
    a = server("a", maxconn=1)
    group = group_of(balancer, [a])
    lease = group.pick(Context())
    assert lease is not None
    assert group.remove("a") is a and not a.listed and not group.has_eligible
    again = server("a", maxconn=1)
    group.add(again)
    assert group.free == 1
    lease.release(Outcome.OK)
    assert (a.active, again.active, group.free) == (0, 0, 1)
    group.set_health(a, False)  # a late verdict on the one that is gone
    group.set_addresses(a, ())
    assert group.listed == (again,)
    assert group.take(a) is None


def test_mistakes_of_callers(balancer: Recorder) -> None:
    group = group_of(balancer, [server("a")])
    with pytest.raises(ValueError, match="already has a server a"):
        group.add(server("a"))
    with pytest.raises(ValueError, match="negative"):
        group.set_weight("a", -1)
    with pytest.raises(ValueError, match="negative"):
        group.set_maxconn("a", -1)
    for call in (group.remove, lambda n: group.set_admin(n, AdminState.MAINT)):
        with pytest.raises(KeyError):
            call("nobody")


def test_take_gives_this_very_server(balancer: Recorder) -> None:
    a, spare = server("a"), server("spare", maxconn=1, backup=True)
    group = group_of(balancer, [a, spare])
    lease = group.take(spare)
    assert lease is not None and lease.server is spare and group.free == 1
    assert group.take(spare) is None  # full
    lease.release(Outcome.OK)
    assert group.free == 1
    group.set_admin("a", AdminState.DRAIN)
    lease = group.take(a)
    assert lease is not None and group.free == 1, "drained: who belongs there still comes"
    lease.release(Outcome.OK)
    group.set_admin("a", AdminState.MAINT)
    assert group.take(a) is None
    group.set_admin("a", AdminState.READY)
    group.set_weight("a", 0)
    lease = group.take(a)
    assert lease is not None
    lease.release(Outcome.OK)
    group.set_health(a, False)
    assert group.take(a) is None
    lease = group.take(spare)
    assert lease is not None and group.free == 0
    lease.release(Outcome.OK)
    assert group.free == 1
    spare_twice = ["+spare=1", "-spare=0 ok -1"]
    a_twice = ["+a=1", "-a=0 ok -1"]
    assert balancer.told == spare_twice + a_twice * 2 + spare_twice


@pytest.mark.parametrize("wrong", ["raises", "unlisted", "full", "avoided"])
def test_a_broken_pick_costs_evenness_only(balancer: Recorder, wrong: str) -> None:
    full, down, avoided, good = servers([1, 1, 1, 1])
    group = group_of(balancer, [full, down, avoided, good])
    errors: list[Exception] = []
    group.on_error(errors.append)
    group.set_health(down, False)
    group.set_maxconn("s0", 1)
    assert group.pick(Context()) is not None
    balancer.answer = {
        "raises": ZeroDivisionError(),
        "unlisted": down,
        "full": full,
        "avoided": avoided,
    }[wrong]
    lease = group.pick(Context(), (avoided,))
    assert lease is not None and lease.server is good
    assert group.balancer_errors == len(errors) == 1
    assert group.pick(Context(), (avoided, good)) is None
    assert full.active == good.active == 1


@pytest.mark.parametrize("where", ["taken", "released", "servers_changed"])
def test_a_balancer_that_cannot_be_told(balancer: Recorder, where: str) -> None:
    balancer.breaks = where
    a = server("a", maxconn=1)
    group = group_of(balancer, [a])
    lease = group.pick(Context())
    assert lease is not None and a.active == 1 and group.free == 0
    lease.release(Outcome.OK)
    assert a.active == 0 and group.free == 1 and group.balancer_errors == 1


def test_another_balancer_takes_over(balancer: Recorder) -> None:
    group = group_of(balancer, servers([1, 2]))
    lease = group.pick(Context())
    assert lease is not None
    lease.server.private = "the old one's"
    second = Recorder()
    group.set_balancer(second)
    assert second.changes == [["s0*1", "s1*2"]] and lease.server.private is None
    lease.release(Outcome.OK)
    assert second.told == ["-s0=0 ok -1"] and balancer.told == ["+s0=1"]


@pytest.mark.parametrize(
    ("address", "known"),
    [
        (Address("tcp", "10.0.0.1", 80), True),
        (Address("tcp", "::1", 80), True),
        (Address("unix", path="/run/x"), True),
        (Address("tcp", "db.example", 80), False),
    ],
)
def test_names_have_no_address_until_resolved(address: Address, known: bool) -> None:
    state = ServerState.from_spec("b", ServerSpec("a", address, weight=3, maxconn=9))
    assert (state.weight, state.maxconn) == (3, 9)
    assert state.addresses == ((address,) if known else ())
    assert state.state is (UP if known else DOWN)
    group = ServerGroup(Recorder(), Clock())
    group.add(state)
    assert group.has_eligible is known
    group.set_addresses(state, (ADDRESS,))
    assert group.has_eligible
