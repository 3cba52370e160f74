"""A day of a backend with a thousand servers that crash, sicken, slow down and recover, on a
virtual clock.

Real are the backend, its queue, balancer, passive health and slow start; servers, checks and
requests are played. The laws are looked at all the time, and whatever happens in between is
Hypothesis's choice.
"""

from __future__ import annotations

from collections import Counter
from heapq import heappop, heappush
from itertools import count
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test
from twisted.internet.task import Clock

from lbproxy.balance.lease import Lease
from lbproxy.balance.ramp import FIRST
from lbproxy.balance.server import AdminState, ServerState, State
from lbproxy.balance.tiers import peers
from lbproxy.config.model import Address, Config, PassiveSpec, ServerSpec
from lbproxy.config.sections import SECTIONS
from lbproxy.errors import Kind, Outcome, ProxyError
from lbproxy.features import declare_keys, features_of
from lbproxy.interfaces import Env
from lbproxy.net.dialler import Dialler
from lbproxy.net.loop import Loop
from lbproxy.net.timers import TimerWheel
from lbproxy.proxy.backend import Backend
from lbproxy.proxy.feature import Given
from lbproxy.proxy.http.attempts import SERVERS
from lbproxy.sharing.local import LocalReplicated, LocalShared
from tests.balance.tools import make

declare_keys()
BackendSpec: Any = SECTIONS["backend"].spec

STEP = 40.0  # seconds between two looks at the world
REQUESTS = 60  # in each step
SLOW_START = 600.0
MAX_EJECTED = 0.3
PANIC = 0.4
QUEUE, TIMEOUT_QUEUE = 40, 60.0


class Request:
    """One request: it waits, is served well or badly, is tried again."""

    client_ip, sni, request = "203.0.113.1", "", None
    patience = 0.0

    def __init__(self, day: Day, priority: int) -> None:
        self.day = day
        self.priority = priority
        self.tried: list[ServerState] = []
        self.joined = -1.0
        self.ended = ""

    @property
    def traffic(self) -> Any:
        return self

    def go(self) -> None:
        self.joined = self.day.now
        try:
            lease = self.day.backend.acquire(self, self, self.tried)
        except ProxyError as error:
            self.end(error.kind)
            return
        if lease is not None:
            self.leased(lease)

    def leased(self, lease: Lease) -> None:
        assert self.day.now - self.joined <= TIMEOUT_QUEUE + 2.0
        self.day.serve(self, lease)

    def refused(self, error: ProxyError) -> None:
        self.end(error.kind)

    def end(self, kind: Kind) -> None:
        assert not self.ended
        self.ended = kind.value
        self.day.ends[kind.value] += 1


class Day:
    """The world.  ``state`` of each server's truth: "well", "dead", "sick" or "slow"."""

    def __init__(self, servers: int, seed: int) -> None:
        self.random = Random(seed)
        self.clock = Clock()
        wheel = TimerWheel(self.clock, tick=1.0)
        spec = BackendSpec(
            name="app",
            mode="http",
            servers=tuple(
                ServerSpec(f"s{n}", Address("tcp", "10.0.0.1", 80), maxconn=3, tier=n % 10 // 9)
                for n in range(servers)
            ),
            passive=PassiveSpec(
                errors=3, eject=60.0, eject_max=1800.0, max_ejected=MAX_EJECTED,
                success_rate=True, latency=5.0, min_requests=5, every=300.0,
            ),
            panic=PANIC, slow_start=SLOW_START, queue=QUEUE, timeout_queue=TIMEOUT_QUEUE,
        )  # fmt: skip
        network = Dialler(Loop(self.clock, wheel))
        env = Env(self.clock.seconds, self.random)
        given = Given(Config(), env, network, LocalShared(), LocalReplicated(env.now))
        prepared = ((kind.name, kind.prepare(spec, None, given)) for kind in features_of("backend"))
        features = {name: one for name, one in prepared if one is not None}
        self.backend = Backend(
            spec,
            network,
            make("roundrobin", self.clock.seconds),
            servers=SERVERS,
            random=self.random,
            kinds=features_of("backend"),
            features=features,
        )
        self.group = self.backend.group
        self.truth: dict[ServerState, str] = dict.fromkeys(self.group.servers.values(), "well")
        self.came_up: dict[ServerState, float] = {}
        self.ends: Counter[str] = Counter()
        self.picks: Counter[ServerState] = Counter()
        self.steady: set[ServerState] = set()
        self.ejections = 0
        self._busy: list[tuple[float, int, Request, Lease]] = []
        self._events: list[tuple[float, int, ServerState, str]] = []
        self._number = count()
        self._steps = 0
        self.group.on_state(self._moved)
        self.new_window()

    @property
    def now(self) -> float:
        return float(self.clock.seconds())

    # -- what happens

    def befall(self, server: ServerState, truth: str, seconds: float, seen_by_checks: bool) -> None:
        """Something happens to a server, for a while; the checks see it or not."""
        if self.truth.get(server) != "well":
            return
        self.truth[server] = truth
        heappush(self._events, (self.now + seconds, next(self._number), server, "well"))
        if seen_by_checks:
            heappush(self._events, (self.now + 6.0, next(self._number), server, "checks down"))
            heappush(
                self._events, (self.now + seconds + 4, next(self._number), server, "checks up")
            )

    def _due(self) -> None:
        while self._events and self._events[0][0] <= self.now:
            _, _, server, what = heappop(self._events)
            if server not in self.truth:
                continue
            if what == "well":
                self.truth[server] = "well"
            else:
                self.group.set_health(server, what == "checks up", what)

    def some_bad_luck(self, share: float = 0.002) -> None:
        for server in list(self.truth):
            if self.random.random() < share:
                truth = self.random.choice(["dead", "dead", "sick", "slow"])
                seconds = self.random.uniform(60, 1800)
                self.befall(server, truth, seconds, self.random.random() < 0.5)

    def serve(self, request: Request, lease: Lease) -> None:
        self.picks[lease.server] += 1
        lease.server.counters.picked += 1
        usual = self.random.uniform(0.5, 15.0)
        truth = self.truth.get(lease.server, "dead")
        took = {"dead": 0.0, "slow": usual * 10}.get(truth, usual)
        heappush(self._busy, (self.now + took, next(self._number), request, lease))

    def _finish(self) -> None:
        passive = self.backend.passive
        assert passive is not None
        while self._busy and self._busy[0][0] <= self.now:
            _, _, request, lease = heappop(self._busy)
            server = lease.server
            truth = self.truth.get(server, "dead")
            if truth == "dead":
                passive.failed(server, Kind.CONNECT_FAILED)
                lease.release(Outcome.FAILED)
                request.tried.append(server)
                if len(request.tried) > 2:
                    request.end(Kind.CONNECT_FAILED)
                else:
                    request.go()
                continue
            bad = truth == "sick" and self.random.random() < 0.7
            passive.answered(server, 503 if bad else 200, 3.0 if truth == "slow" else 0.05)
            lease.release(Outcome.OK, 0.05)
            request.end(Kind.OK)

    def run(self, seconds: float, requests: int = REQUESTS, luck: float = 0.002) -> None:
        """Let time pass, with traffic."""
        until = self.now + seconds
        while self.now < until:
            for _ in range(requests):
                Request(self, self.random.choice([0, 0, 0, -1, 5])).go()
            for _ in range(4):
                self.clock.advance(STEP / 4)
                self._due()
                self._finish()
            self.some_bad_luck(luck)
            self._steps += 1
            if self._steps % 5 == 0:  # looking at all servers takes its time
                self.laws()
        self.laws()

    # -- the laws

    def _moved(self, server: ServerState, old: State, new: State) -> None:
        self.steady.discard(server)
        if new is State.UP and old is not State.DRAIN:
            self.came_up[server] = self.now
        elif new in (State.DOWN, State.MAINT):  # what is drained goes on warming up
            self.came_up.pop(server, None)
        if server.ejected and old is State.UP and self.group.servers.get(server.name) is server:
            self.ejections += 1
            tier = peers(server, self.group.servers.values())
            out = sum(not one.eligible for one in tier)
            assert out <= MAX_EJECTED * len(tier), "too many are out after an ejection"

    def laws(self) -> None:
        group, backend = self.group, self.backend
        everybody = group.servers.values()
        assert len(backend.queue) <= QUEUE
        assert all(not request.ended for request in backend.queue._places)
        assert all(
            self.now - request.joined <= TIMEOUT_QUEUE + 2 for request in backend.queue._places
        )
        assert group.active == len(self._busy)
        assert sum(server.active for server in everybody) <= group.active
        assert all(server.active <= server.maxconn for server in everybody)
        assert group.free == sum(not server.full for server in group.listed)
        assert not len(backend.queue) or not group.free or not group.listed
        self._listing()
        for server in everybody:
            assert FIRST <= server.share <= 1.0
            since = self.came_up.get(server)
            if since is None or self.now - since > SLOW_START * 1.1:
                assert server.share == 1.0, "it warms up for too long, or while it is down"
            elif server.state is State.UP:
                line = FIRST + (1 - FIRST) * (self.now - since) / SLOW_START
                assert line - 0.1 <= server.share <= min(1.0, line + 0.01), "off the line"

    def _listing(self) -> None:
        group = self.group
        for tier in sorted({server.spec.tier for server in group.servers.values()}):
            members = [s for s in group.servers.values() if s.candidate and s.spec.tier == tier]
            up = [server for server in members if server.eligible]
            if up and len(up) >= PANIC * len(members):
                assert not group.panicking and set(group.listed) == set(up)
                return
        assert group.panicking or not any(s.candidate for s in group.servers.values())

    def new_window(self) -> None:
        """Fairness is judged from here."""
        self.picks.clear()
        self.steady = {s for s in self.group.listed if s.share == 1.0}

    def fair(self) -> None:
        """Those that were there all the time with all of their weight had the same part,
        or nearly.
        """
        there = [s for s in self.steady if s.listed and s.share == 1.0]
        if len(there) < 20:
            return
        picks = [self.picks[server] for server in there]
        mean = sum(picks) / len(picks)
        assert max(picks) <= 1.3 * mean + 3
        assert min(picks) >= 0.7 * mean - 3

    def over(self) -> None:
        """Nobody asks any more: all comes back to rest."""
        while self._events or self._busy:
            self.run(STEP, requests=0, luck=0.0)
        self.run(SLOW_START + 7200, requests=0, luck=0.0)
        for server in self.group.servers.values():
            assert not server.ejected and server.share == 1.0
            assert server.weight == server.full_weight
        assert self.group.active == len(self.backend.queue) == 0
        assert not self.group.panicking
        self.backend.close()
        self.clock.advance(5)
        assert not self.clock.getDelayedCalls(), "timers are left"


@pytest.mark.parametrize("servers", [250, pytest.param(1000, marks=pytest.mark.long)])
def test_a_day(servers: int) -> None:
    """24 hours, about four failures of each server, and an incident that takes most of them."""
    day = Day(servers, seed=1)
    for hour in range(24):
        day.new_window()
        if hour == 12:
            for server in list(day.truth):
                if day.random.random() < 0.7:
                    day.befall(server, "dead", 900, day.random.random() < 0.9)
        day.run(3600, requests=250 if hour == 18 else REQUESTS)
        if hour != 12:
            day.fair()
    assert day.ejections > 200
    good = day.ends["ok"] / sum(day.ends.values())
    assert good > 0.97, day.ends
    day.over()


class AnyDay(RuleBasedStateMachine):
    """What an operator and the world may do in between."""

    def __init__(self) -> None:
        super().__init__()
        self.day = Day(300, seed=7)
        self.names = count(1000)

    def _some(self, share: float) -> list[ServerState]:
        servers = list(self.day.truth)
        return self.day.random.sample(servers, int(share * len(servers)))

    @rule(minutes=st.integers(1, 60), requests=st.sampled_from([5, 20, 20, 100]))
    def time_passes(self, minutes: int, requests: int) -> None:
        self.day.run(minutes * 60.0, requests=requests)

    @rule(
        share=st.sampled_from([0.02, 0.1, 0.3, 0.6, 0.95]),
        truth=st.sampled_from(["dead", "sick", "slow"]),
        minutes=st.integers(1, 120),
        seen=st.booleans(),
    )
    def incident(self, share: float, truth: str, minutes: int, seen: bool) -> None:
        for server in self._some(share):
            self.day.befall(server, truth, minutes * 60.0, seen)

    @rule(share=st.sampled_from([0.01, 0.2]), admin=st.sampled_from(AdminState))
    def operator(self, share: float, admin: AdminState) -> None:
        for server in self._some(share):
            self.day.backend.set_admin(server.name, admin)

    @rule(share=st.sampled_from([0.01, 0.1]))
    def replaced(self, share: float) -> None:
        """Servers go, and others come."""
        day = self.day
        with day.group.changes():
            for server in self._some(share):
                day.backend.remove(server.name)
                del day.truth[server]
                day.came_up.pop(server, None)
        for _ in range(int(share * 300)):
            name = f"s{next(self.names)}"
            line = ServerSpec(name, Address("tcp", "10.0.0.1", 80), maxconn=3)
            made = day.backend.add(line)
            day.truth[made] = "well"
            day.came_up[made] = day.now

    def teardown(self) -> None:
        for name in list(self.day.group.servers):
            self.day.backend.set_admin(name, AdminState.READY)
        self.day.over()


def test_any_day() -> None:
    run_state_machine_as_test(
        AnyDay,
        settings=settings(
            max_examples=2,
            phases=(Phase.explicit, Phase.reuse, Phase.generate),  # a smaller example takes minutes
            stateful_step_count=10,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
