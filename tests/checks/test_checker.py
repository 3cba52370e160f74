"""The checker on a virtual clock, with probes that do as they are told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.logger import formatEvent, globalLogPublisher

from lbproxy.balance.group import ServerGroup
from lbproxy.balance.live import LiveServer
from lbproxy.balance.roundrobin import RoundRobin
from lbproxy.balance.server import AdminState, ServerState, State
from lbproxy.checks.checker import Checker
from lbproxy.checks.turns import CheckTurns
from lbproxy.config.model import Address, CheckSpec, PluginSpec, ServerSpec
from lbproxy.health.state import Result
from lbproxy.interfaces import Env
from lbproxy.net.proxyproto import SIGNATURE
from lbproxy.net.stock import StockNetwork
from lbproxy.net.timers import TimerWheel
from lbproxy.probes.base import NoOptions, ProbeTarget
from lbproxy.probes.http import HttpOptions, HttpProbe
from lbproxy.testing.memory import MemoryReactor
from lbproxy.testing.origin import HTTPOrigin

OK, BAD = Result(True, "status 200"), Result(False, "status 503, wanted 200")


class World:
    """A backend with checks that answer what ``answers`` says, by server name."""

    def __init__(
        self, *names: str, specs: dict[str, dict[str, Any]] | None = None, **check: Any
    ) -> None:
        self.clock = Clock()
        self.network: Any = SimpleNamespace(wheel=TimerWheel(self.clock))
        self.env = Env(now=self.clock.seconds, random=Random(7), name="app", reactor=self.clock)
        self.group = ServerGroup(RoundRobin(None, self.env), self.clock.seconds)
        self.answers: dict[str, Any] = {}
        self.checked: list[tuple[float, str]] = []
        self.targets: list[ProbeTarget] = []
        self.cancelled: list[str] = []
        self.running = 0
        with self.group.changes():
            for name in names:
                self.add(name, **(specs or {}).get(name, {}))
        world = self

        class Fake:
            concurrent = 0

            def __init__(self, options: Any, env: Env) -> None:
                pass

            async def check(self, target: ProbeTarget) -> Any:
                return await world.answer(target)

        check.setdefault("every", 2.0)
        check.setdefault("timeout", 1.0)
        self.spec = CheckSpec(probe=PluginSpec("fake", Fake, NoOptions()), **check)
        self.checker = Checker("app", self.group, self.spec, self.network, self.env)

    def add(self, name: str, **spec: Any) -> ServerState:
        server = LiveServer("app", ServerSpec(name, Address("tcp", "10.0.0.1", 80), **spec))
        server.addresses = server.spec.target.sockets
        self.group.add(server)
        return server

    async def answer(self, target: ProbeTarget) -> Any:
        name = target.server.name
        self.checked.append((self.clock.seconds(), name))
        self.targets.append(target)
        answer = self.answers.get(name, OK)
        if answer == "hang":
            self.running += 1
            try:
                await Deferred()
            except CancelledError:
                self.cancelled.append(name)
                raise
            finally:
                self.running -= 1
        if isinstance(answer, Exception):
            raise answer
        return answer

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / 0.05)):
            self.clock.advance(0.05)

    def state(self, name: str = "a") -> State:
        return self.group.servers[name].state

    def times(self, name: str = "a") -> list[float]:
        return [moment for moment, who in self.checked if who == name]


@pytest.fixture
def events() -> Iterator[list[str]]:
    found: list[str] = []

    def observe(event: Any) -> None:
        if event.get("log_namespace") == "lbproxy.checks.checker":
            found.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    yield found
    globalLogPublisher.removeObserver(observe)


def test_checks_are_spread_over_the_interval_and_regular() -> None:
    world = World("a", "b", "c", "d", every=4.0)
    world.checker.startService()
    world.run(12.5)
    first = [world.times(name)[0] for name in "abcd"]
    for i, moment in enumerate(first):
        assert i <= moment <= i + 0.25, first
    for name in "abcd":
        times = world.times(name)
        gaps = [b - a for a, b in pairwise(times)]
        assert gaps and all(3.9 <= gap <= 4.15 for gap in gaps), gaps


def test_down_and_up_again_with_one_line_each(events: list[str]) -> None:
    world = World("a", rise=2, fall=3)
    world.checker.startService()
    world.run(1)
    world.answers["a"] = BAD
    world.run(4)
    assert world.state() is State.UP
    world.run(2)
    assert world.state() is State.DOWN
    assert world.group.servers["a"].health_note == "status 503, wanted 200"
    world.run(10)
    world.answers["a"] = OK
    world.run(2)
    assert world.state() is State.DOWN
    world.run(2)
    assert world.state() is State.UP
    assert events == [
        "server app/a is down: status 503, wanted 200 (3 failures)",
        "server app/a is up: status 200 (2 checks passed)",
    ]
    counters = world.group.servers["a"].counters
    assert counters.probes_ok + counters.probes_failed == len(world.checked)
    assert counters.probes_failed == 8 and counters.probes_ok == 3


def test_the_first_check_alone_takes_a_server_down(events: list[str]) -> None:
    world = World("a")
    world.answers["a"] = BAD
    world.checker.startService()
    world.run(0.5)
    assert world.state() is State.DOWN
    assert events == ["server app/a is down: status 503, wanted 200 (1 failure)"]


def test_intervals_fast_and_down() -> None:
    world = World("a", every=2.0, fast=0.5, down=5.0, rise=2, fall=3)
    world.checker.startService()
    world.run(1)
    world.answers["a"] = BAD
    world.run(13)
    world.answers["a"] = OK
    world.run(9)
    times = world.times()
    gaps = [round((b - a) * 4) / 4 for a, b in pairwise(times)]
    assert gaps[:8] == [2, 0.5, 0.5, 5, 5, 5, 0.5, 2], gaps


def test_timeout(events: list[str]) -> None:
    world = World("a", every=0.5, timeout=1.0)
    world.answers["a"] = "hang"
    world.checker.startService()
    world.run(1.3)
    assert world.cancelled == ["a"] and world.state() is State.DOWN
    assert events == ["server app/a is down: no answer in 1 s (1 failure)"]
    world.run(10)
    assert (
        world.running <= 1
    )  # never two at a time, though the interval is shorter than the timeout
    assert 8 <= len(world.times()) <= 11
    last = world.checker.checks[world.group.servers["a"]].last
    assert last == Result(False, "no answer in 1 s", 1.0)


def test_a_probe_that_cannot_be_cancelled() -> None:
    world = World("a")
    stuck: Deferred[Any] = Deferred(lambda d: None)

    async def stubborn(target: ProbeTarget) -> Any:
        world.checked.append((world.clock.seconds(), "a"))
        while True:
            try:
                return await stuck
            except CancelledError:
                await Deferred()

    world.checker.probe.check = stubborn
    world.checker.startService()
    world.run(5)
    assert world.state() is State.DOWN and len(world.checked) >= 2


def test_a_probe_that_raises(events: list[str]) -> None:
    world = World("a")
    world.answers["a"] = ZeroDivisionError("division by zero")
    world.checker.startService()
    world.run(7)
    assert world.group.servers["a"].health_note == "check failed: division by zero"
    assert sum("check of backend app failed" in event for event in events) == 1
    world.answers["a"] = "nonsense"
    world.run(2)
    assert world.group.servers["a"].health_note == "check failed: the probe gave str, not a Result"
    world.answers["a"] = OK
    world.run(5)
    assert world.state() is State.UP


def test_what_servers_say_does_not_reach_the_terminal(events: list[str]) -> None:
    world = World("a", fall=1)
    world.answers["a"] = Result(False, "closed with \x1b[2J\r\nup" + "x" * 5000)
    world.checker.startService()
    world.clock.pump([0.1] * 30)
    note = world.group.servers["a"].health_note
    assert note.startswith("closed with  [2J  upx") and len(note) < 1200
    assert any("closed with  [2J  up" in event for event in events)


def test_maint_is_left_alone_and_checked_soon_after() -> None:
    world = World("a", every=10.0)
    world.checker.startService()
    world.run(1.5)
    world.answers["a"] = "hang"
    world.run(9.5)
    assert world.running == 1
    world.group.set_admin("a", AdminState.MAINT)
    world.checker.sync()
    assert world.running == 0 and world.cancelled == ["a"]
    count = len(world.checked)
    world.run(40)
    assert len(world.checked) == count
    world.answers["a"] = BAD
    world.group.set_admin("a", AdminState.READY)
    world.checker.sync()
    world.run(0.5)
    assert world.state() is State.DOWN  # the first check after maint decides


def test_drain_is_still_checked() -> None:
    world = World("a")
    world.group.set_admin("a", AdminState.DRAIN)
    world.checker.startService()
    world.run(3)
    assert len(world.checked) == 2


def test_no_check_and_unresolved_servers() -> None:
    world = World("a", "b", "c", specs={"b": {"no_check": True}})
    world.group.set_addresses(world.group.servers["c"], ())
    world.checker.startService()
    world.run(6)
    assert {name for _, name in world.checked} == {"a"}
    world.group.set_addresses(world.group.servers["c"], (Address("tcp", "10.0.0.3", 80),))
    world.run(2.5)
    assert {name for _, name in world.checked} == {"a", "c"}


def test_servers_come_and_go() -> None:
    world = World("a", "b")
    world.answers["b"] = "hang"
    world.checker.startService()
    world.run(1.5)
    gone = world.group.remove("b")
    world.add("c")
    world.checker.sync()
    assert world.cancelled == ["b"]
    world.run(4)
    assert world.times("c") and len(world.times("b")) == 1
    assert set(world.checker.checks) == {world.group.servers["a"], world.group.servers["c"]}
    assert gone.counters.probes_failed == 0


def test_stop_cancels_everything() -> None:
    world = World("a", "b")
    world.answers.update(a="hang", b="hang")
    world.checker.startService()
    world.run(1.15)
    world.checker.stopService()
    assert world.running == 0 and world.cancelled.count("b") == 1
    count = len(world.checked)
    world.run(10)
    assert len(world.checked) == count
    world.checker.startService()
    world.run(3)
    assert len(world.checked) > count


def test_weight_from_the_server() -> None:
    world = World("a")
    world.answers["a"] = Result(True, "busy", weight=17)
    world.checker.startService()
    world.run(1)
    assert world.group.servers["a"].weight == 17


def test_a_listener_that_raises_does_not_end_the_checks() -> None:
    world = World("a")

    def explode(*_: Any) -> None:
        raise RuntimeError("a bug elsewhere")

    world.group.on_state(explode)
    world.answers["a"] = BAD
    world.checker.startService()
    world.run(7)
    assert len(world.checked) >= 3


OTHER = Address("tcp", "10.0.0.9", 81)


@pytest.mark.parametrize(
    ("spec", "address", "preamble"),
    [
        ({}, Address("tcp", "10.0.0.1", 80), b""),
        ({"check_address": OTHER}, OTHER, b""),
        ({"send_proxy": "v1"}, Address("tcp", "10.0.0.1", 80), b"PROXY UNKNOWN\r\n"),
        ({"send_proxy": "v2"}, Address("tcp", "10.0.0.1", 80), SIGNATURE + b"\x20\0\0\0"),
        ({"send_proxy": "v1", "check_address": OTHER}, OTHER, b""),
    ],
)
def test_the_target(spec: dict[str, Any], address: Address, preamble: bytes) -> None:
    world = World("a", specs={"a": spec})
    world.checker.startService()
    world.run(0.5)
    (target,) = world.targets
    assert target.address == address and target.preamble == preamble
    assert target.timeout == 1.0 and target.tls is None and target.network is world.network


@pytest.mark.parametrize(
    ("spec", "address"),
    [
        ({}, Address("tcp", "10.0.0.1", 9000)),
        ({"send_proxy": "v1"}, Address("tcp", "10.0.0.1", 9000)),
        ({"check_address": OTHER}, OTHER),
    ],
)
def test_another_port(spec: dict[str, Any], address: Address) -> None:
    world = World("a", specs={"a": spec}, port=9000)
    world.checker.startService()
    world.run(0.5)
    (target,) = world.targets
    assert (target.address, target.preamble) == (address, b"")


def test_hundreds_of_servers_without_a_burst() -> None:
    """Also when all hang, and all come back: every tick has its share of the checks, for ever."""
    count = 400
    world = World(*(f"s{i}" for i in range(count)), every=2.0, timeout=1.0)
    world.checker.startService()
    for answer in (OK, "hang", OK):
        world.answers = dict.fromkeys(world.group.servers, answer)
        world.checked.clear()
        world.run(10)
        per_tick = Counter(round(moment * 20) for moment, _ in world.checked)
        assert 4.75 * count <= len(world.checked) <= 5.25 * count
        assert max(per_tick.values()) <= 2 * count / 40, "at most twice the average"
        assert world.running <= 0.55 * count
    assert all(server.state is State.UP for server in world.group.servers.values())


def test_a_server_that_wants_no_new_work(events: list[str]) -> None:
    """Drained while it is well, down when it is not, and up again when it comes back without the
    wish.
    """
    world = World("a", rise=1, fall=1)
    world.answers["a"] = Result(True, "lame duck", drain=True)
    world.checker.startService()
    world.run(5)
    server = world.group.servers["a"]
    assert world.state() is State.DRAIN and not server.candidate
    assert events == ["server app/a accepts no new work: lame duck"]
    world.answers["a"] = BAD
    world.run(2)
    assert world.state() is State.DOWN
    world.answers["a"] = OK
    world.run(2)
    assert world.state() is State.UP and server.candidate
    world.answers["a"] = Result(True, "lame duck", drain=True)
    world.run(2)
    world.answers["a"] = OK
    world.run(2)
    assert world.state() is State.UP


def test_no_more_at_a_time_than_the_probe_wants() -> None:
    world = World(*(f"s{i}" for i in range(20)), every=1.0, timeout=2.0)
    world.checker.turns = CheckTurns(3)
    world.answers = dict.fromkeys(world.group.servers, "hang")
    world.checker.startService()
    most = 0
    for _ in range(400):
        world.run(0.05)
        most = max(most, world.running)
    assert most == 3
    assert 25 <= len(world.checked) <= 32, "three every two seconds"
    assert len({name for _, name in world.checked}) == 20, "everybody has a turn"
    last = [check.last for check in world.checker.checks.values() if check.last]
    assert {result.note for result in last} == {"no answer in 2 s"}, "no deadline while waiting"
    world.group.set_admin("s0", AdminState.MAINT)
    world.checker.sync()
    world.group.remove("s1")
    world.checker.sync()
    world.answers.clear()
    world.run(10)
    assert len({name for moment, name in world.checked if moment > 22}) == 18
    world.checker.stopService()
    assert not world.running


def test_check_address_with_a_name() -> None:
    reactor = MemoryReactor()
    reactor.resolver.table["health.example"] = ["10.0.0.9"]
    network = StockNetwork(reactor)
    env = Env(now=reactor.seconds, random=Random(7), reactor=reactor)
    group = ServerGroup(RoundRobin(None, env), reactor.seconds)
    for name, host in (("a", "health.example"), ("b", "nowhere.example")):
        check_address = Address("tcp", host, 81)
        server = LiveServer("app", ServerSpec(name, OTHER, check_address=check_address))
        server.addresses = (OTHER,)
        group.add(server)
    origin = HTTPOrigin(reactor, "health", "10.0.0.9:81", 200)
    probe = PluginSpec("http", HttpProbe, HttpOptions())
    checker = Checker("app", group, CheckSpec(probe=probe), network.dialler, env)
    checker.startService()
    reactor.advance(2)
    assert group.servers["a"].state is State.UP and len(origin.requests) == 1
    assert origin.requests[0].header("Host") == "10.0.0.9:81"
    assert group.servers["b"].health_note == "cannot resolve nowhere.example:81"
    checker.stopService()


def test_with_a_real_probe_in_memory() -> None:
    """Up, hung, refused, back: through the http probe and the stock network."""
    reactor = MemoryReactor()
    network = StockNetwork(reactor)
    env = Env(now=reactor.seconds, random=Random(7), reactor=reactor)
    group = ServerGroup(RoundRobin(None, env), reactor.seconds)
    server = LiveServer("app", ServerSpec("a", Address("tcp", "10.0.0.1", 80)))
    server.addresses = server.spec.target.sockets
    group.add(server)
    origin = HTTPOrigin(reactor, "a", "10.0.0.1:80", 200)
    probe = PluginSpec("http", HttpProbe, HttpOptions(expect="200"))
    spec = CheckSpec(probe=probe, every=2.0, timeout=1.0, rise=1, fall=1)
    checker = Checker("app", group, spec, network.dialler, env)
    checker.startService()
    reactor.advance(1)
    assert server.state is State.UP and server.health_note == "status 200"
    origin.hang()
    reactor.advance(3.2)
    assert server.state is State.DOWN and server.health_note == "no answer in 1 s"
    origin.stop()
    reactor.advance(2)
    assert server.state is State.DOWN and server.health_note.startswith("connect_failed")
    origin.start()
    reactor.advance(2)
    assert server.state is State.UP
    checker.stopService()
    reactor.advance(5)
    assert not reactor.connections
