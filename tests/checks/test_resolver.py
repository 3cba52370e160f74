"""Names to addresses, with a virtual clock and a resolver of our own."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.task import Clock

from lbproxy.balance.group import ServerGroup
from lbproxy.balance.roundrobin import RoundRobin
from lbproxy.balance.server import ServerState
from lbproxy.checks import resolver
from lbproxy.checks.resolver import Resolver
from lbproxy.config.model import Address, ServerSpec
from lbproxy.guard import AddressJudge
from lbproxy.net.lookup import ADDRESSES_MAX, literal_addresses


class Query:
    """One look-up under way; ``cancel`` as twisted's own resolver: it cannot."""

    def __init__(self, receiver: Any, name: str) -> None:
        self.receiver = receiver
        self.name = name

    def cancel(self) -> None:
        raise NotImplementedError

    def answer(self, *hosts: str) -> None:
        for host in hosts:
            kind = IPv6Address if ":" in host else IPv4Address
            self.receiver.addressResolved(kind("TCP", host, 0))
        self.receiver.resolutionComplete()


class Reactor(Clock):
    """A clock with a resolver that answers when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.queries: list[Query] = []
        self.broken = False

    @property
    def nameResolver(self) -> Reactor:
        return self

    def resolveHostName(self, receiver: Any, hostName: str, **_: Any) -> Query:
        if self.broken:
            raise ValueError("resolver is broken")
        query = Query(receiver, hostName)
        self.queries.append(query)
        receiver.resolutionBegan(query)
        return query

    def answer(self, *hosts: str) -> None:
        """Answer the oldest question."""
        self.queries.pop(0).answer(*hosts)


class World:
    def __init__(self, *hosts: str, **options: Any) -> None:
        self.reactor = Reactor()
        self.group = ServerGroup(RoundRobin(None, None), self.reactor.seconds)  # type: ignore[arg-type]
        for n, host in enumerate(hosts):
            self.add(f"s{n}", host)
        self.resolver = Resolver(self.group, self.reactor, every=30.0, **options)

    def add(self, name: str, host: str) -> ServerState:
        server = ServerState("app", ServerSpec(name, Address("tcp", host, 80)))
        self.group.add(server)
        return server

    def hosts(self, name: str = "s0") -> list[str]:
        return [address.host for address in self.group.servers[name].addresses]


def test_literals() -> None:
    v4, v6 = Address("tcp", "10.0.0.1", 80), Address("tcp", "fe80::1%eth0", 80)
    unix = Address("unix", path="/run/x")
    assert literal_addresses(v4) == (v4,) and literal_addresses(v6) == (v6,)
    assert literal_addresses(unix) == (unix,)
    assert literal_addresses(Address("tcp", "app.example", 80)) is None
    assert literal_addresses(Address("tcp", "", 80)) is None


def test_literals_are_set_before_start_and_at_sync() -> None:
    world = World("10.0.0.1")
    assert world.hosts() == ["10.0.0.1"] and world.group.eligible_count == 1
    world.add("late", "2001:db8::1")
    world.resolver.sync()
    assert world.hosts("late") == ["2001:db8::1"]
    world.resolver.startService()
    assert not world.reactor.queries and not world.reactor.getDelayedCalls()


def test_what_is_known_is_not_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World("10.0.0.1", "app.example", "10.0.0.2")
    world.resolver.startService()
    asked: list[str] = []

    def ask(address: Address) -> Any:
        asked.append(address.host)
        return literal_addresses(address)

    monkeypatch.setattr(resolver, "literal_addresses", ask)
    world.add("late", "10.0.0.3")
    for _ in range(3):
        world.resolver.sync()
    assert asked == ["10.0.0.3"], "many servers are added one by one"
    gone = world.group.servers["s0"]
    world.group.remove("s0")
    world.resolver.sync()
    world.add("s0", "10.0.0.9")
    world.resolver.sync()
    assert world.hosts() == ["10.0.0.9"] and gone.addresses


def test_a_name_is_resolved_at_start_and_again() -> None:
    world = World("app.example")
    assert world.hosts() == [] and world.group.eligible_count == 0
    world.resolver.startService()
    assert world.reactor.queries[0].name == "app.example"
    world.reactor.answer("10.0.0.1", "2001:db8::1", "10.0.0.1")
    assert world.group.servers["s0"].addresses == (
        Address("tcp", "10.0.0.1", 80),
        Address("tcp", "2001:db8::1", 80),
    )
    assert world.group.eligible_count == 1
    world.reactor.advance(29)
    assert not world.reactor.queries
    world.reactor.advance(1)
    world.reactor.answer("10.0.0.7")
    assert world.hosts() == ["10.0.0.7"]


def test_another_order_is_no_change() -> None:
    world = World("app.example")
    world.resolver.startService()
    world.reactor.answer("10.0.0.1", "10.0.0.2")
    before = world.group.servers["s0"].addresses
    world.reactor.advance(30)
    world.reactor.answer("10.0.0.2", "10.0.0.1")
    assert world.group.servers["s0"].addresses is before


def test_a_failure_keeps_the_last_good_answer_and_is_retried_sooner() -> None:
    world = World("app.example")
    world.resolver.startService()
    world.reactor.answer("10.0.0.1")
    world.reactor.advance(30)
    waits = []
    for _ in range(7):
        world.reactor.answer()
        assert world.hosts() == ["10.0.0.1"]
        start = world.reactor.seconds()
        while not world.reactor.queries:
            world.reactor.advance(0.5)
        waits.append(world.reactor.seconds() - start)
    assert waits == [1, 2, 4, 8, 16, 30, 30]
    world.reactor.answer("10.0.0.2")
    assert world.hosts() == ["10.0.0.2"]


def test_an_answer_after_the_deadline_is_too_late() -> None:
    world = World("app.example", deadline=5.0)
    world.resolver.startService()
    late = world.reactor.queries.pop()
    world.reactor.advance(5)
    late.answer("10.9.9.9")
    assert world.hosts() == []
    world.reactor.advance(1)
    world.reactor.answer("10.0.0.1")
    assert world.hosts() == ["10.0.0.1"]


def test_a_broken_resolver_is_a_failed_look_up() -> None:
    world = World("app.example")
    world.reactor.broken = True
    world.resolver.startService()
    world.reactor.broken = False
    world.reactor.advance(1)
    world.reactor.answer("10.0.0.1")
    assert world.hosts() == ["10.0.0.1"]


def test_concurrency_is_bounded() -> None:
    world = World(*[f"h{n}.example" for n in range(20)])
    world.resolver.startService()
    assert len(world.reactor.queries) == 8
    world.reactor.answer("10.0.0.1")
    assert len(world.reactor.queries) == 8
    for _ in range(19):
        world.reactor.answer("10.0.0.1")
    assert not world.reactor.queries
    assert all(world.hosts(f"s{n}") == ["10.0.0.1"] for n in range(20))


def test_addresses_are_bounded() -> None:
    world = World("many.example")
    world.resolver.startService()
    world.reactor.answer(*[f"10.0.{n // 256}.{n % 256}" for n in range(1000)])
    assert len(world.hosts()) == ADDRESSES_MAX


def test_servers_come_and_go() -> None:
    world = World("a.example", "b.example")
    world.resolver.startService()
    for query in list(world.reactor.queries):
        query.answer("10.0.0.1")
    world.reactor.queries.clear()
    gone = world.group.remove("s0")
    world.add("new", "c.example")
    world.resolver.sync()
    assert [query.name for query in world.reactor.queries] == ["c.example"]
    world.reactor.answer("10.0.0.3")
    assert world.hosts("new") == ["10.0.0.3"]
    world.reactor.advance(30)
    assert [query.name for query in world.reactor.queries] == ["b.example", "c.example"]
    assert [address.host for address in gone.addresses] == ["10.0.0.1"]


def test_a_server_removed_during_its_look_up() -> None:
    world = World("a.example")
    world.resolver.startService()
    query = world.reactor.queries.pop()
    gone = world.group.remove("s0")
    world.resolver.sync()
    query.answer("10.0.0.1")
    assert gone.addresses == () and not world.reactor.getDelayedCalls()


@pytest.mark.parametrize("answered", [True, False])
def test_stop_leaves_nothing_behind(answered: bool) -> None:
    world = World("a.example", *[f"h{n}.example" for n in range(12)])
    world.resolver.startService()
    if answered:
        world.reactor.answer("10.0.0.1")
    world.resolver.stopService()
    assert not world.reactor.getDelayedCalls()
    world.resolver.startService()
    assert len(world.reactor.queries) >= 8


def test_a_listener_that_raises_does_not_end_the_look_ups() -> None:
    world = World("a.example")

    def explode(*_: Any) -> None:
        raise RuntimeError("a bug elsewhere")

    world.group.on_state(explode)
    world.resolver.startService()
    world.reactor.answer("10.0.0.1")
    world.reactor.advance(30)
    assert [query.name for query in world.reactor.queries] == ["a.example"]


def test_refused_addresses_are_not_used_and_the_note_says_why() -> None:
    world = World("app.example", judge=AddressJudge())
    server = world.group.servers["s0"]
    world.resolver.startService()
    world.reactor.answer("8.8.8.8", "10.0.0.1")
    assert world.hosts() == [] and world.group.eligible_count == 0
    assert server.note == "guard: app.example: 10.0.0.1 is private (RFC 1918)"
    world.reactor.advance(1)
    world.reactor.answer("8.8.8.8")
    assert world.hosts() == ["8.8.8.8"] and server.note == ""


def test_a_name_that_moves_inside_loses_its_address() -> None:
    world = World("app.example", judge=AddressJudge(listeners=[("8.8.4.4", 80)]))
    world.resolver.startService()
    world.reactor.answer("8.8.8.8")
    world.group.set_health(world.group.servers["s0"], True, "200 in 3 ms")
    for inside in ("::ffff:127.0.0.1", "8.8.4.4"):
        world.reactor.advance(30)
        world.reactor.answer(inside)
        assert world.hosts() == []
        assert world.group.servers["s0"].note.startswith("guard: ")
        world.reactor.advance(2)
        world.reactor.answer("8.8.8.8")
        assert world.hosts() == ["8.8.8.8"]
