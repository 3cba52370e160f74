"""Agents beside checks: who decides what, on a whole load balancer in memory."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import formatEvent, globalLogPublisher

from lbproxy.balance.server import State
from lbproxy.testing import LB

TEXT = """\
[frontend f]
mode = tcp
listen = tcp:9000
backend = app

[backend app]
mode = tcp
check = tcp every=1s timeout=500ms rise=1 fall=1
agent = 9707 every=1s timeout=500ms send="state {extra}\\n"
servers =
    a 10.0.0.1:80
    b 10.0.0.2:80 agent_address=10.0.0.9:9999
"""


class Agent(Protocol):
    """Says its line and closes, or nothing at all."""

    def connectionMade(self) -> None:
        self.factory.asked += 1  # type: ignore[attr-defined]
        line = self.factory.line  # type: ignore[attr-defined]
        if line is not None:
            self.transport.write(line)
            self.transport.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        self.factory.heard = data  # type: ignore[attr-defined]


class World:
    def __init__(self, text: str = TEXT) -> None:
        self.lb = LB.from_config(text)
        self.agents: dict[str, Any] = {}
        for name, host, port in (("a", "10.0.0.1", 9707), ("b", "10.0.0.9", 9999)):
            factory: Any = Factory.forProtocol(Agent)
            factory.line, factory.asked, factory.heard = b"up\n", 0, b""
            self.agents[name] = factory
            self.lb.reactor.listenTCP(port, factory, interface=host)
        self.origins = {
            name: self.lb.tcp_origin(name, f"10.0.0.{i}:80", "echo")
            for i, name in ((1, "a"), (2, "b"))
        }
        self.lb.advance(3)

    def says(self, name: str, line: bytes | None) -> Any:
        """The server, once its agent has said so."""
        self.agents[name].line = line
        self.lb.advance(2.5)
        return self.server(name)

    def server(self, name: str = "a") -> Any:
        return self.lb.server("app", name)


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.lb.close()


@pytest.fixture
def told() -> Iterator[list[str]]:
    found: list[str] = []

    def observe(event: Any) -> None:
        if event.get("log_namespace") == "lbproxy.checks.agents":
            found.append(str(formatEvent(event)))

    globalLogPublisher.addObserver(observe)
    yield found
    globalLogPublisher.removeObserver(observe)


def test_each_server_has_its_agent(world: World) -> None:
    assert all(agent.asked >= 2 for agent in world.agents.values())
    assert world.says("b", b"drain\n").state is State.DRAIN
    assert world.server("a").state is State.UP


def test_states_and_reasons(world: World, told: list[str]) -> None:
    for line, state, note in (
        (b"down#disk full\r\n", State.DOWN, "disk full"),
        (b"up", State.UP, "connected"),
        (b"drain\n", State.DRAIN, "its agent reports drain"),
        (b"up\n", State.DRAIN, "its agent reports drain"),
        (b"ready\n", State.UP, "connected"),
        (b"maint#update\n", State.MAINT, "update"),
        (b"ready down\n", State.DOWN, "its agent reports down"),
        (b"up\n", State.UP, "connected"),
    ):
        server = world.says("a", line)
        assert (server.state, server.note) == (state, note), line
    assert told == [
        "the agent of app/a reports down: disk full",
        "the agent of app/a reports up",
        "the agent of app/a reports drain",
        "the agent of app/a reports up",
        "the agent of app/a reports maint: update",
        "the agent of app/a reports down",
        "the agent of app/a reports up",
    ]


def test_in_its_maint_nobody_checks_and_it_is_still_asked(world: World) -> None:
    server = world.says("a", b"maint\n")
    checks, asked = server.counters.probes_ok, world.agents["a"].asked
    world.lb.advance(5)
    assert server.counters.probes_ok == checks and world.agents["a"].asked >= asked + 4
    assert world.says("a", b"ready\n").state is State.UP
    world.lb.advance(2)
    assert server.counters.probes_ok > checks


def test_the_operator_comes_first(world: World) -> None:
    service = world.lb.service
    service.drain("app", "a")
    assert world.says("a", b"ready up\n").state is State.DRAIN
    service.maint("app", "a")
    asked = world.agents["a"].asked
    world.lb.advance(5)
    assert world.server().state is State.MAINT and world.agents["a"].asked == asked
    service.ready("app", "a")
    world.lb.advance(2)
    assert world.server().state is State.UP and world.agents["a"].asked > asked
    world.says("a", b"drain\n")
    service.ready("app", "a")
    assert world.server().state is State.DRAIN, "the agent's wish is its own"


def test_check_and_agent_must_agree(world: World) -> None:
    world.origins["a"].stop()
    world.lb.advance(2)
    assert world.says("a", b"up\n").state is State.DOWN
    world.says("a", b"down\n")
    world.origins["a"].start()
    world.lb.advance(3)
    assert world.server().healthy and world.server().state is State.DOWN
    assert world.says("a", b"up\n").state is State.UP


def test_shares_of_the_weight(world: World) -> None:
    a, b = world.server("a"), world.server("b")
    world.says("a", b"50%\n")
    assert a.weight * 2 == b.weight and (a.full_weight, b.full_weight) == (1, 1)
    world.lb.service.set_weight("app", "a", 4)
    assert a.weight == 2 * b.weight
    world.says("a", b"0%\n")
    assert a.weight == 0 and not a.eligible and a.state is State.UP
    world.says("a", b"100%\n")
    assert (a.weight, b.weight) == (4, 1)


def test_maxconn(world: World) -> None:
    assert world.says("a", b"maxconn:7\n").maxconn == 7
    assert world.says("a", b"up\n").maxconn == 7
    assert world.says("a", b"maxconn:0\n").maxconn == 0


@pytest.mark.parametrize(
    "line", [b"hello\n", b"", b"\n", b"x" * 5000, None], ids=["word", "no", "empty", "long", "hang"]
)
def test_an_agent_that_is_not_heard_changes_nothing(
    world: World, told: list[str], line: bytes | None
) -> None:
    world.says("a", b"drain 50%\n")
    told.clear()
    server = world.says("a", line)
    world.lb.advance(10)
    assert server.state is State.DRAIN and server.agent_share == 0.5
    assert len(told) == 1 and told[0].startswith("no valid answer from the agent of app/a")
    assert world.says("a", b"ready\n").state is State.UP
    assert told[1:] == ["the agent of app/a answers again", "the agent of app/a reports up"]


def test_the_first_words() -> None:
    world = World(TEXT.replace("{extra}", "please"))
    world.says("a", None)
    assert world.agents["a"].heard == b"state please\n"
    world.lb.close()


def test_without_checks(world: World) -> None:
    world.lb.close()
    world = World(
        TEXT.replace("check = ", "# check = ").replace("10.0.0.1:80", "10.0.0.1:80 no_check")
    )
    assert world.says("a", b"down\n").state is State.DOWN
    assert world.says("a", b"up\n").state is State.UP
    world.lb.close()


def test_a_reload_keeps_or_forgets_what_it_said(world: World) -> None:
    world.says("b", b"maxconn:5\n")
    world.lb.service.set_maxconn("app", "b", 6)
    world.agents["b"].line = b"up\n"
    world.says("a", b"drain 50% maxconn:7\n")
    from lbproxy.registry import parse_config

    reload = world.lb.service.reload
    reload(parse_config(TEXT.replace("agent = 9707 every=1s", "agent = 9707 every=2s")))
    world.lb.advance(0.1)
    assert world.server().state is State.DRAIN
    world.agents["a"].line = b"up\n"
    world.lb.advance(5)
    assert world.server().state is State.DRAIN, "up takes back no drain, said before the reload too"
    assert world.server().maxconn == 7
    lines = (re.sub(" agent_address=.*", "", one) for one in TEXT.splitlines())
    reload(parse_config("\n".join(one for one in lines if not one.startswith("agent"))))
    world.lb.advance(1)
    assert world.server().state is State.UP and world.server().agent_share == 1.0
    assert (world.server().maxconn, world.server("b").maxconn) == (0, 6), "the operator's stays"
