"""What the balancer tests share: servers, groups and contexts, all deterministic."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from random import Random as Chance
from typing import Any

from attrs import define

from lbproxy.balance.base import Balancer
from lbproxy.balance.ewma import Ewma
from lbproxy.balance.first import First
from lbproxy.balance.group import ServerGroup
from lbproxy.balance.hash_ import Hash, HashOptions
from lbproxy.balance.leastconn import LeastConn
from lbproxy.balance.p2c import PowerOfTwo
from lbproxy.balance.random_ import Random
from lbproxy.balance.roundrobin import RoundRobin
from lbproxy.balance.server import ServerState
from lbproxy.config.model import Address, ServerSpec
from lbproxy.errors import Outcome
from lbproxy.http.message import RequestHead
from lbproxy.interfaces import Env, PickContext

ADDRESS = Address("tcp", "192.0.2.1", 80)

BUILTIN: dict[str, tuple[type[Balancer], Any]] = {
    "roundrobin": (RoundRobin, RoundRobin.Options()),
    "leastconn": (LeastConn, LeastConn.Options()),
    "p2c": (PowerOfTwo, PowerOfTwo.Options()),
    "random": (Random, Random.Options()),
    "first": (First, First.Options()),
    "hash": (Hash, HashOptions()),
    "hash-bound": (Hash, HashOptions(bound=1.25)),
    "hash-range": (Hash, HashOptions(consistent=False)),
    "ewma": (Ewma, Ewma.Options()),
}


@define
class Context:
    """A connection or request to pick for."""

    client_ip: str = "198.51.100.7"
    request: RequestHead | None = None
    sni: str = ""


class Clock:
    """Time that moves when told to."""

    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


def server(name: str, weight: int = 1, maxconn: int = 0, *, backup: bool = False) -> ServerState:
    """An eligible server."""
    spec = ServerSpec(name, ADDRESS, weight=weight, maxconn=maxconn, backup=backup)
    return ServerState.from_spec("b", spec)


def servers(weights: Sequence[int], maxconn: int = 0) -> list[ServerState]:
    """s0, s1 ... with these weights."""
    return [server(f"s{i}", weight, maxconn) for i, weight in enumerate(weights)]


def make(kind: str, now: Callable[[], float] | None = None, seed: int = 1) -> Balancer:
    """A built-in balancer."""
    cls, options = BUILTIN[kind]
    return cls(options, Env(now or Clock(), Chance(seed)))


def group_of(
    balancer: Balancer, members: Sequence[ServerState], now: Callable[[], float] | None = None
) -> ServerGroup:
    """A group of them."""
    group = ServerGroup(balancer, now or Clock())
    with group.changes():
        for member in members:
            group.add(member)
    return group


def names(group: ServerGroup, count: int, context: Any = None) -> list[str]:
    """The next picks, each released at once."""
    result = []
    for _ in range(count):
        lease = group.pick(context or Context())
        assert lease is not None
        result.append(lease.server.name)
        lease.release(Outcome.OK, 0.01)
    return result


def chi_square(seen: Counter[str], expected: dict[str, float]) -> float:
    """Pearson's statistic; its mean is the number of kinds less one."""
    assert set(seen) <= set(expected)
    return sum((seen[name] - want) ** 2 / want for name, want in expected.items())


class Recorder(Balancer):
    """Picks the first server it may, and records the calls."""

    name = "recorder"

    def __init__(self) -> None:
        super().__init__(None, Env(lambda: 0.0, Chance(0)))
        self.told: list[str] = []
        self.changes: list[list[str]] = []
        self.answer: ServerState | Exception | None = None
        self.breaks = ""

    def servers_changed(self, servers: Sequence[ServerState]) -> None:
        super().servers_changed(servers)
        self.changes.append([f"{s.name}*{s.weight}" for s in servers])
        if self.breaks == "servers_changed":
            raise RuntimeError("broken")

    def pick(self, context: PickContext, avoid: Collection[ServerState]) -> ServerState | None:
        if isinstance(self.answer, Exception):
            raise self.answer
        if self.answer is not None:
            return self.answer
        return next((s for s in self.servers if not s.full and s not in avoid), None)

    def taken(self, server: ServerState) -> None:
        self.told.append(f"+{server.name}={server.active}")
        if self.breaks == "taken":
            raise RuntimeError("broken")

    def released(self, server: ServerState, outcome: Outcome, seconds: float) -> None:
        self.told.append(f"-{server.name}={server.active} {outcome.value} {seconds:g}")
        if self.breaks == "released":
            raise RuntimeError("broken")
