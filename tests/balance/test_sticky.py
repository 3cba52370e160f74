"""Who is sent where: the rules of stickiness, with a table and without."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproxy.balance.server import AdminState, State
from lbproxy.balance.sticky import (
    HeaderSticky,
    SNISticky,
    SourceOptions,
    SourceSticky,
    Sticky,
    StickyHeaderOptions,
    TableOptions,
)
from lbproxy.errors import Outcome
from lbproxy.http.message import RequestHead
from lbproxy.interfaces import Env

from .tools import Clock, Context, group_of, make, server


class Bench:
    """Three servers and a kind of stickiness."""

    def __init__(self, sticky: Sticky, **limits: int) -> None:
        self.sticky = sticky
        self.servers = {name: server(name, maxconn=limits.get(name, 0)) for name in "abc"}
        self.group = group_of(make("roundrobin"), list(self.servers.values()))
        sticky.bind(self.group)

    def go(self, context: Any, *avoid: str, hold: bool = False) -> str | None:
        lease = self.sticky.pick(context, [self.servers[name] for name in avoid])
        if lease is None:
            return None
        if not hold:
            lease.release(Outcome.OK)
        return lease.server.name


@pytest.fixture
def clock() -> Clock:
    return Clock()


def source(clock: Clock, **options: Any) -> SourceSticky:
    return SourceSticky(SourceOptions(**options), Env(clock, Random(0)))


def test_a_client_stays_where_it_was(clock: Clock) -> None:
    bench = Bench(source(clock))
    first = {ip: bench.go(Context(ip)) for ip in ("10.0.0.1", "10.0.0.2", "10.0.0.3")}
    assert set(first.values()) == {"a", "b", "c"}
    for _ in range(5):
        for ip, name in first.items():
            assert bench.go(Context(ip)) == name
    assert bench.sticky.counters.kept == 15


def test_drain_and_weight_0_keep_clients_and_get_no_new_ones(clock: Clock) -> None:
    bench = Bench(source(clock))
    mine = bench.go(Context("10.0.0.1"))
    assert mine is not None
    for change in (
        lambda: bench.group.set_admin(mine, AdminState.DRAIN),
        lambda: (bench.group.set_admin(mine, AdminState.READY), bench.group.set_weight(mine, 0)),
        lambda: bench.group.set_agent(bench.servers[mine], State.DRAIN),
        lambda: (
            bench.group.set_agent(bench.servers[mine], State.UP),
            bench.group.set_leaving(bench.servers[mine], True),
        ),
    ):
        change()
        assert bench.go(Context("10.0.0.1")) == mine
        others = {bench.go(Context(f"10.1.0.{n}")) for n in range(20)}
        assert mine not in others


@pytest.mark.parametrize(
    "how", ["down", "maint", "agent down", "agent maint", "ejected", "removed", "tried"]
)
def test_a_broken_bond_moves_the_client_for_good(clock: Clock, how: str) -> None:
    bench = Bench(source(clock))
    mine = bench.go(Context("10.0.0.1"))
    assert mine is not None
    avoid: tuple[str, ...] = ()
    if how == "down":
        bench.group.set_health(bench.servers[mine], False)
    elif how == "maint":
        bench.group.set_admin(mine, AdminState.MAINT)
    elif how.startswith("agent"):
        bench.group.set_agent(bench.servers[mine], State(how.removeprefix("agent ")))
    elif how == "ejected":
        bench.group.set_ejected(bench.servers[mine], True)
    elif how == "removed":
        bench.group.remove(mine)
    else:
        avoid = (mine,)
    other = bench.go(Context("10.0.0.1"), *avoid)
    assert other not in (None, mine)
    if how == "down":
        bench.group.set_health(bench.servers[mine], True)
    assert bench.go(Context("10.0.0.1")) == other, "it does not wander back"
    assert bench.sticky.counters.moved == 1


def test_a_full_server_lends_its_client_and_gets_it_back(clock: Clock) -> None:
    bench = Bench(source(clock), a=1, b=1, c=1)
    mine = bench.go(Context("10.0.0.1"))
    held = bench.sticky.pick(Context("10.0.0.1"))
    assert held is not None and held.server.name == mine
    assert bench.go(Context("10.0.0.1")) not in (None, mine)
    assert bench.sticky.counters.lent == 1
    held.release(Outcome.OK)
    assert bench.go(Context("10.0.0.1")) == mine


def test_when_all_are_full_nobody_is_moved(clock: Clock) -> None:
    bench = Bench(source(clock), a=1, b=1, c=1)
    mine = bench.go(Context("10.0.0.1"))
    for n in range(3):
        assert bench.go(Context(f"10.1.0.{n}"), hold=True)
    assert bench.go(Context("10.0.0.1")) is None
    assert bench.sticky.table is not None and bench.sticky.table.count(str(mine)) == 2
    assert (bench.sticky.counters.lent, bench.sticky.counters.moved) == (0, 0)


def test_keep_gives_its_own_server_or_none(clock: Clock) -> None:
    bench = Bench(source(clock))
    assert bench.sticky.keep(Context("10.0.0.1")) is None
    mine = bench.go(Context("10.0.0.1"))
    lease = bench.sticky.keep(Context("10.0.0.1"))
    assert lease is not None and lease.server.name == mine
    lease.release(Outcome.OK)
    assert bench.sticky.keep(Context("10.0.0.1"), [lease.server]) is None


def test_a_bond_ends_when_it_is_not_used(clock: Clock) -> None:
    bench = Bench(source(clock, expire=60.0))
    bench.go(Context("10.0.0.1"))
    clock.time += 59
    bench.go(Context("10.0.0.1"))
    clock.time += 59
    bench.go(Context("10.0.0.1"))
    assert bench.sticky.counters.kept == 2
    clock.time += 61
    bench.go(Context("10.0.0.1"))
    assert bench.sticky.counters.kept == 2


def test_a_bug_costs_stickiness_and_no_traffic(clock: Clock) -> None:
    class Broken(Sticky):
        def belongs(self, context: Any) -> str | None:
            raise ZeroDivisionError

    class Unsettled(Broken):
        def belongs(self, context: Any) -> str | None:
            return None

        def settled(self, *args: Any) -> None:
            raise ZeroDivisionError

    for cls in (Broken, Unsettled):
        bench = Bench(cls(None, Env(clock, Random(0))))
        assert [bench.go(Context()) for _ in range(3)] == ["a", "b", "c"]
        assert bench.group.balancer_errors == 3
    assert Bench(Broken(None, Env(clock, Random(0)))).sticky.keep(Context()) is None


@pytest.mark.parametrize(
    ("options", "one", "other", "same"),
    [
        ({}, "10.0.0.1", "10.0.0.2", False),
        ({"prefix": 24}, "10.0.0.1", "10.0.0.254", True),
        ({"prefix": 24}, "10.0.0.1", "10.0.1.1", False),
        ({"prefix": 1}, "10.0.0.1", "127.255.255.255", True),
        ({}, "2001:db8::1", "2001:db8::ffff:ffff", True),
        ({"prefix6": 128}, "2001:db8::1", "2001:db8::2", False),
        ({}, "2001:db8::1", "2001:db8:0:1::1", False),
        ({}, "::ffff:10.0.0.1", "10.0.0.1", True),
        ({}, "0.0.0.0", "::", False),
    ],
)
def test_which_addresses_are_one_client(
    clock: Clock, options: Any, one: str, other: str, same: bool
) -> None:
    sticky = source(clock, **options)
    assert (sticky.key(Context(one)) == sticky.key(Context(other))) is same


def test_who_has_no_address_is_balanced_as_ever(clock: Clock) -> None:
    bench = Bench(source(clock))
    assert [bench.go(Context("")) for _ in range(3)] == ["a", "b", "c"]
    assert list(bench.sticky.entries()) == []


def test_a_header_is_kept_as_a_digest(clock: Clock) -> None:
    bench = Bench(HeaderSticky(StickyHeaderOptions(header="X-User"), Env(clock, Random(0))))

    def user(name: bytes) -> Context:
        return Context(request=RequestHead(b"GET", b"/", [(b"x-USER", name)]))

    first = {name: bench.go(user(name)) for name in (b"ann", b"bob", b"eve")}
    assert all(bench.go(user(name)) == at for name, at in first.items())
    shown = list(bench.sticky.entries())
    assert len(shown) == 3 and all(len(entry.key) == 32 for entry in shown)
    without = Context(request=RequestHead(b"GET", b"/", []))
    assert {bench.go(without) for _ in range(3)} == {"a", "b", "c"}
    assert len(list(bench.sticky.entries())) == 3


def test_a_server_name(clock: Clock) -> None:
    bench = Bench(SNISticky(TableOptions(), Env(clock, Random(0))))
    first = [bench.go(Context(sni=f"{n}.example.com")) for n in range(3)]
    assert [bench.go(Context(sni=f"{n}.example.com")) for n in range(3)] == first
    assert [entry.key for entry in bench.sticky.entries(1)] == ["2.example.com"]


@given(st.lists(st.tuples(st.integers(0, 7), st.sampled_from("abc"), st.booleans()), max_size=40))
def test_nobody_leaves_a_living_server(steps: list[tuple[int, str, bool]]) -> None:
    """Whatever goes up and down: a client is moved only when its server cannot serve it."""
    bench = Bench(source(Clock()))
    at: dict[str, str | None] = {}
    for number, name, healthy in steps:
        bench.group.set_health(bench.servers[name], healthy)
        ip = f"10.0.0.{number}"
        before = at.get(ip)
        now = bench.go(Context(ip))
        if before is not None and bench.servers[before].healthy:
            assert now == before
        assert (now is None) is not any(s.healthy for s in bench.servers.values())
        if now is not None:
            at[ip] = now
    table = bench.sticky.table
    assert table is not None and sum(table.count(name) for name in "abc") == len(table) == len(at)


def test_a_reload_keeps_what_means_the_same(clock: Clock) -> None:
    old = Bench(source(clock))
    mine = old.go(Context("10.0.0.1"))
    new = source(clock, size=50)
    assert new.adopt(old.sticky)
    bench = Bench(new)
    assert bench.go(Context("10.0.0.1")) == mine and new.counters.kept == 1
    assert not source(clock, prefix=24).adopt(old.sticky)
    header = HeaderSticky(StickyHeaderOptions(header="X"), Env(clock, Random(0)))
    assert not header.adopt(old.sticky)


def test_the_snapshot_is_plain(clock: Clock) -> None:
    bench = Bench(source(clock, size=2))
    for n in range(3):
        bench.go(Context(f"10.0.0.{n}"))
    assert bench.sticky.snapshot() == {
        "kind": "source", "kept": 0, "moved": 0, "lent": 0, "cookies": 0,
        "table": {"entries": 2, "size": 2, "created": 3, "evicted": 1, "expired": 0},
    }  # fmt: skip


def test_a_client_that_cannot_be_identified_has_nothing_to_forget(clock: Clock) -> None:
    bench = Bench(source(clock))
    bench.go(Context("10.0.0.1"))
    bench.sticky.forget(Context(""))
    assert bench.sticky.belongs(Context("10.0.0.1")) is not None
    bench.sticky.forget(Context("10.0.0.1"))
    assert bench.sticky.belongs(Context("10.0.0.1")) is None
